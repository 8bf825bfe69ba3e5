"""Where a record lies: how one record names another."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Coordinates(msgspec.Struct, frozen=True, gc=False):
    """Where a record lies: topic (full name), partition, offset. Together they identify it for ever.

    >>> str(Coordinates("driftline.behaviour-events.v1", 3, 42))
    'driftline.behaviour-events.v1/3/42'
    """

    topic: Annotated[str, Meta(min_length=1, max_length=249)]
    partition: Annotated[int, Meta(ge=0, le=2_147_483_647)]
    offset: Annotated[int, Meta(ge=0, le=9_223_372_036_854_775_807)]

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

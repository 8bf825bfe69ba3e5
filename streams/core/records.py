"""A record of an input log, as the folds see it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from schemas.reasons import Reason, Rejection


class UnreadableBatch(msgspec.Struct, frozen=True):
    """Stands as the value of one record for a whole batch that could not be read (codec, CRC).

    first, last  offsets of the batch, both included
    error        why
    """

    first: int
    last: int
    error: str


class SourceRecord(Protocol):
    """`timestamp` in epoch ms, as Kafka has it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | UnreadableBatch | None


class Rejected(msgspec.Struct, frozen=True):
    """A record that may not count, and why."""

    record: SourceRecord
    rejection: Rejection


def unreadable(batch: UnreadableBatch) -> Rejection:
    """The reject of a batch nobody can read: by offset range, since there is nothing else to name."""
    return Rejection(Reason.UNREADABLE_BATCH, f"offsets {batch.first}..{batch.last}: {batch.error}")

"""What a line of a file becomes: an event worth sending, a broken row with its reason, or nothing at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import xxhash

from schemas.behaviour import decode_behaviour
from schemas.reasons import Reason, Rejection

FUTURE_LIMIT_MS: Final = 86_400_000
MAX_EVENT_BYTES: Final = 65_536

_encode = msgspec.json.Encoder().encode


class Event(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=0):
    """A row the contract accepts.

    line     number in the file, from 1
    time_ms  event time, epoch ms
    user_id  the record's key
    value    the record's value: JSON of behaviour-events.v1
    """

    line: int
    time_ms: int
    user_id: str
    value: bytes


class Broken(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """A row the contract refuses, or that is not even a row of its format.

    time_ms  what places it among the events: its own time, or that of the row before it in the file
    raw      the line as it stands in the file, without its end
    """

    line: int
    time_ms: int
    raw: bytes
    reason: str
    detail: str


class LeftOut(msgspec.Struct, frozen=True, gc=False):
    """A row that is sound and not behaviour, such as a redeemed coupon: counted, never sent.

    why  a kebab-case code for the summary
    """

    why: str


Row = Event | Broken
"""What has a place in the order of a replay."""


class Contract(msgspec.Struct, frozen=True):
    """The acceptance test every row passes before it is sent: the one the worker applies.

    max_bytes  the largest value the worker accepts, bytes
    latest_ms  the newest event time the worker accepts now, epoch ms
    """

    latest_ms: int
    max_bytes: int = MAX_EVENT_BYTES

    def row(self, line: int, raw: bytes, value: bytes, before_ms: int) -> Row:
        """The event in `value`, or why it is broken; `before_ms` is the time of the row before."""
        event = decode_behaviour(value, max_bytes=self.max_bytes)
        if isinstance(event, Rejection):
            return Broken(line, before_ms, raw, str(event.reason), event.detail)
        if event.time_ms > self.latest_ms:
            detail = f"time = {event.time_ms}: more than a day ahead of now; correct the time, or its unit"
            return Broken(line, before_ms, raw, str(Reason.FUTURE_TIME), detail)
        return Event(line, event.time_ms, event.user_id, value)


def event_id(format_name: str, line: int, raw: bytes) -> str:
    """32 hex digits that depend on the file's content alone: a second replay of a file repeats its ids.

    >>> event_id("csv", 2, b"u1,i1") == event_id("csv", 2, b"u1,i1") != event_id("csv", 3, b"u1,i1")
    True
    """
    return xxhash.xxh3_128_hexdigest(f"{format_name}\0{line}\0".encode() + raw)


def encoded(event: Mapping[str, Any]) -> bytes:
    """JSON bytes of an event's fields."""
    return _encode(event)


def is_sampled(user_id: str, share: float) -> bool:
    """Whether a user belongs to the sample of `share` (0..1) of all users. The same users in every file and run.

    >>> is_sampled("u1", 1.0), is_sampled("u1", 0.0)
    (True, False)
    """
    return xxhash.xxh3_64_intdigest(user_id.encode()) < share * 2**64

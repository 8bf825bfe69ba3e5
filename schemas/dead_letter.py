"""dead-letters.v1: a refused record's bytes as they came; why it was refused and where it lay are in the headers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.coordinates import Coordinates
from schemas.reasons import Rejection

MAX_BYTES: Final = 262_144
"""Bytes of a value that are kept; of a longer one the beginning."""

Headers = list[tuple[str, bytes]]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A refused record.

    reason     code (schemas/reasons.py); a plain string, so that a newer release's codes can be read
    detail     field, value and what to do
    came       where the record lay
    timestamp  of the record, epoch ms
    key        of the record, byte for byte; None: it had none
    value      of the record, at most the first 256 KiB; None: a tombstone
    size       bytes of the whole value
    sha256     of the whole value, 64 hex digits
    """

    reason: str
    detail: str
    came: Coordinates
    timestamp: int
    key: bytes | None
    value: bytes | None
    size: int
    sha256: str

    @property
    def is_complete(self) -> bool:
        """Whether `value` is all of it."""
        return len(self.value or b"") == self.size


def dead_letter_headers(
    rejection: Rejection, came: Coordinates, *, timestamp: int, key: bytes | None, value: bytes | None
) -> Headers:
    """The headers of a dead letter; its value is `value[:MAX_BYTES]`.

    came       where the refused record lies
    timestamp  of the refused record, epoch ms
    value      of the refused record, whole

    >>> from schemas.reasons import Reason
    >>> rejection = Rejection(Reason.NOT_JSON, "value: nonsense")
    >>> headers = dead_letter_headers(rejection, Coordinates("t", 0, 7), timestamp=1, key=b"k", value=b"{")
    >>> dict(headers)["reason"], read_dead_letter(b"{", headers).came.offset
    (b'not-json', 7)
    """
    raw = value or b""
    headers = [
        ("reason", rejection.reason.value.encode()),
        ("detail", rejection.detail.encode(errors="backslashreplace")),
        ("source_topic", came.topic.encode()),
        ("source_partition", b"%d" % came.partition),
        ("source_offset", b"%d" % came.offset),
        ("source_timestamp", b"%d" % timestamp),
        ("size", b"%d" % len(raw)),
        ("sha256", hashlib.sha256(raw).hexdigest().encode()),
    ]
    return headers if key is None else [*headers, ("key", key)]


def read_dead_letter(value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> DeadLetter:
    """The inverse of `dead_letter_headers`; headers it does not know are ignored.

    Raises ValueError naming the header that is missing or malformed: the record is no dead letter.
    """
    found = {name: content for name, content in headers if content is not None}
    try:
        return DeadLetter(
            reason=found["reason"].decode(),
            detail=found["detail"].decode(),
            came=Coordinates(
                found["source_topic"].decode(), int(found["source_partition"]), int(found["source_offset"])
            ),
            timestamp=int(found["source_timestamp"]),
            key=found.get("key"),
            value=value,
            size=int(found["size"]),
            sha256=found["sha256"].decode(),
        )
    except KeyError as error:
        raise ValueError(f"no dead letter: header {error.args[0]!r} is missing") from None

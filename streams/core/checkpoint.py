"""The checkpoint of one partition: where its state stands, and what makes that state its own.

It is compared and swapped as bytes: a commit succeeds only on exactly the checkpoint it was computed from. A worker
never creates one (`driftline init` does).
"""

from __future__ import annotations

import msgspec

VERSION = 1


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Everything a partition's fold knows about itself.

    generation      raised by `driftline rebuild`; part of key prefix, consumer group and every link
    topic_id        incarnation of the input topic; offsets mean nothing in another one
    source_id       incarnation of behaviour-events.v1 (stage 2: the offsets in link rows belong to it; else "")
    partition       which partition of the input topic this is
    partitions      partition count of the input topic
    item_partitions partition count of item-links.v1 (0 for the catalogue)
    settings_hash   of the LearningPolicy the state was computed with
    watermark       next offset of the input topic to apply, >= 0
    newest_ms       largest event time applied, epoch ms; 0: none yet
    accepted, duplicates, rejected  totals of records (stage 2: rows applied, 0, rejected messages)
    applied         stage 2: per source partition the highest source offset applied, -1 for none; else empty
    """

    generation: int
    topic_id: str
    source_id: str
    partition: int
    partitions: int
    item_partitions: int
    settings_hash: bytes
    watermark: int
    newest_ms: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    applied: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Version byte, then the fields in order as one msgpack array."""
        return bytes((VERSION,)) + _ENCODER.encode(self)


class UnknownVersionError(ValueError):
    """State bytes of a layout this release does not know."""


def decode_checkpoint(data: bytes) -> Checkpoint:
    """The inverse of `Checkpoint.encode`. Raises UnknownVersionError for another layout."""
    if not data or data[0] != VERSION:
        raise UnknownVersionError(f"checkpoint layout {data[:1].hex() or 'empty'}, this release reads {VERSION:02x}")
    return _DECODER.decode(data[1:])


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Checkpoint)

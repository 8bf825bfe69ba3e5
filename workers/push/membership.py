"""The consumer's place in its group, as the fence of every transaction.

The metadata is taken once, when an assignment arrives, and used for every transaction until the next one. Taken afresh
for each transaction it would not fence: a consumer that lost its session holds no member id until it joins again, and
the broker accepts the offsets of a transaction that names no member.
"""

from __future__ import annotations

import struct

from confluent_kafka import Consumer

_MAGIC = b"CGMDv2:"


def generation_of(metadata: bytes) -> tuple[int, str]:
    """Group generation and member id in librdkafka's serialised group metadata.

    Raises ValueError for a layout this release does not know.

    >>> generation_of(b"CGMDv2:" + (7).to_bytes(4, "little") + b"group\\0member-1\\0")
    (7, 'member-1')
    """
    if not metadata.startswith(_MAGIC):
        raise ValueError(f"unknown group metadata {metadata[:8]!r}: pin confluent-kafka to a tested version")
    (generation,) = struct.unpack_from("=i", metadata, len(_MAGIC))
    _, member, *_ = metadata[len(_MAGIC) + 4 :].split(b"\0")
    return generation, member.decode()


def metadata_of(consumer: Consumer) -> bytes | None:
    """The group metadata of the assignment just received; None if the membership is lost already."""
    metadata: bytes = consumer.consumer_group_metadata()
    generation, member = generation_of(metadata)
    return metadata if generation >= 0 and member else None

"""Identity inside: 64-bit hashes for ids that are strings at the edge, and who owns them."""

from __future__ import annotations

from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

MASK64 = (1 << 64) - 1
_M = 0x5BD1E995
_MASK32 = 0xFFFFFFFF


def id_hash(text: str) -> int:
    """XXH3-64 of an id's UTF-8 bytes, 0 <= hash < 2**64.

    >>> f"{id_hash('shoe-1'):016x}"
    'a029ea8035d24cc2'
    """
    return xxh3_64_intdigest(text.encode())


def change_id(topic_id: str, user_id: str, partition: int, offset: int, category: str) -> str:
    """Deterministic id of an interest change: 32 hex digits, the same whenever the same record is folded."""
    return xxh3_128_hexdigest(f"{topic_id}\0{user_id}\0{partition}\0{offset}\0{category}".encode())


def item_partition(item_hash: int, item_partitions: int) -> int:
    """Which partition of item-links.v1 owns an item, 0 <= partition < item_partitions."""
    return item_hash % item_partitions


def user_partition(key: bytes, partitions: int) -> int:
    """Kafka's default partitioner for a keyed record: (murmur2(key) & 0x7fffffff) mod partitions.

    Appleby's MurmurHash2 with the seed of the Java client (org.apache.kafka.common.utils.Utils.murmur2).

    >>> user_partition(b"21", 1000)
    340
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """MurmurHash2 as Kafka's Java client computes it, 0 <= hash < 2**32."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK32
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * _M) & _MASK32
        k ^= k >> 24
        k = (k * _M) & _MASK32
        h = ((h * _M) & _MASK32) ^ k
    tail = data[whole:]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = (h * _M) & _MASK32
    h ^= h >> 13
    h = (h * _M) & _MASK32
    return h ^ (h >> 15)

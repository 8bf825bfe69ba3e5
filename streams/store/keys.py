"""The Redis data model: every key Driftline writes, and the only place where one is built.

Prefix `<namespace>:v1:`. `g` is the generation; `{..}` the hash tag of one partition, so that a partition's keys share a
slot.

| key                      | type   | content                                  | TTL       | writer     | reader                |
|--------------------------|--------|------------------------------------------|-----------|------------|-----------------------|
| serving                  | string | generation that serves, decimal          | none      | init,switch| everyone              |
| g:{u}:checkpoint         | string | packed Checkpoint of a user partition    | none      | profiles   | profiles, ranker      |
| g:{u}:user:ID            | string | packed UserState                         | state     | profiles   | push, inspect         |
| g:{u}:interests:ID       | hash   | category -> "tier share", "@" -> stamp   | state     | profiles   | other services        |
| g:{i}:checkpoint         | string | packed Checkpoint of an item partition   | none      | neighbours | neighbours, ranker    |
| g:{i}:item:HASH          | string | packed item state, HASH = 16 hex digits  | state     | neighbours | views, push, inspect  |
| g:{i}:similar:ID         | zset   | item id -> similarity, 0..1, 50 at most  | state     | neighbours | push, other services  |
| g:{i}:trending           | zset   | item id -> log2 of its recent degree     | none      | neighbours | push, other services  |
| g:{i}:views              | hash   | stamp and staleness of this shard's views| none      | neighbours | inspect               |
| g:{c}:checkpoint         | string | packed Checkpoint of a catalogue partition| none     | catalogue  | catalogue             |
| g:{c}:meta:ID            | string | CatalogueItem as JSON                    | none      | catalogue  | push, demo, inspect   |
| {n}:checkpoint           | string | packed journal position                  | none      | push       | push, why             |
| {n}:push:ID              | string | packed PushState of a user               | state (1) | push       | push, why             |

(1) none once it holds the user's settings: an opt-out must not expire.
Keys ending in `checkpoint`, `user:`, `item:`, `meta:` and `push:` are state: bytes compared and stored, never computed by Redis.
The others are views: derived after the commit, never the source of truth, rebuilt at will.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from redis.crc import key_slot

SLOTS = 16384
Family = Literal["u", "i", "c", "n"]


@lru_cache(maxsize=8192)
def hash_tag(family: Family, partition: int, partitions: int) -> str:
    """The hash tag of one partition, chosen so that the partitions of a family spread evenly over the Cluster's slots.

    Partition p of n gets the first tag `<family><p>.<k>` whose slot lies in the p-th of n equal ranges.

    >>> hash_tag("u", 0, 3), hash_tag("u", 2, 3)
    ('u0.2', 'u2.3')
    """
    if not 0 <= partition < partitions:
        raise ValueError(f"partition {partition} is not one of {partitions}")
    low, high = partition * SLOTS // partitions, (partition + 1) * SLOTS // partitions
    k = 0
    while not low <= key_slot(f"{family}{partition}.{k}".encode()) < high:
        k += 1
    return f"{family}{partition}.{k}"


@dataclass(frozen=True, slots=True)
class Shard:
    """The keys of one partition: they share a slot, so that they are loaded and committed atomically."""

    prefix: str

    @property
    def checkpoint(self) -> str:
        return f"{self.prefix}checkpoint"

    def user(self, user_id: str) -> str:
        return f"{self.prefix}user:{user_id}"

    def interests(self, user_id: str) -> str:
        return f"{self.prefix}interests:{user_id}"

    def item(self, item_hash: int) -> str:
        return f"{self.prefix}item:{item_hash:016x}"

    def similar(self, item_id: str) -> str:
        return f"{self.prefix}similar:{item_id}"

    @property
    def trending(self) -> str:
        return f"{self.prefix}trending"

    @property
    def views(self) -> str:
        return f"{self.prefix}views"

    def meta(self, item_id: str) -> str:
        return f"{self.prefix}meta:{item_id}"

    def push(self, user_id: str) -> str:
        return f"{self.prefix}push:{user_id}"


@dataclass(frozen=True, slots=True)
class Keyspace:
    """All keys of one namespace and generation."""

    namespace: str
    generation: int
    user_partitions: int
    item_partitions: int
    catalogue_partitions: int

    @staticmethod
    def serving(namespace: str) -> str:
        """Which generation serves; not part of any generation."""
        return f"{namespace}:v1:serving"

    def _shard(self, family: Family, partition: int, partitions: int) -> Shard:
        return Shard(f"{self.namespace}:v1:g{self.generation}:{{{hash_tag(family, partition, partitions)}}}:")

    def users(self, partition: int) -> Shard:
        return self._shard("u", partition, self.user_partitions)

    def items(self, partition: int) -> Shard:
        return self._shard("i", partition, self.item_partitions)

    def catalogue(self, partition: int) -> Shard:
        return self._shard("c", partition, self.catalogue_partitions)

    def push(self, partition: int) -> Shard:
        """Push state is a fold of the journal and belongs to no generation."""
        return Shard(f"{self.namespace}:v1:{{{hash_tag('n', partition, self.user_partitions)}}}:")

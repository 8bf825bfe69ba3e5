"""What Driftline asks of a store. One contract suite holds for both: Redis (redis.py) and memory (memory.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from streams.store.keys import Shard


class Ranking(msgspec.Struct, frozen=True):
    """A view to replace: members and scores of a ZSET, highest scores kept."""

    key: str
    scores: Mapping[str, float]


class Table(msgspec.Struct, frozen=True):
    """A view to replace: fields and values of a HASH."""

    key: str
    fields: Mapping[str, str]


class Raise(msgspec.Struct, frozen=True):
    """Members of a ZSET to set, of which only the `keep` highest stay."""

    key: str
    scores: Mapping[str, float]
    keep: int


View = Ranking | Table | Raise


class StoreUnavailableError(Exception):
    """The store did not answer, or answered with an error. What it holds is unknown until it is loaded again."""


class Store(Protocol):
    """State as bytes, committed by compare-and-set on a shard's checkpoint; views beside it.

    Every method raises StoreUnavailableError if the store cannot be reached.
    """

    def load(self, shard: Shard, keys: Sequence[str]) -> tuple[bytes | None, list[bytes | None]]:
        """The shard's checkpoint and the values of its keys, in one atomic read."""
        ...

    def commit(self, shard: Shard, expected: bytes, checkpoint: bytes, writes: Mapping[str, bytes]) -> bool:
        """All of `writes` and the new checkpoint if the checkpoint still is `expected`; else nothing, and False.

        After an error it is unknown which of the two happened: load again.
        """
        ...

    def create(self, key: str, value: bytes) -> bool:
        """Set a key that must not exist yet; False (and nothing changed) if it does."""
        ...

    def replace(self, key: str, expected: bytes, value: bytes) -> bool:
        """Set a key if it still holds `expected`; else nothing, and False."""
        ...

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Values of keys of any shards. Not atomic."""
        ...

    def rankings(self, keys: Sequence[str], count: int) -> list[list[tuple[str, float]]]:
        """The `count` highest members of each ZSET with their scores, highest first."""
        ...

    def table(self, key: str) -> dict[str, str]:
        """All fields of a HASH."""
        ...

    def write_views(self, views: Sequence[View], ttl_s: int) -> None:
        """Replace or raise views, each atomically; they expire `ttl_s` after their last write."""
        ...

    def expire(self, keys: Sequence[str], ttl_s: int) -> None:
        """Let keys go `ttl_s` seconds from now: garbage collection, never part of the fold."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Delete every key that starts with `prefix` (a dropped generation); returns how many."""
        ...

    def check(self) -> list[str]:
        """What makes this server unfit (eviction policy, version), one sentence each; empty if it is fit."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...

"""The store in memory: for tests, for the oracle comparisons and for offline evaluation. Same contract as Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock

from streams.store.keys import Shard
from streams.store.protocol import Raise, Ranking, View


class MemoryStore:
    """A dict with the semantics of the Redis store; thread-safe, without expiry."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.zsets: dict[str, dict[str, float]] = {}
        self.hashes: dict[str, dict[str, str]] = {}
        self._lock = Lock()

    def load(self, shard: Shard, keys: Sequence[str]) -> tuple[bytes | None, list[bytes | None]]:
        with self._lock:
            return self.values.get(shard.checkpoint), [self.values.get(key) for key in keys]

    def commit(self, shard: Shard, expected: bytes, checkpoint: bytes, writes: Mapping[str, bytes]) -> bool:
        with self._lock:
            if self.values.get(shard.checkpoint) != expected:
                return False
            self.values.update(writes)
            self.values[shard.checkpoint] = checkpoint
            return True

    def create(self, key: str, value: bytes) -> bool:
        with self._lock:
            return self.values.setdefault(key, value) is value

    def replace(self, key: str, expected: bytes, value: bytes) -> bool:
        with self._lock:
            if self.values.get(key) != expected:
                return False
            self.values[key] = value
            return True

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            return [self.values.get(key) for key in keys]

    def rankings(self, keys: Sequence[str], count: int) -> list[list[tuple[str, float]]]:
        with self._lock:
            return [_highest(self.zsets.get(key, {}), count) for key in keys]

    def table(self, key: str) -> dict[str, str]:
        with self._lock:
            return dict(self.hashes.get(key, {}))

    def write_views(self, views: Sequence[View], ttl_s: int) -> None:
        with self._lock:
            for view in views:
                match view:
                    case Ranking(key, scores):
                        self.zsets[key] = dict(scores)
                    case Raise(key, scores, keep):
                        merged = {**self.zsets.get(key, {}), **scores}
                        self.zsets[key] = dict(_highest(merged, keep))
                    case _:
                        self.hashes[view.key] = dict(view.fields)

    def expire(self, keys: Sequence[str], ttl_s: int) -> None:
        return None

    def delete_prefix(self, prefix: str) -> int:
        with self._lock:
            gone = 0
            for part in (self.values, self.zsets, self.hashes):
                doomed = [key for key in part if key.startswith(prefix)]
                gone += len(doomed)
                for key in doomed:
                    del part[key]
            return gone

    def check(self) -> list[str]:
        return []

    def close(self) -> None:
        return None


def _highest(scores: Mapping[str, float], count: int) -> list[tuple[str, float]]:
    """Redis's order: by score, then by member, both descending."""
    return sorted(scores.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)[:count]

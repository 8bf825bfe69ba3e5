"""Putting Valkey back to an older state, atomically per partition, and counting the commits that are lost by it.

Every commit SETs its partition's checkpoint. The servers announce that (keyspace notifications), so commits are counted
one by one and not guessed from watermarks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import redis
from redis.cluster import RedisCluster

from streams.store.keys import Family, Keyspace, Shard

_TAKE = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  found[#found + 1] = key
  found[#found + 1] = redis.call('DUMP', key)
end
return found
"""
_PUT = """
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end
for i = 2, #ARGV, 2 do redis.call('RESTORE', ARGV[i], 0, ARGV[i + 1]) end
"""


class Snapshot:
    """Every key of some partitions, each partition as it was at one moment."""

    def __init__(self, scope: str, parts: dict[Shard, list[bytes]], commits: Counter[str]) -> None:
        self.scope = scope
        self.parts = parts
        self.commits = commits

    @property
    def keys(self) -> int:
        return sum(len(part) // 2 for part in self.parts.values())


class Valkeys:
    """The store as an outsider with all rights."""

    def __init__(self, nodes: Sequence[redis.Redis], client: Any, keys: Keyspace) -> None:
        self._client, self._keys = client, keys
        self.commits: Counter[str] = Counter()
        self._nodes = nodes
        self._listeners: list[Any] = []
        self.listen()

    def listen(self) -> None:
        """Ask every server to announce commits; again after it was restarted."""
        self._hang_up()
        for node in self._nodes:
            node.config_set("notify-keyspace-events", "K$")
            listener = node.pubsub(ignore_subscribe_messages=True)
            listener.psubscribe(f"__keyspace@0__:{self._keys.namespace}:v1:*checkpoint")
            self._listeners.append(listener)

    def _hang_up(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def close(self) -> None:
        self._hang_up()
        self._client.close()

    def count(self) -> None:
        """Take in what was announced since the last call."""
        for listener in self._listeners:
            while (message := listener.get_message(timeout=0)) is not None:
                if message["data"] == b"set":
                    self.commits[message["channel"].decode().partition("__:")[2]] += 1

    def shards(self, scope: str) -> list[Shard]:
        """The partitions of some families."""
        found: list[Shard] = []
        for family in scope:
            found += self._of(family)  # type: ignore[arg-type]  # a Family
        return found

    def _of(self, family: Family) -> Iterable[Shard]:
        keys = self._keys
        match family:
            case "u":
                return [keys.users(p) for p in range(keys.user_partitions)]
            case "i":
                return [keys.items(p) for p in range(keys.item_partitions)]
            case "c":
                return [keys.catalogue(p) for p in range(keys.catalogue_partitions)]
            case _:
                return [keys.push(p) for p in range(keys.user_partitions)]

    def take(self, scope: str) -> Snapshot:
        """Remember every partition of some families (those that have a checkpoint)."""
        self.count()
        parts = {
            shard: self._client.eval(_TAKE, 1, shard.checkpoint, f"{shard.prefix}*") for shard in self.shards(scope)
        }
        return Snapshot(scope, {shard: part for shard, part in parts.items() if part}, self.commits.copy())

    def commits_since(self, snapshot: Snapshot) -> int:
        """The least number of commits of any of its partitions since it was taken."""
        self.count()
        return min((self.commits[s.checkpoint] - snapshot.commits[s.checkpoint] for s in snapshot.parts), default=0)

    def put_back(self, snapshot: Snapshot) -> None:
        """Every partition exactly as it was: what came later is gone."""
        for shard, part in snapshot.parts.items():
            self._client.eval(_PUT, 1, shard.checkpoint, f"{shard.prefix}*", *part)

    def everything(self) -> dict[str, str]:
        """Every key of the namespace and its type."""
        client, found = self._client, {}
        nodes = client.get_primaries() if isinstance(client, RedisCluster) else [None]
        for node in nodes:
            where = {"target_nodes": node} if node is not None else {}
            names = list(client.scan_iter(match=f"{self._keys.namespace}:v1:*", count=2000, **where))
            for name in names:
                found[name.decode()] = client.type(name).decode()
        return found

    def values(self, names: Sequence[str]) -> dict[str, bytes]:
        """Strings by key."""
        return {name: self._client.get(name) for name in names}

    def hashes(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        return {n: {k.decode(): v.decode() for k, v in self._client.hgetall(n).items()} for n in names}

    def rankings(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        return {n: {k.decode(): s for k, s in self._client.zrange(n, 0, -1, withscores=True)} for n in names}

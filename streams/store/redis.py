"""The store on Redis >= 6.2 or Valkey, standalone or Cluster, without any module.

A commit is WATCH, GET, MULTI, MSET, SET, EXEC on one connection (measured 2.4 times cheaper for the server than a Lua
script that writes the same keys). Redis compares and stores bytes; it never computes.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import RedisError, WatchError

from streams.store.keys import Shard
from streams.store.protocol import Raise, Ranking, StoreUnavailableError, View

P = ParamSpec("P")
T = TypeVar("T")

CLUSTER_SCHEME = "redis+cluster://"
CLUSTER_TLS_SCHEME = "rediss+cluster://"
_EXPIRE = "for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[1]) end"
_CHUNK = 1000


def connect(url: str, timeout_s: float = 10.0) -> RedisStore:
    """A store from a URL: redis://, rediss://, unix:// or redis+cluster://host:port (rediss+cluster:// with TLS).

    Raises StoreUnavailableError if nobody answers; the message never holds the password.
    """
    options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    try:
        client: Any
        if url.startswith((CLUSTER_SCHEME, CLUSTER_TLS_SCHEME)):
            client = RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
        else:
            client = redis.Redis.from_url(url, **options)
        client.ping()
    except (RedisError, OSError, ValueError) as error:
        raise StoreUnavailableError(f"no Redis at {without_password(url)}: {error}") from error
    return RedisStore(client)


def without_password(url: str) -> str:
    """The URL as it may be printed.

    >>> without_password("redis://app:secret@host:6379/0")
    'redis://***@host:6379/0'
    """
    scheme, _, rest = url.partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}://***@{host}" if at else url


def _guarded(method: Callable[P, T]) -> Callable[P, T]:
    """Every failure of the client is one kind of failure to the caller: unknown until loaded again."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except (RedisError, OSError) as error:
            raise StoreUnavailableError(f"Redis: {type(error).__name__}: {error}") from error

    return call


class RedisStore:
    """See Store. Thread-safe: one connection a call, from redis-py's pool."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._clustered = isinstance(client, RedisCluster)
        self._expire = client.register_script(_EXPIRE) if not self._clustered else None

    @_guarded
    def load(self, shard: Shard, keys: Sequence[str]) -> tuple[bytes | None, list[bytes | None]]:
        checkpoint, *values = self._client.mget([shard.checkpoint, *keys])
        return checkpoint, values

    @_guarded
    def commit(self, shard: Shard, expected: bytes, checkpoint: bytes, writes: Mapping[str, bytes]) -> bool:
        return self._swap(shard.checkpoint, expected, checkpoint, writes)

    @_guarded
    def create(self, key: str, value: bytes) -> bool:
        return bool(self._client.set(key, value, nx=True))

    @_guarded
    def replace(self, key: str, expected: bytes, value: bytes) -> bool:
        return self._swap(key, expected, value, {})

    def _swap(self, key: str, expected: bytes, value: bytes, writes: Mapping[str, bytes]) -> bool:
        with self._client.pipeline(transaction=True) as pipe:
            pipe.watch(key)
            if pipe.get(key) != expected:
                return False
            pipe.multi()
            if writes:
                pipe.execute_command("MSET", *(part for pair in writes.items() for part in pair))
            pipe.set(key, value)
            try:
                pipe.execute()
            except WatchError:
                return False
            return True

    @_guarded
    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        if not self._clustered:
            return list(self._client.mget(keys))
        found: dict[str, bytes | None] = {}
        for group in _by_slot(keys):
            found.update(zip(group, self._client.mget(group), strict=True))
        return [found[key] for key in keys]

    @_guarded
    def rankings(self, keys: Sequence[str], count: int) -> list[list[tuple[str, float]]]:
        found = self._pipelined(lambda pipe, key: pipe.zrevrange(key, 0, count - 1, withscores=True), keys)
        return [[(member.decode(), float(score)) for member, score in ranking] for ranking in found]

    @_guarded
    def table(self, key: str) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self._client.hgetall(key).items()}

    @_guarded
    def write_views(self, views: Sequence[View], ttl_s: int) -> None:
        for group in _by_slot_of_views(views) if self._clustered else [views]:
            with self._client.pipeline(transaction=True) as pipe:
                if self._clustered:
                    pipe.watch(group[0].key)
                    pipe.multi()
                for view in group:
                    _queue(pipe, view)
                    pipe.expire(view.key, ttl_s)
                pipe.execute()

    @_guarded
    def expire(self, keys: Sequence[str], ttl_s: int) -> None:
        for group in _by_slot(keys) if self._clustered else [keys]:
            for start in range(0, len(group), _CHUNK):
                chunk = group[start : start + _CHUNK]
                if self._expire is not None:
                    self._expire(keys=chunk, args=[ttl_s])
                else:
                    self._client.eval(_EXPIRE, len(chunk), *chunk, ttl_s)

    @_guarded
    def delete_prefix(self, prefix: str) -> int:
        gone = 0
        pattern = "".join(f"[{c}]" if c in "*?[]\\" else c for c in prefix) + "*"
        batch: list[bytes] = []
        for key in self._client.scan_iter(match=pattern, count=_CHUNK):
            batch.append(key)
            if len(batch) == _CHUNK:
                gone += self._unlink(batch)
                batch = []
        return gone + self._unlink(batch)

    def _unlink(self, keys: list[bytes]) -> int:
        groups: Iterable[Sequence[bytes]] = _by_slot(keys) if self._clustered else [keys]
        return sum(int(self._client.unlink(*group)) for group in groups if group)

    @_guarded
    def check(self) -> list[str]:
        found = []
        nodes = self._client.get_primaries() if self._clustered else [None]
        for node in nodes:
            where = {"target_nodes": node} if node is not None else {}
            memory, server = self._client.info("memory", **where), self._client.info("server", **where)
            policy = memory.get("maxmemory_policy", "noeviction")
            if policy != "noeviction":
                found.append(
                    f"maxmemory-policy is {policy!r}: state could vanish unnoticed; "
                    "`CONFIG SET maxmemory-policy noeviction`"
                )
            version = str(server.get("redis_version", "0"))
            if tuple(int(part) for part in version.split(".")[:2]) < (6, 2):
                found.append(f"Redis {version} is too old: 6.2 or newer, or Valkey")
        return found

    def close(self) -> None:
        self._client.close()

    def _pipelined(self, queue: Callable[[Any, str], Any], keys: Sequence[str]) -> list[Any]:
        if not keys:
            return []
        with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                queue(pipe, key)
            return list(pipe.execute())


def _queue(pipe: Any, view: View) -> None:
    match view:
        case Ranking(key, scores):
            pipe.delete(key)
            if scores:
                pipe.zadd(key, scores)
        case Raise(key, scores, keep):
            if scores:
                pipe.zadd(key, scores)
            pipe.zremrangebyrank(key, 0, -keep - 1)
        case _:
            pipe.delete(view.key)
            pipe.hset(view.key, mapping=view.fields)


K = TypeVar("K", str, bytes)


def _by_slot(keys: Sequence[K]) -> list[list[K]]:
    groups: dict[int, list[K]] = defaultdict(list)
    for key in keys:
        groups[key_slot(key.encode() if isinstance(key, str) else key)].append(key)
    return list(groups.values())


def _by_slot_of_views(views: Sequence[View]) -> list[list[View]]:
    groups: dict[int, list[View]] = defaultdict(list)
    for view in views:
        groups[key_slot(view.key.encode())].append(view)
    return list(groups.values())

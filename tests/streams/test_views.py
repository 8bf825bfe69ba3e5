"""Views show committed state: planted communities, stamps, budgets, and what is left when the store fails."""

from __future__ import annotations

import time

import pytest

from streams.core.checkpoint import Checkpoint
from streams.core.hashing import id_hash, item_partition
from streams.core.item_arena import ItemArena
from streams.core.links import LinkRow, decode_links, encode_links
from streams.core.neighbours import owned_items
from streams.core.policy import LearningPolicy
from streams.core.user_state import Interest, Tier, UserState
from streams.store.keys import Keyspace
from streams.store.memory import MemoryStore
from streams.store.protocol import StoreUnavailableError
from streams.store.reader import Reader
from streams.views import Views

KEYS = Keyspace("t", 1, 2, 3, 1)
POLICY = LearningPolicy()


def store_with(sessions: list[list[str]]) -> tuple[MemoryStore, dict[int, list[int]]]:
    """A store as stage 2 leaves it after these sessions, and the item hashes of each partition."""
    store = MemoryStore()
    arenas = {p: ItemArena(POLICY) for p in range(3)}
    rows = []
    for number, session in enumerate(sessions):
        for at, name in enumerate(session):
            nearest = tuple(id_hash(other) for other in session[max(0, at - 5) : at][::-1])
            time_ms = 1_700_000_000_000 + number * 3_600_000 + at * 1000
            rows.append(LinkRow(len(rows), time_ms, number + 1, 1.0, False, id_hash(name), nearest, name))
    for target, data in encode_links(rows, generation=1, topic_id="b", source=0, item_partitions=3):
        message = decode_links(data)
        checkpoint = Checkpoint(
            generation=1,
            topic_id="l",
            source_id="b",
            partition=target,
            partitions=3,
            item_partitions=3,
            settings_hash=b"",
            watermark=7,
            newest_ms=5,
            applied=(-1,),
        )
        owned = owned_items(message, checkpoint)
        for item in owned.values():
            arenas[target].put(item, None)
        arenas[target].apply(message, -1, owned)
        shard = KEYS.items(target)
        store.create(shard.checkpoint, b"x")
        packed = arenas[target].pack(list(owned.values()))
        store.commit(
            shard, b"x", checkpoint.encode(), {shard.item(i): d for i, d in zip(owned.values(), packed, strict=True)}
        )
    return store, {p: list(arena.slot_of) for p, arena in arenas.items()}


def views_of(store: MemoryStore, interval_s: float = 0.0) -> Views:
    return Views(store, KEYS, POLICY, budget=lambda: 1.0, interval_s=interval_s, ttl_s=60)


def test_items_of_one_community_are_similar_and_of_two_are_not() -> None:
    even = [[f"even-{(n + k) % 6}" for k in range(4)] for n in range(12)]
    odd = [[f"odd-{(n + k) % 6}" for k in range(4)] for n in range(12)]
    store, items = store_with([session for pair in zip(even, odd, strict=True) for session in pair])
    views = views_of(store)
    for partition, hashes in items.items():
        views.note("neighbours", KEYS.items(partition), hashes)
    views.drain()
    reader = Reader(store, KEYS)
    for side in ("even", "odd"):
        for n in range(6):
            near = reader.similar([f"{side}-{n}"])[f"{side}-{n}"]
            assert {name.split("-")[0] for name, _ in near} == {side}
            assert len(near) == 5
            assert all(0 < similarity <= 1 for _, similarity in near)
    there = dict(reader.similar(["even-0"])["even-0"])["even-3"]
    back = dict(reader.similar(["even-3"])["even-3"])["even-0"]
    assert there == pytest.approx(back, rel=1e-6), "similarity is symmetric as long as nothing was evicted"
    assert len(reader.trending(50)) == 12
    assert store.table(KEYS.items(item_partition(id_hash("even-0"), 3)).views) == {"watermark": "7", "newest_ms": "5"}


def test_a_shoppers_interests_are_shares_with_a_stamp() -> None:
    store = MemoryStore()
    shard = KEYS.users(0)
    state = UserState(interests=[Interest("A", affinity=3.0, tier=Tier.CORE), Interest("B > C", affinity=1.0)])
    stamp = Checkpoint(
        generation=1,
        topic_id="b",
        source_id="",
        partition=0,
        partitions=2,
        item_partitions=3,
        settings_hash=b"",
        watermark=42,
    )
    store.create(shard.checkpoint, b"x")
    store.commit(shard, b"x", stamp.encode(), {shard.user("ann"): state.encode()})
    views = views_of(store)
    views.note("profiles", shard, ["ann", "nobody"])
    views.drain()
    assert store.table(shard.interests("ann")) == {"@": "42", "A": "core 0.75", "B > C": "none 0.25"}


def test_a_key_waits_for_its_interval_and_is_then_derived_once() -> None:
    store, items = store_with([["a", "b"]])
    views = views_of(store, interval_s=0.2)
    (partition,) = {item_partition(id_hash("a"), 3)}
    for _ in range(5):
        views.note("neighbours", KEYS.items(partition), [id_hash("a")])
    views.start()
    time.sleep(0.05)
    assert Reader(store, KEYS).similar(["a"])["a"] == []
    deadline = time.monotonic() + 5
    while not Reader(store, KEYS).similar(["a"])["a"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [name for name, _ in Reader(store, KEYS).similar(["a"])["a"]] == ["b"]
    views.stop()
    assert items[partition]


def test_what_could_not_be_written_waits_for_the_next_turn() -> None:
    store, _ = store_with([["a", "b"]])
    views = views_of(store)
    shard = KEYS.items(item_partition(id_hash("a"), 3))
    views.note("neighbours", shard, [id_hash("a")])
    working, failures = store.write_views, [True]

    def failing(*arguments: object) -> None:
        if failures:
            failures.pop()
            raise StoreUnavailableError("gone")
        working(*arguments)  # type: ignore[arg-type]

    store.write_views = failing  # type: ignore[method-assign]
    views.drain()
    assert Reader(store, KEYS).similar(["a"])["a"][0][0] == "b"

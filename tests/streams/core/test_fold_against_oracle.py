"""streams.core against the oracle of the chaos suite, on hostile logs: everything equal, floats bit for bit."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from streams.core import neighbours, profiles
from streams.core.hashing import murmur2
from streams.core.item_arena import ItemArena
from streams.core.item_state import HEAD, VERSION, decode_head, decode_item
from streams.core.links import encode_links
from streams.core.similarity import similarities
from streams.core.user_state import Consent, Interest, RecentItem, Tier, UserState
from tests.chaos import oracle
from tests.streams.core.hostile_log import (
    DAY_MS,
    GENERATION,
    ITEM_PARTITIONS,
    MAX_BYTES,
    PARTITIONS,
    POLICIES,
    TOPIC,
    Record,
    checkpoint,
    hostile_logs,
    links_checkpoint,
)

EVENTS = 6000
CASES = range(len(POLICIES))


@cache
def stage_1(case: int) -> list[SimpleNamespace]:
    """Per partition: what the core and what the oracle make of the log, the core in batches of random sizes."""
    made = []
    for partition, log in enumerate(hostile_logs(case, EVENTS)):
        rng, states, after, decisions = random.Random(case), {}, checkpoint(partition), []
        start = 0
        while start < len(log):
            batch = log[start : start + rng.choice((1, 3, 100, 400))]
            decision = profiles.fold(after, profiles.decode(batch, MAX_BYTES), states, POLICIES[case])
            decisions.append(decision)
            after, start = decision.checkpoint, start + len(batch)
        plain = [(r.offset, r.timestamp, r.key, r.value) for r in log]
        truth = oracle.fold_behaviour(plain, (partition, PARTITIONS), ITEM_PARTITIONS, POLICIES[case], TOPIC)
        made.append(SimpleNamespace(log=log, states=states, after=after, decisions=decisions, truth=truth))
    return made


@cache
def link_logs(case: int) -> list[list[Record]]:
    """Per item partition: the messages of all flushes in a random interleaving, with repeats and messages of others."""
    rng = random.Random(case)
    flushes = [[d.links for d in part.decisions] for part in stage_1(case)]
    logs: list[list[Record]] = [[] for _ in range(ITEM_PARTITIONS)]
    sent: list[tuple[int, bytes]] = []
    while any(flushes):
        source = rng.choice([source for source in range(PARTITIONS) if flushes[source]])
        rows = flushes[source].pop(0)
        made = list(
            encode_links(rows, generation=GENERATION, topic_id=TOPIC, source=source, item_partitions=ITEM_PARTITIONS)
        )
        if rng.random() < 0.02:
            made += encode_links(rows, generation=2, topic_id=TOPIC, source=source, item_partitions=ITEM_PARTITIONS)
            made += encode_links(rows, generation=3, topic_id="old", source=source, item_partitions=ITEM_PARTITIONS)
            made += [(rng.randrange(ITEM_PARTITIONS), b"bad")]
        if sent and rng.random() < 0.1:
            target, value = rng.choice(sent)
            made += [(target, value), ((target + 1) % ITEM_PARTITIONS, value)]
        sent += made
        for target, value in made:
            logs[target].append(Record(len(logs[target]), 0, None, value))
    return logs


@cache
def stage_2(case: int) -> list[SimpleNamespace]:
    """Per item partition: packed items of the core, as a store would hold them, and the oracle's items."""
    made = []
    for partition, log in enumerate(link_logs(case)):
        rng, store, arena = random.Random(case), {}, ItemArena(POLICIES[case], slots=4)
        after = links_checkpoint(partition)
        start = dropped = 0
        while start < len(log):
            batch = neighbours.decode(log[start : start + rng.choice((1, 5, 20))])
            for _, message in batch:
                if neighbours.counts_here(message, after):
                    for item in arena.missing(neighbours.owned_items(message, after).values()):
                        arena.put(item, store.get(item))
            decision = neighbours.fold(after, batch, arena)
            store.update(zip(decision.dirty, arena.pack(decision.dirty), strict=True))
            after, start, dropped = decision.checkpoint, start + len(batch), dropped + decision.dropped
            if rng.random() < 0.2:
                arena.shrink(rng.choice((0, 20, 100)))
        plain = [(r.offset, r.value) for r in log]
        truth = oracle.fold_links(plain, (partition, ITEM_PARTITIONS), POLICIES[case], GENERATION, TOPIC)
        made.append(SimpleNamespace(store=store, after=after, truth=truth, dropped=dropped))
    return made


def user_of(truth: Any) -> UserState:
    """The oracle's user in the core's own terms."""
    return UserState(
        last_ms=truth.last_ms,
        consent=Consent[truth.consent.upper()],
        sessions=truth.sessions,
        session_key=0 if truth.session_id is None else oracle.h(truth.session_id),
        since=truth.since,
        epoch=truth.epoch,
        seen_ids=[seen for seen, _ in truth.ids],
        seen_content=[content for _, content in truth.ids],
        session_items=[oracle.h(item) for item in truth.items],
        interests=[
            Interest(
                category=category,
                affinity=k.affinity,
                visits=k.visits,
                last_session=k.session,
                history=k.history,
                last_ms=k.last_ms,
                tier=Tier[k.tier.upper()],
                risen=k.risen,
                declared=k.declared,
            )
            for category, k in truth.categories.items()
        ],
        recent=[RecentItem(*recent) for recent in truth.recent],
        bought=[oracle.h(item) for item in truth.bought],
        dismissed=[oracle.h(item) for item in truth.dismissed],
    )


def packed(truth: Any, name: str) -> bytes:
    """The oracle's item in the layout of streams/core/item_state.py."""
    counts = (truth.epoch, truth.events, truth.repeats, truth.last, len(name.encode()))
    head = HEAD.pack(VERSION, 0, len(truth.rows), *counts, truth.D, truth.Dr, truth.oF1, truth.oF, truth.oB)
    padding = bytes(-len(name.encode()) % 4)
    return (
        head + name.encode() + padding + b"".join(x.to_bytes(8, "little") + bytes(row) for x, row in truth.rows.items())
    )


def item_of(data: bytes) -> tuple[Any, ...]:
    state = decode_item(data)
    return state.head, state.name, state.rows.tolist()


@pytest.mark.parametrize("case", CASES)
def test_every_verdict_and_count_of_stage_1(case: int) -> None:
    for part in stage_1(case):
        counted = Counter(verdict for _, verdict in part.truth.verdicts)
        rejected = [(offset, v) for offset, v in part.truth.verdicts if v not in ("accepted", "duplicate")]
        assert [(r.record.offset, r.rejection.reason.value) for d in part.decisions for r in d.rejects] == rejected
        assert part.after.accepted == counted["accepted"]
        assert part.after.duplicates == counted["duplicate"]
        assert part.after.rejected == len(rejected)
        assert part.after.newest_ms == part.truth.newest_ms
        assert part.after.watermark == part.log[-1].offset + 1
        accepted = {offset for offset, v in part.truth.verdicts if v == "accepted"}
        types = Counter(
            oracle.decode_behaviour(r.value, max_bytes=MAX_BYTES).type for r in part.log if r.offset in accepted
        )
        assert sum((d.types for d in part.decisions), Counter()) == types


@pytest.mark.parametrize("case", CASES)
def test_every_field_of_every_user(case: int) -> None:
    for part in stage_1(case):
        assert part.states.keys() == part.truth.users.keys() == set().union(*(d.dirty for d in part.decisions))
        for user_id, state in part.states.items():
            expected = user_of(part.truth.users[user_id])
            assert state == expected
            assert state.encode() == expected.encode()


@pytest.mark.parametrize("case", CASES)
def test_every_link_row_and_every_change(case: int) -> None:
    for part in stage_1(case):
        assert [tuple(row[:7]) for d in part.decisions for row in d.links] == [tuple(row) for row, _ in part.truth.rows]
        stamps = {record.offset: record.timestamp for record in part.log}
        made = [
            (
                *(c.id, c.user_id, c.change.category, c.change.kind),
                *(c.change.from_tier.name.lower(), c.change.to_tier.name.lower(), c.change.share, c.change.visits),
                *(list(c.items), c.event_id, c.time_ms),
            )
            for d in part.decisions
            for c in d.changes
        ]
        assert made == [tuple(change) for change in part.truth.changes]
        for change in (c for d in part.decisions for c in d.changes):
            assert change.timestamp_ms == stamps[change.offset]


@pytest.mark.parametrize("case", CASES)
def test_every_message_of_every_flush(case: int) -> None:
    for source, part in enumerate(stage_1(case)):
        truth = iter(part.truth.rows)
        for decision in part.decisions:
            rows = [next(truth) for _ in decision.links]
            named = {row.item: row.name for row in decision.links}
            messages = dict(
                encode_links(
                    decision.links, generation=3, topic_id=TOPIC, source=source, item_partitions=ITEM_PARTITIONS
                )
            )
            assert list(messages) == sorted({target for _, targets in rows for target in targets})
            for target, value in messages.items():
                theirs = [row for row, targets in rows if target in targets]
                own = {row.item for row in theirs if row.item % ITEM_PARTITIONS == target}
                assert oracle.decode_links(value) == ((3, TOPIC, target), source, theirs, {x: named[x] for x in own})
        assert next(truth, None) is None


@pytest.mark.parametrize("case", CASES)
def test_every_field_and_row_of_every_item(case: int) -> None:
    for part in stage_2(case):
        truth = part.truth
        assert part.store.keys() == truth.items.keys()
        for item, data in part.store.items():
            expected = packed(truth.items[item], truth.names.get(item, ""))
            assert item_of(data) == item_of(expected)
            assert data == expected
        assert part.after.accepted == len(truth.rows)
        assert part.after.rejected == len(truth.rejects)
        assert part.after.newest_ms == truth.newest_ms
        assert part.after.applied == tuple(truth.applied.get(source, -1) for source in range(PARTITIONS))


@pytest.mark.parametrize("case", CASES)
def test_similarity_is_the_formula_on_the_page(case: int) -> None:
    items = {item: data for part in stage_2(case) for item, data in part.store.items()}
    heads = {item: decode_head(data) for item, data in items.items()}
    seen = 0
    for item, data in items.items():
        a = decode_item(data)
        rows = a.rows[[int(x) in heads for x in a.rows["neighbour"]]]
        others = [heads[int(x)] for x in rows["neighbour"]]
        degrees, epochs = np.array([b.degree for b in others]), np.array([b.epoch for b in others], np.int64)
        found = similarities(a, rows, degrees, epochs).tolist()
        for row, b, similarity in zip(rows, others, found, strict=True):
            epoch = max(a.head.epoch, b.epoch)
            mine, theirs = 2.0 ** (32 * (a.head.epoch - epoch)), 2.0 ** (32 * (b.epoch - epoch))
            c, d_a, d_b = (float(row["f"]) + float(row["b"])) * mine, a.head.degree * mine, b.degree * theirs
            if min(c, d_a, d_b) > 0:
                seen += int(row["neighbour"]) != item
                assert 0 < similarity <= 1
                assert similarity == pytest.approx(min(c, d_a, d_b) / (d_a * d_b) ** 0.5, rel=1e-12)
            else:
                assert similarity == 0
    assert seen > 1000


@pytest.mark.parametrize("before", range(6))
def test_rises_at_the_edge_of_what_may_have_been_before(before: int) -> None:
    policy = msgspec.structs.replace(POLICIES[0], rise_before=(before + 0.01) / 26, active_up=2.0, core_up=2.0)
    rng, log = random.Random(before), []
    for session in range(400):
        kind = f"C{rng.choice((0, 1, 2)) if rng.random() < 0.4 else 3 + session // 12 % 9}"
        event = {"event_id": f"e{session}", "user_id": "u", "type": "view", "item_id": "i", "session_id": f"s{session}"}
        value = msgspec.json.encode(event | {"category": kind, "time": 1_700_000_000_000 + session})
        log.append(Record(session, 1_700_000_000_000, b"u", value))
    alone = msgspec.structs.replace(checkpoint(0), partitions=1)
    made = profiles.fold(alone, profiles.decode(log, MAX_BYTES), {}, policy).changes
    truth = oracle.fold_behaviour([(r.offset, r.timestamp, r.key, r.value) for r in log], (0, 1), 1, policy, TOPIC)
    assert [(c.id, c.change.kind, c.offset) for c in made] == [(c.id, c.kind, c.time_ms % 1000) for c in truth.changes]
    assert sum(c.change.kind == "rise" for c in made) > 5


def test_everything_the_page_speaks_of_occurred() -> None:
    parts = [part for case in CASES for part in stage_1(case)]
    verdicts = Counter(verdict for part in parts for _, verdict in part.truth.verdicts)
    reasons = {"empty", "not-json", "not-an-object", "missing-field", "not-utf8", "key-mismatch", "wrong-partition"}
    assert verdicts.keys() >= reasons | {"future-time", "duplicate", "id-conflict", "accepted"}
    users = [user for part in parts for user in part.truth.users.values()]
    interests = [k for user in users for k in user.categories.values()]
    assert {user.consent for user in users} == {"unknown", "granted", "withdrawn"}
    assert {len(user.categories) for user in users} >= {0, 32}
    assert {k.tier for k in interests} >= {"none", "active", "core", "fading", "dormant"}
    assert any(k.declared for k in interests)
    assert any(k.risen for k in interests)
    assert any(0 < user.since < user.sessions for user in users)
    assert max(len(user.items) for user in users) > 5
    assert max(len(user.bought) for user in users) > 10
    for part in parts:  # an expiry forgets ids
        events = [oracle.decode_behaviour(record.value, max_bytes=MAX_BYTES) for record in part.log]
        accepted = [e.user_id for e, (_, v) in zip(events, part.truth.verdicts, strict=True) if v == "accepted"]
        part.counted = Counter(accepted)
    sizes = [(len(user.ids), part.counted[u]) for part in parts for u, user in part.truth.users.items()]
    assert any(size == 32 < count for size, count in sizes)
    assert any(size < min(32, count) for size, count in sizes)
    rows = [row for part in parts for row, _ in part.truth.rows]
    assert any(row.repeat for row in rows)
    assert any(row.session == 0 for row in rows)
    assert any(row.item in row.neighbours for row in rows)
    assert {len(row.neighbours) for row in rows} == set(range(6))
    changes = [change for part in parts for change in part.truth.changes]
    assert {change.kind for change in changes} == {"rise", "tier", "fade"}
    tiers = ("none", "emerging", "active", "core", "fading", "dormant")
    steps = {(change.old, change.new) for change in changes}
    assert steps >= {("core", "active"), ("active", "core"), ("active", "fading"), ("emerging", "fading")}
    assert steps >= {("fading", "dormant"), ("fading", "active"), ("none", "emerging"), ("none", "active")}
    assert {old for old, _ in steps} == {new for _, new in steps} | {"none"} == set(tiers)
    assert len({row.ms // (32 * DAY_MS) for row in rows}) > 8  # epochs of affinities under the third policy


def test_everything_the_page_says_of_items_occurred() -> None:
    parts = [part for case in CASES for part in stage_2(case)]
    items = [(part, x, item) for part in parts for x, item in part.truth.items.items()]
    assert max(len(item.rows) for _, _, item in items) == 128
    partners: dict[tuple[int, int], set[int]] = {}
    for whole, row in ((part, row) for part in parts for _, row in part.truth.rows):
        for x in row.neighbours:
            partners.setdefault((id(whole), x), set()).add(row.item)
            partners.setdefault((id(whole), row.item), set()).add(x)
    full = [(len(partners[id(part), x]), x) for part, x, item in items if len(item.rows) == 128]
    assert sum(met > 150 for met, _ in full) > 5  # rows gave way to others
    made = [(part, y) for part in parts for _, row in part.truth.rows for y in (row.item,) if y in part.truth.items]
    own = Counter((id(part), y) for part, y in made)
    assert any(item.events < own[id(part), x] for part, x, item in items)  # began anew
    assert any(item.events == 0 for _, _, item in items)
    assert any(item.repeats for _, _, item in items)
    assert any(x in item.rows for _, x, item in items)
    assert len({item.epoch for _, _, item in items}) > 6
    assert sum(part.dropped for part in parts) > 100
    values = [record.value for case in CASES for log in link_logs(case) for record in log if record.value != b"bad"]
    columns = [msgspec.msgpack.decode(value) for value in values]
    assert any(part.after.rejected for part in parts)
    assert {len(fields[8]) // len(fields[11]) for fields in columns} == {4, 8}


@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_numbers_of_kafkas_own_test(data: bytes, signed: int) -> None:
    assert murmur2(data) == oracle.murmur2(data) == signed % 2**32

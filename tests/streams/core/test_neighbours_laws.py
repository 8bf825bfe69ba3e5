"""Laws of stage 2: batches, message boundaries, repeats do not matter; bytes survive; compiled or not is the same."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from streams.core import kernel, neighbours, profiles
from streams.core.checkpoint import Checkpoint
from streams.core.item_arena import ItemArena
from streams.core.item_state import ROWS_MAX, decode_item
from streams.core.links import LinkRow, encode_links
from tests.streams.core.hostile_log import (
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

CASES = range(len(POLICIES))
Flush = tuple[int, list[LinkRow]]  # source partition, rows


def flushes(case: int, events: int) -> list[Flush]:
    """What the sources send, in one interleaving."""
    rng, waiting = random.Random(case), []
    for partition, log in enumerate(hostile_logs(case, events)):
        rows = profiles.fold(checkpoint(partition), profiles.decode(log, MAX_BYTES), {}, POLICIES[case]).links
        waiting.append([rows[i : i + 60] for i in range(0, len(rows), 60)])
    made = []
    while any(waiting):
        source = rng.choice([source for source in range(PARTITIONS) if waiting[source]])
        made.append((source, waiting[source].pop(0)))
    return made


def messages(sent: list[Flush], target: int) -> list[Record]:
    """The log of one item partition."""
    log: list[Record] = []
    for source, rows in sent:
        made = encode_links(rows, generation=GENERATION, topic_id=TOPIC, source=source, item_partitions=ITEM_PARTITIONS)
        log += [Record(len(log), 0, None, value) for to, value in made if to == target]
    return log


def batches(log: list[Record], sizes: Iterator[int]) -> Iterator[list[Record]]:
    start = 0
    while start < len(log):
        size = next(sizes)
        yield log[start : start + size]
        start += size


def folded(
    case: int, log: list[Record], sizes: Iterator[int], keep: int | None = None
) -> tuple[Checkpoint, dict[int, bytes]]:
    """Checkpoint and packed items of item partition 0; `keep` items stay in memory between batches, None: all."""
    arena, store, after = ItemArena(POLICIES[case], slots=2), {}, links_checkpoint(0)
    for batch in batches(log, sizes):
        decoded = neighbours.decode(batch)
        for _, message in decoded:
            if neighbours.counts_here(message, after):
                for item in arena.missing(neighbours.owned_items(message, after).values()):
                    arena.put(item, store.get(item))
        decision = neighbours.fold(after, decoded, arena)
        after = decision.checkpoint
        store |= dict(zip(decision.dirty, arena.pack(decision.dirty), strict=True))
        if keep is not None:
            arena.shrink(keep)
            assert len(arena) <= keep
    return after, store


def always(size: int) -> Iterator[int]:
    while True:
        yield size


@pytest.mark.parametrize("case", CASES)
def test_any_split_into_batches_and_any_memory_give_the_same_bytes(case: int) -> None:
    log, rng = messages(flushes(case, 3000), 0), random.Random(case)
    whole = folded(case, log, always(len(log)))
    assert folded(case, log, always(1)) == whole
    assert folded(case, log, always(1), keep=0) == whole
    assert folded(case, log, always(3), keep=25) == whole
    assert folded(case, log, iter(lambda: rng.randrange(1, 9), 0), keep=100) == whole


@pytest.mark.parametrize("case", CASES)
def test_other_message_boundaries_and_a_zombies_repeats_give_the_same_bytes(case: int) -> None:
    rng, once = random.Random(case), flushes(case, 3000)
    before: dict[int, list[LinkRow]] = {source: [] for source in range(PARTITIONS)}
    again: list[Flush] = []
    for source, rows in once:
        cuts = sorted(rng.sample(range(1, len(rows)), min(3, len(rows) - 1)))
        for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            overlap = before[source][-rng.choice((0, 1, 30)) :] if rng.random() < 0.5 else []
            again.append((source, overlap + rows[start:end]))
            before[source] += rows[start:end]
            if rng.random() < 0.3:
                zombie = rng.choice([s for s in before if before[s]])
                at = rng.randrange(len(before[zombie]))
                again.append((zombie, before[zombie][at : at + rng.randrange(1, 100)]))
    whole_log, log = messages(once, 0), messages(again, 0)
    after, store = folded(case, whole_log, always(len(whole_log)))
    after_again, store_again = folded(case, log, always(5), keep=50)
    assert store_again == store
    assert (after_again.accepted, after_again.newest_ms) == (after.accepted, after.newest_ms)
    assert after_again.applied == after.applied


def test_an_item_survives_the_round_trip_whatever_the_size_of_its_table() -> None:
    policy, y = POLICIES[0], 7
    arena = ItemArena(policy, slots=1)
    seen = set()
    stored: dict[int, bytes] = {}
    rows = [LinkRow(n, 1_700_000_000_000 + n, 1, 1.0, False, 1000 + n, (y,), f"é{n}") for n in range(ROWS_MAX + 5)]
    after = msgspec.structs.replace(links_checkpoint(0), item_partitions=1)
    for row in rows:
        ((_, value),) = encode_links([row], generation=GENERATION, topic_id=TOPIC, source=0, item_partitions=1)
        decoded = neighbours.decode([Record(row.offset, 0, None, value)])
        for item in arena.missing([y, row.item]):
            arena.put(item, stored.get(item))
        after = neighbours.fold(after, decoded, arena).checkpoint
        stored |= dict(zip(arena.slot_of, arena.pack(list(arena.slot_of)), strict=True))
        fresh = ItemArena(policy, slots=1)
        for item, data in stored.items():
            fresh.put(item, data)
        assert dict(zip(stored, fresh.pack(list(stored)), strict=True)) == stored
        seen.add(len(decode_item(stored[y]).rows))
        arena.shrink(row.offset % 3)
    assert seen == set(range(1, ROWS_MAX + 1))
    assert decode_item(stored[1000]).name == "é0"
    assert decode_item(stored[y]).name == ""


def test_shrinking_forgets_those_touched_longest_ago_and_reuses_their_room() -> None:
    arena = ItemArena(POLICIES[0], slots=1)
    for item in range(100):
        arena.put(item, None)
    packed = arena.pack(range(100))
    arena.shrink(30)
    assert len(arena) == 30
    gone = arena.missing(range(100))
    assert len(gone) == 70
    for item in gone:
        arena.put(item, packed[item])
    assert arena.pack(range(100)) == packed
    assert len(arena._names) == 100


@pytest.mark.parametrize("case", CASES)
def test_the_compiled_kernel_gives_what_plain_python_gives(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = messages(flushes(case, 1200), 0)
    compiled = folded(case, log, always(4), keep=40)
    for name in ("allocate", "release", "touch", "row_of", "_least", "add_recency", "add_event", "apply_rows", "pack"):
        monkeypatch.setattr(kernel, name, getattr(kernel, name).py_func)
    monkeypatch.setattr(np, "exp2", math.exp2)  # C's, as docs/fold.md says; numpy's own may be a vector routine
    assert folded(case, log, always(4), keep=40) == compiled

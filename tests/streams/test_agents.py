"""A lane keeps its promise without any server: whatever fails, each record changes state exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents import Lane, StateLostError
from streams.core.checkpoint import Checkpoint, decode_checkpoint
from streams.core.hashing import user_partition
from streams.core.links import decode_links
from streams.core.policy import LearningPolicy
from streams.emit import EmitError, Message
from streams.stages import Names, ProfilesStage
from streams.store.keys import Keyspace, Shard
from streams.store.memory import MemoryStore
from streams.store.protocol import StoreUnavailableError
from streams.transport import RecordBatch

NAMES = Names("events", "links", "changes", "catalogue", "letters")
SHARD = Keyspace("t", 1, 1, 2, 1).users(0)
START = Checkpoint(
    generation=1,
    topic_id="topic",
    source_id="",
    partition=0,
    partitions=1,
    item_partitions=2,
    settings_hash=b"",
    watermark=0,
)


class CrashError(BaseException):
    """The process dies here."""


def records(count: int) -> list[Any]:
    made = []
    for offset in range(count):
        user = f"u{offset % 3}"
        event = {
            "event_id": f"e{offset}",
            "user_id": user,
            "item_id": f"i{offset % 5}",
            "type": "view",
            "time": 1_700_000_000_000 + offset * 1000,
            "category": f"C{offset % 2}",
        }
        made.append(
            SimpleNamespace(
                offset=offset, timestamp=1_700_000_000_000, key=user.encode(), value=msgspec.json.encode(event)
            )
        )
    return made


class Log:
    """Where messages go; remembers link rows by target as stage 2 would keep them."""

    def __init__(self) -> None:
        self.marks: dict[int, int] = {}
        self.rows: list[tuple[int, int]] = []

    def emit(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.topic == "links":
                for offset in decode_links(message.value).offsets.tolist():
                    if offset > self.marks.get(message.partition, -1):
                        self.marks[message.partition] = offset
                        self.rows.append((message.partition, offset))


class Flaky(MemoryStore):
    """A store that fails when it is told to: before a commit, after it, or at a load."""

    def __init__(self) -> None:
        super().__init__()
        self.plan: list[str] = []

    def _next(self) -> str:
        return self.plan.pop(0) if self.plan else "ok"

    def commit(self, shard: Shard, expected: bytes, checkpoint: bytes, writes: Mapping[str, bytes]) -> bool:
        fault = self._next()
        if fault == "crash-before":
            raise CrashError
        if fault == "unreachable":
            raise StoreUnavailableError("gone")
        done = super().commit(shard, expected, checkpoint, writes)
        if fault == "crash-after":
            raise CrashError
        if fault == "reply-lost":
            raise StoreUnavailableError("reply lost")
        return done


def lane(store: MemoryStore, emit: Callable[[Sequence[Message]], None]) -> Lane:
    stage = ProfilesStage(SHARD, LearningPolicy(), NAMES, max_event_bytes=10_000, cached_users=100)
    return Lane(stage, store, emit, lambda *_: None, 60)


def fresh_store() -> Flaky:
    store = Flaky()
    store.create(SHARD.checkpoint, START.encode())
    return store


async def acknowledged() -> None:
    return None


def batch(made: list[Any], first: int, last: int, previous: int) -> RecordBatch:
    return RecordBatch("events", 0, tuple(made[first:last]), previous)


async def run(store: Flaky, emit: Callable[[Sequence[Message]], None], made: list[Any], sizes: list[int]) -> None:
    """Feed everything, starting over from the store's watermark after every crash, as a supervisor would."""
    sizes = [*sizes, len(made)]
    turn = 0
    while True:
        worker = lane(store, emit)
        at = decode_checkpoint(store.values[SHARD.checkpoint]).watermark
        try:
            previous = at
            while at < len(made):
                size = sizes[turn % len(sizes)]
                turn += 1
                await worker.process(batch(made, at, at + size, previous), acknowledged)
                at = previous = min(at + size, len(made))
        except (CrashError, EmitError):
            continue
        return


FAULTS = st.lists(st.sampled_from(["ok", "crash-before", "crash-after", "unreachable", "reply-lost"]), max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    plan=FAULTS,
    sizes=st.lists(st.integers(1, 17), min_size=1, max_size=5),
    refused=st.sets(st.integers(0, 6), max_size=3),
)
def test_crashes_lost_replies_and_unacknowledged_messages_change_nothing(
    plan: list[str], sizes: list[int], refused: set[int]
) -> None:
    made = records(60)
    quiet, quiet_log = fresh_store(), Log()
    asyncio.run(run(quiet, quiet_log.emit, made, [1000]))

    store, log, calls = fresh_store(), Log(), [0]
    store.plan = list(plan)

    def emit(messages: Sequence[Message]) -> None:
        calls[0] += 1
        if calls[0] - 1 in refused:
            log.emit(messages[:1])  # one target was acknowledged
            raise EmitError("not acknowledged")
        log.emit(messages)

    asyncio.run(run(store, emit, made, sizes))
    assert store.values == quiet.values
    assert sorted(log.rows) == sorted(quiet_log.rows)


async def test_a_watermark_that_moved_ahead_is_reloaded_and_only_the_rest_applied() -> None:
    made, store = records(30), fresh_store()
    first, second = lane(store, Log().emit), lane(store, Log().emit)
    await first.process(batch(made, 0, 10, 0), acknowledged)
    await second.process(batch(made, 0, 20, 0), acknowledged)  # took over and went on
    await first.process(batch(made, 10, 30, 10), acknowledged)  # woke up
    alone = fresh_store()
    await lane(alone, Log().emit).process(batch(made, 0, 30, 0), acknowledged)
    assert store.values == alone.values


async def test_a_watermark_that_fell_behind_stops_the_lane() -> None:
    made, store = records(30), fresh_store()
    worker = lane(store, Log().emit)
    await worker.process(batch(made, 0, 10, 0), acknowledged)
    snapshot = dict(store.values)
    await worker.process(batch(made, 10, 20, 10), acknowledged)
    store.values = snapshot  # put back
    with pytest.raises(StateLostError, match="lost its tail"):
        await worker.process(batch(made, 20, 30, 20), acknowledged)


async def test_an_idle_lane_notices_that_the_store_fell_behind() -> None:
    made, store = records(20), fresh_store()
    worker = lane(store, Log().emit)
    snapshot = dict(store.values)
    await worker.process(batch(made, 0, 20, 0), acknowledged)
    await worker.check()
    store.values = snapshot
    with pytest.raises(StateLostError):
        await worker.check()


async def test_a_lost_checkpoint_is_never_created_by_a_lane() -> None:
    store = Flaky()
    with pytest.raises(StateLostError, match="driftline init"):
        await lane(store, Log().emit).process(batch(records(3), 0, 3, 0), acknowledged)
    assert store.values == {}


async def test_a_batch_is_acknowledged_only_after_its_commit() -> None:
    made, store = records(10), fresh_store()
    seen = []

    async def acknowledge() -> None:
        seen.append(decode_checkpoint(store.values[SHARD.checkpoint]).watermark)

    await lane(store, Log().emit).process(batch(made, 0, 10, 0), acknowledge)
    assert seen == [10]


async def test_a_cancelled_flush_leaves_no_half_truth_in_memory() -> None:
    made, store = records(20), fresh_store()
    worker = lane(store, Log().emit)
    await worker.process(batch(made, 0, 5, 0), acknowledged)
    store.plan = ["unreachable"] * 1000
    flushing = asyncio.create_task(worker.process(batch(made, 5, 20, 5), acknowledged))
    await asyncio.sleep(0.02)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    store.plan = []
    await worker.process(batch(made, 5, 20, 5), acknowledged)
    alone = fresh_store()
    await lane(alone, Log().emit).process(batch(made, 0, 20, 0), acknowledged)
    assert store.values == alone.values


def test_the_records_of_these_tests_belong_to_their_partition() -> None:
    assert {user_partition(record.key, 1) for record in records(9)} == {0}

"""One partition, one flush at a time: load, decide, emit, commit, acknowledge (docs/architecture.md, "Exactly once").

A Lane owns one partition of one stage. What is computed is the stage's business (stages.py); when it may be believed is
decided here: states in memory are valid for exactly the checkpoint they were loaded or committed with, and any mismatch
drops them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
import structlog

from streams import metrics
from streams.core.checkpoint import Checkpoint, decode_checkpoint
from streams.core.records import Rejected, SourceRecord
from streams.emit import Message
from streams.failpoints import AFTER_COMMIT, BEFORE_ACK, BEFORE_COMMIT, DECIDE, LOAD, failpoint
from streams.store.keys import Shard
from streams.store.protocol import Store, StoreUnavailableError
from streams.transport import RecordBatch

log = structlog.get_logger()

EXPIRE_EVERY_S = 60.0


class StateLostError(Exception):
    """The store is behind what this process committed, or a checkpoint is gone: only a restart from the store helps."""


class Decision(msgspec.Struct):
    """What a stage decided about some records.

    writes     key -> packed state
    messages   to be acknowledged before the commit
    views      keys of the stage's views whose state changes with this commit
    """

    checkpoint: Checkpoint
    writes: dict[str, bytes]
    messages: list[Message]
    rejects: list[Rejected]
    views: Sequence[Any]
    outcomes: dict[str, int]


class Stage(Protocol):
    """The pure part of one partition with its states in memory. Work is whatever `decode` makes of records."""

    name: str
    shard: Shard

    def decode(self, records: Sequence[SourceRecord]) -> Any:
        """Records as values or rejects; done once for a run of records."""
        ...

    def missing(self, work: Any, checkpoint: Checkpoint) -> Sequence[Any]:
        """Ids whose states the work needs and memory has not."""
        ...

    def key(self, state_id: Any) -> str:
        """The key of a state."""
        ...

    def put(self, state_id: Any, data: bytes | None) -> None:
        """Take a loaded state into memory."""
        ...

    def decide(self, work: Any, checkpoint: Checkpoint) -> Decision:
        """Fold the work into the states in memory."""
        ...

    def committed(self, decision: Decision) -> None:
        """The decision is in the store: count it, and bound the memory."""
        ...

    def forget(self) -> None:
        """Drop every state in memory."""
        ...


Emit = Callable[[Sequence[Message]], None]
NoteViews = Callable[[str, Shard, Sequence[Any]], None]


class Lane:
    """A partition's worker. Feed it with `process`, one batch after another; call `check` while it is idle."""

    def __init__(self, stage: Stage, store: Store, emit: Emit, note_views: NoteViews, state_ttl_s: int) -> None:
        self.stage = stage
        self.store = store
        self._emit = emit
        self._note_views = note_views
        self._state_ttl_s = state_ttl_s
        self._known: bytes | None = None  # the checkpoint that the states in memory belong to
        self._unexpired: set[str] = set()
        self._expired_at = time.monotonic()
        self._busy = asyncio.Lock()
        self.watermark = -1
        self.progress_at = time.monotonic()

    async def process(self, batch: RecordBatch, acknowledge: Callable[[], Awaitable[None]]) -> None:
        """Apply a batch exactly once, then acknowledge it.

        Raises StateLostError if the store is behind, EmitError if a message was not acknowledged.
        """
        async with self._busy:
            try:
                await self._apply(batch)
            except BaseException:  # also when cancelled half-way: what is in memory may not be what is committed
                self._drop("interrupted")
                raise
        failpoint(BEFORE_ACK)
        await acknowledge()
        self.progress_at = time.monotonic()

    async def check(self) -> None:
        """Compare the store with what was committed last. Raises StateLostError if it is behind."""
        try:
            await self._let_expire()
            if self._busy.locked():
                return
            async with self._busy:
                found, _ = await asyncio.to_thread(self.store.load, self.stage.shard, [])
                if self._known is not None and found != self._known:
                    self._judge(found, decode_checkpoint(self._known).watermark)
                    self._drop("idle")
        except StoreUnavailableError:
            metrics.STORE_ERRORS.labels(self.stage.name).inc()

    async def _apply(self, batch: RecordBatch) -> None:
        records: Sequence[SourceRecord] = batch.records
        work = self.stage.decode(records)
        expected, pause_s = batch.previous, 0.05
        while records:
            try:
                checkpoint = await self._load(work)
                self._judge(self._known, expected)
                if checkpoint.watermark > records[0].offset:
                    records = [record for record in records if record.offset >= checkpoint.watermark]
                    work = self.stage.decode(records) if records else None
                    expected = checkpoint.watermark
                    continue
                if await self._commit(work, checkpoint):
                    self._measure(records)
                    return
                self._drop("commit")
            except StoreUnavailableError as error:
                self._drop("unavailable")
                metrics.STORE_ERRORS.labels(self.stage.name).inc()
                log.warning("store unavailable, retrying", stage=self.stage.name, error=str(error), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 2.0)

    async def _load(self, work: Any) -> Checkpoint:
        """The checkpoint, with every state the work needs in memory and valid for it."""
        stage = self.stage
        failpoint(LOAD)
        while True:
            checkpoint = None if self._known is None else decode_checkpoint(self._known)
            wanted = [] if checkpoint is None else list(stage.missing(work, checkpoint))
            if checkpoint is not None and not wanted:
                return checkpoint
            with _timed(stage.name, "load"):
                found, values = await asyncio.to_thread(self.store.load, stage.shard, [stage.key(i) for i in wanted])
            if found is None:
                raise StateLostError(f"{stage.shard.checkpoint}: the checkpoint is gone; see `driftline init --help`")
            if found == self._known:
                for state_id, data in zip(wanted, values, strict=True):
                    stage.put(state_id, data)
                return decode_checkpoint(found)
            if self._known is not None:
                self._drop("load")
            self._known = found

    async def _commit(self, work: Any, checkpoint: Checkpoint) -> bool:
        stage, known = self.stage, self._known
        assert known is not None
        with _timed(stage.name, "decide"):
            decision = stage.decide(work, checkpoint)
        failpoint(DECIDE)
        with _timed(stage.name, "emit"):
            if decision.messages:
                await asyncio.to_thread(self._emit, decision.messages)
        failpoint(BEFORE_COMMIT)
        after = decision.checkpoint.encode()
        with _timed(stage.name, "commit"):
            done = await asyncio.to_thread(self.store.commit, stage.shard, known, after, decision.writes)
        if not done:
            return False
        failpoint(AFTER_COMMIT)
        self._known, self.watermark = after, decision.checkpoint.watermark
        self._unexpired.update(decision.writes)
        stage.committed(decision)
        self._note_views(stage.name, stage.shard, decision.views)
        return True

    def _judge(self, found: bytes | None, expected: int) -> None:
        """Behind what we know to be committed is fatal; ahead (a zombie woke up, a reply was lost) is not."""
        watermark = -1 if found is None else decode_checkpoint(found).watermark
        if watermark < expected:
            metrics.MISMATCHES.labels(self.stage.name, "behind").inc()
            raise StateLostError(
                f"{self.stage.shard.checkpoint}: watermark {watermark}, but {expected} was committed: "
                "the store lost its tail. "
                "Restarting from the store repairs it as long as Kafka still holds the events"
            )
        if watermark > expected:
            metrics.MISMATCHES.labels(self.stage.name, "ahead").inc()

    def _drop(self, why: str) -> None:
        """States in memory belong to one checkpoint only."""
        metrics.MISMATCHES.labels(self.stage.name, f"dropped-{why}").inc()
        self._known = None
        self.stage.forget()

    async def _let_expire(self) -> None:
        """MSET takes a key's time to live away; giving it back once for many commits is garbage collection enough."""
        if time.monotonic() - self._expired_at < EXPIRE_EVERY_S:
            return
        self._expired_at = time.monotonic()
        keys, self._unexpired = self._unexpired, set()
        try:
            if keys:
                await asyncio.to_thread(self.store.expire, list(keys), self._state_ttl_s)
        except StoreUnavailableError:
            self._unexpired |= keys
            raise

    def _measure(self, records: Sequence[SourceRecord]) -> None:
        name = self.stage.name
        metrics.FLUSH_RECORDS.labels(name).observe(len(records))
        metrics.EVENT_TO_STATE.labels(name).observe(max(0.0, time.time() - records[0].timestamp / 1000))


@contextmanager
def _timed(stage: str, step: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        metrics.FLUSH_SECONDS.labels(stage, step).observe(time.perf_counter() - started)

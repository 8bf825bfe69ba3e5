"""One owned partition: fold the journal, then decide; and again from the start whenever memory may be wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import Enum

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from schemas.times import EARLIEST_MS
from streams import metrics
from streams.core.push.decide import Decider, Place
from streams.failpoints import PUSH_AFTER_TRANSACTION, PUSH_BEFORE_TRANSACTION, failpoint
from streams.incarnation import keyspace
from streams.settings import Settings
from streams.store.protocol import Store
from workers.push import measure
from workers.push.errors import AbortedError
from workers.push.inputs import Inputs, read_inputs
from workers.push.lookup import Lookup, policy_of
from workers.push.outputs import outgoing
from workers.push.recovery import Recovery
from workers.push.states import PartitionStates
from workers.push.topology import Topology
from workers.push.transaction import Transactions

_COMMITTED_S = 60.0
_TIMERS_MAX = 200  # deferred decisions in one transaction
_LOG = structlog.get_logger("driftline.push")


class Phase(Enum):
    """Whether the partition may decide."""

    FOLDING = "folding"
    READY = "ready"


class Partition:
    """Everything of one partition. Whatever fails in it raises, and `restart` is the answer to every failure."""

    def __init__(self, settings: Settings, topology: Topology, store: Store, number: int, metadata: bytes) -> None:
        self.number = number
        self.phase = Phase.FOLDING
        self.next: dict[str, int] = {}
        self.start: list[TopicPartition] = []
        self.must_seek = False
        self.informed = False
        """Whether user-settings.v1 was read to its end: before that nobody may be notified."""
        self._settings = settings
        self._topology = topology
        self._metadata = metadata
        self._policy = policy_of(settings)
        self._lookup = Lookup(store, settings)
        shard = keyspace(settings, settings.generation).push(number)
        self._states = PartitionStates(store, shard, settings.state_ttl_s, settings.cached_users)
        self._transactions: Transactions | None = None
        self._recovery: Recovery | None = None
        self._checked_s = 0.0

    def acquire(self, consumer: Consumer) -> None:
        """Fence the earlier owner; then find where to `start`: stable committed offsets, or the beginning.

        `committed` of a read_committed consumer asks for stable offsets: it waits for open transactions.

        Raises FencedError, or AbortedError if the brokers do not answer.
        """
        self.informed = False
        self._transactions = Transactions(self._settings, self.number)
        self._transactions.begin_ownership()
        places = [TopicPartition(topic, self.number) for topic in self._topology.inputs]
        try:
            committed = consumer.committed(places, timeout=_COMMITTED_S)
        except KafkaException as error:
            raise AbortedError(f"committed offsets of partition {self.number}: {error.args[0]}") from error
        self.next = {place.topic: place.offset for place in committed if place.offset >= 0}
        self.start = [TopicPartition(p.topic, p.partition, self.next.get(p.topic, OFFSET_BEGINNING)) for p in places]

    @property
    def folded(self) -> int:
        """Entries folded since the last restart."""
        return 0 if self._recovery is None else self._recovery.folded

    def fold(self, consumer: Consumer) -> bool:
        """One step towards the end of the journal; True when there. Raises PushError, AbortedError, OutOfStepError."""
        if self._transactions is None:
            self.acquire(consumer)
        if self._recovery is None:
            self._recovery = Recovery(self._settings, self._topology, self._states, self.number)
        if not self._recovery.step():
            return False
        _LOG.info("folded", partition=self.number, records=self._recovery.folded, offset=self._states.position.offset)
        self._recovery.close()
        self.phase = Phase.READY
        self._checked_s = time.monotonic()
        return True

    def handle(self, messages: Sequence[Message], wall_ms: int) -> int:
        """Decide on input and on what is due, in one transaction; how many decisions that were.

        Raises FencedError, AbortedError, OutOfStepError or StoreUnavailableError: then `restart`.
        """
        assert self._recovery is not None
        assert self._transactions is not None
        inputs = read_inputs(messages, self._topology)
        decider = self._decide(inputs, wall_ms)
        if not messages and not decider.decisions:
            self._compare()
            return 0
        failpoint(PUSH_BEFORE_TRANSACTION)
        offsets = {**self.next, **{str(m.topic()): (m.offset() or 0) + 1 for m in messages}}
        records = outgoing(decider.decisions, inputs.refused, self._topology, self.number, self._settings.push_expiry_s)
        with metrics.PUSH_TRANSACTION.time():
            acks = self._transactions.run(
                records,
                [TopicPartition(topic, self.number, offset) for topic, offset in offsets.items()],
                self._metadata,
                self._topology.journal,
            )
        failpoint(PUSH_AFTER_TRANSACTION)
        self.next = offsets
        measure.count(self.number, inputs, decider.decisions)
        self._settle(decider, acks)
        return len(decider.decisions)

    def _decide(self, inputs: Inputs, wall_ms: int) -> Decider:
        """With push_clock="event" time is the largest event time of the partition's changes so far."""
        assert self._recovery is not None
        by_event = self._settings.push_clock == "event"
        reached_ms = max(self._states.position.now_ms, EARLIEST_MS)
        times = [given.change.time for given in inputs.changes]
        until_ms = max([reached_ms, *times]) if by_event else wall_ms
        due = self._recovery.timers.due(until_ms, _TIMERS_MAX) if self.informed else []
        decider = Decider(
            Place(self._topology.changes, self.number),
            self._states.of([*inputs.users(), *(user for _, user in due)]),
            self._policy,
            self._lookup.choose,
            due,
            now_ms=reached_ms if by_event else wall_ms,
            wall_ms=wall_ms,
            serving=self._lookup.serving() if inputs.changes or due else -1,
        )
        decider.take_in([*inputs.settings, *inputs.feedback])
        decider.advance(reached_ms if by_event else wall_ms)
        for given in inputs.changes:
            decider.advance(given.change.time if by_event else wall_ms)
            decider.change(given)
        return decider

    def _settle(self, decider: Decider, acks: Sequence[int]) -> None:
        """What was decided is committed: follow it in memory and in Redis."""
        assert self._recovery is not None
        timers = self._recovery.timers
        entries = [decision.entry for decision in decider.decisions]
        for offset, entry in zip(acks, entries, strict=True):
            timers.take_in(offset, entry)
        if entries:
            changed = {entry.user_id: decider.states[entry.user_id] for entry in entries}
            self._states.commit(self._states.position.after(acks[-1], entries, timers), changed)
        self._checked_s = time.monotonic()

    def _compare(self) -> None:
        """While idle: has somebody put Redis back?"""
        if time.monotonic() - self._checked_s >= self._settings.idle_check_s:
            self._states.check()
            self._checked_s = time.monotonic()

    def forget(self) -> None:
        """Memory may be wrong: begin anew with the next `fold`."""
        self.close()
        self.phase = Phase.FOLDING
        self.must_seek = True

    def close(self) -> None:
        """Let go of everything; nothing is in flight between two calls."""
        if self._recovery is not None:
            self._recovery.close()
            self._recovery = None
        if self._transactions is not None:
            self._transactions.close()
            self._transactions = None

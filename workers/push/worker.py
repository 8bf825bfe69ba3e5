"""The push worker's loop: a member of the group `<namespace>.push`, and the partitions it owns."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams import kafka_clients, metrics
from streams.settings import Settings
from streams.store.protocol import Store, StoreUnavailableError
from workers.push.errors import AbortedError, OutOfStepError, PushError
from workers.push.membership import metadata_of
from workers.push.partition import Partition, Phase
from workers.push.topology import look_up

BATCH_MAX = 200
POLL_S = 0.05
RETRY_S = 1.0
PROOF_S = 5.0
_REPAIRED = (AbortedError, OutOfStepError, StoreUnavailableError)
_LOG = structlog.get_logger("driftline.push")


class PushWorker:
    """Runs in one thread; `stop`, `stalled` and `unready` may be called from others.

    Starts at the earliest input where the group has no committed offset (the first start): what is too old by then is
    held as `stale`. Assignor `range` gives partition p of all three inputs to one member.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._topology = look_up(settings)
        self._partitions: dict[int, Partition] = {}
        self._retry_at: dict[int, float] = {}
        self._stopping = threading.Event()
        self._moved_s = time.monotonic()
        self._rebalanced = False
        self._failure: Exception | None = None
        static = {"group.instance.id": settings.instance_id} if settings.instance_id else {}
        self._consumer: Consumer = kafka_clients.consumer(
            settings,
            "push",
            {
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "range",
                "session.timeout.ms": settings.session_timeout_ms,
                "heartbeat.interval.ms": settings.session_timeout_ms // 4,
                "fetch.wait.max.ms": settings.fetch_max_wait_ms,
                "enable.partition.eof": True,
                "enable.auto.offset.store": False,
                **static,
            },
        )

    def run(self) -> None:
        """Until `stop`. Raises PushError (FencedError among them) when it must not go on."""
        self._consumer.subscribe(
            list(self._topology.inputs), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        try:
            while not self._stopping.is_set():
                self.turn()
        finally:
            self._release()
            self._consumer.close()

    def stop(self) -> None:
        """Finish the transaction under way, leave the group and return from `run`."""
        self._stopping.set()

    def turn(self) -> None:
        """One turn of the loop: fold what has to be folded, then take in what waits and decide."""
        busy = self._fold()
        by_partition: dict[int, list[Message]] = defaultdict(list)
        for message in self._poll(0.0 if busy else POLL_S):
            self._sort(message, by_partition)
        for number, partition in list(self._partitions.items()):
            if partition.phase is Phase.READY:
                self._handle(partition, by_partition[number])
        if all(self._is_well(partition) for partition in self._partitions.values()):
            self._moved_s = time.monotonic()

    def _sort(self, message: Message, by_partition: dict[int, list[Message]]) -> None:
        """A record to its partition; at the end of a partition's settings, its interest changes may flow."""
        number = message.partition() or 0
        partition = self._partitions.get(number)
        if partition is None:
            return
        if partition.phase is not Phase.READY:
            partition.must_seek = True  # fetched before it was paused: it has to come again
        elif message.error() is None:
            by_partition[number].append(message)
        elif message.topic() == self._topology.settings and not partition.informed:
            partition.informed = True
            self._consumer.resume([place for place in partition.start if place.topic == self._topology.changes])

    def stalled(self) -> str | None:
        """What is wrong if nothing moved for `stall_after_s`: a turn moves if all partitions decide, or one folds."""
        still_s = time.monotonic() - self._moved_s
        return f"nothing moved for {still_s:.0f} s" if still_s > self._settings.stall_after_s else None

    def unready(self) -> str | None:
        """Why no decision can be made now; None if all owned partitions decide."""
        owned = list(self._partitions.values())
        folding = sum(partition.phase is not Phase.READY for partition in owned)
        if not owned:
            return "no partition is assigned"
        return f"{folding} of {len(owned)} partitions fold the journal" if folding else None

    def _poll(self, timeout_s: float) -> list[Message]:
        """At most BATCH_MAX records of partitions that decide. Across a rebalance nothing is taken: all is paused."""
        self._rebalanced = False
        first = self._consumer.consume(1, timeout_s)
        messages = [*first, *self._consumer.consume(BATCH_MAX - 1, 0.0)] if first else []
        if self._failure is not None:
            raise self._failure
        news = [message for message in messages if _is_news(message)]
        return [] if self._rebalanced else news

    def _fold(self) -> bool:
        """A step for each partition that is not ready; True if one of them has work left that need not wait."""
        busy = False
        for partition in list(self._partitions.values()):
            if partition.phase is Phase.READY or time.monotonic() < self._retry_at.get(partition.number, 0.0):
                continue
            try:
                before = partition.folded
                if partition.fold(self._consumer):
                    self._resume(partition)
                if partition.folded > before:
                    self._moved_s = time.monotonic()
                busy = True
            except _REPAIRED as error:
                self._restart(partition, error)
        return busy

    def _is_well(self, partition: Partition) -> bool:
        """Whether it decides. After a failure it has to prove it: by a decision, or by having nothing to decide."""
        since = self._retry_at.get(partition.number, 0.0)
        return partition.phase is Phase.READY and (not since or time.monotonic() > since + PROOF_S)

    def _handle(self, partition: Partition, messages: list[Message]) -> None:
        try:
            if partition.handle(messages, time.time_ns() // 1_000_000):
                self._retry_at.pop(partition.number, None)
        except _REPAIRED as error:
            self._restart(partition, error)

    def _restart(self, partition: Partition, error: Exception) -> None:
        """Memory may be wrong: forget it, go back to what is committed, and fold the journal before deciding again."""
        _LOG.warning("restarting", partition=partition.number, kind=type(error).__name__, error=str(error))
        metrics.MISMATCHES.labels("push", type(error).__name__).inc()
        self._retry_at[partition.number] = time.monotonic() + RETRY_S
        if partition.start:
            self._consumer.pause([TopicPartition(topic, partition.number) for topic in self._topology.inputs])
        partition.forget()

    def _resume(self, partition: Partition) -> None:
        if partition.must_seek:
            for place in partition.start:
                self._consumer.seek(place)
        self._consumer.resume([place for place in partition.start if place.topic != self._topology.changes])

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._rebalanced = True
        try:
            self._acquire(consumer, places)
        except Exception as error:  # noqa: BLE001  # a call-back has no caller to raise to: the loop raises it
            self._failure = error

    def _acquire(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        metadata = metadata_of(consumer)
        if metadata is None:  # the session is over already: the next call-back says so
            return
        self._release()
        starts: list[TopicPartition] = []
        for number in sorted({place.partition for place in places}):
            partition = Partition(self._settings, self._topology, self._store, number, metadata)
            self._partitions[number] = partition
            try:
                partition.acquire(consumer)
            except AbortedError as error:
                self._restart(partition, error)
            starts += partition.start or [TopicPartition(p.topic, p.partition) for p in places if p.partition == number]
        consumer.assign(starts)
        consumer.pause(starts)
        _LOG.info("assigned", partitions=sorted(self._partitions))

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._rebalanced = True
        _LOG.info("revoked", partitions=sorted(self._partitions))
        self._release()

    def _release(self) -> None:
        for partition in self._partitions.values():
            partition.close()
        self._partitions = {}


def _is_news(message: Message) -> bool:
    """Whether it is a record or the end of a partition. Raises PushError for an error that stays."""
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # a public name
        return True
    if error.code() == KafkaError.FENCED_INSTANCE_ID:
        raise PushError("another process uses the same DRIFTLINE_INSTANCE_ID: give each worker its own, then restart")
    if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001  # consumed errors do not say `fatal`
        hint = "if it says `fenced`, give each worker its own DRIFTLINE_INSTANCE_ID"
        raise PushError(f"consumer: {error.str()}; {hint}") from KafkaException(error)
    _LOG.warning("consumer", error=error.str())
    return False

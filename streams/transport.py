"""Record batches for Faust: one Faust event is one RecordBatch of one partition.

Faust makes four asyncio tasks per message; a batch as one message costs that once per some thousand records. This
module (and coordinator.py) alone touches internals of faust-streaming, mode-streaming and aiokafka;
tests/streams/test_faust_contract.py guards each of them.

What differs from Faust's own consumer:
- `getmany` yields RecordBatches, chained by `previous`: where the batch before it ended;
- `perform_seek` seeks to the watermarks of the state store; Kafka's committed offsets are a hint and a lag metric;
- `_new_offset` commits the longest acknowledged prefix in delivery order (upstream issue #606 commits past unfinished
  messages);
- records are read `read_committed`, there is no offset reset, and a batch that cannot be read becomes one
  UnreadableBatch record.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiokafka
import faust
from aiokafka.consumer import fetcher
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.core.records import UnreadableBatch

MAX_FETCH_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one partition.

    records   as aiokafka unpacked them (offset, timestamp, key, value), at least one
    previous  where the batch delivered before this one ended, or where the partition was positioned: the watermark to
              find
    """

    topic: str
    partition: int
    records: tuple[Any, ...]
    previous: int

    def joined(self, later: RecordBatch) -> RecordBatch:
        """This batch and the one delivered right after it as one."""
        return RecordBatch(self.topic, self.partition, self.records + later.records, self.previous)


class BatchSchema(faust.Schema[Any, Any]):
    """The agent decodes bytes itself: a bad record must not crash the stream."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.value


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How records are fetched: see Settings for units and effects."""

    batch_max_records: int
    fetch_min_bytes: int
    fetch_max_wait_ms: int


Watermarks = Callable[[set[TP]], Awaitable[Mapping[TP, int]]]


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Builds the aiokafka consumer our way: read_committed, no offset reset, bounded fetches."""

    app: BatchApp

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf, limits = self.app.conf, self.app.fetch_limits
        self._assignor = RoundRobinPartitionAssignor
        auth = driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context)
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_poll_records=None,
            max_partition_fetch_bytes=MAX_FETCH_BYTES,
            fetch_min_bytes=limits.fetch_min_bytes,
            fetch_max_wait_ms=limits.fetch_max_wait_ms,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            isolation_level="read_committed",
            check_crcs=True,
            **auth,
        )


class Consumer(driver.Consumer):
    """See the module's docstring."""

    app: BatchApp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_flight: dict[TP, deque[int]] = defaultdict(deque)
        self._delivered_to: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109  # Faust's name
        records, _ = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        for partition, fetched in records.items():
            tp = ensure_TP(partition)
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            for chunk in _chunks(fetched, self.app.fetch_limits.batch_max_records):
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                yield partition, self._as_message(tp, partition, chunk)

    def _as_message(self, tp: TP, partition: Any, chunk: tuple[Any, ...]) -> ConsumerMessage:
        last = chunk[-1]
        batch = RecordBatch(tp.topic, tp.partition, chunk, self._delivered_to.get(tp, -1))
        self._in_flight[tp].append(last.offset)
        self._delivered_to[tp] = last.offset + 1
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            [],
            None,
            batch,  # type: ignore[arg-type]  # bytes to Faust, which never looks: BatchSchema hands the batch on
            None,
            None,
            None,
            partition,
            generation_id=self.app.consumer_generation_id,
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Order of delivery replaces Faust's gap intervals, which expand every hole to integers."""

    def _new_offset(self, tp: TP) -> int | None:
        acknowledged, queue, newest = self._acked_index[tp], self._in_flight[tp], None
        while queue and queue[0] in acknowledged:
            newest = queue.popleft()
            acknowledged.discard(newest)
        if newest is None:
            return None
        self._acked[tp] = [offset for offset in self._acked[tp] if offset > newest]
        return newest + 1

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        for tp in revoked:
            self._in_flight.pop(ensure_TP(tp), None)
            self._delivered_to.pop(ensure_TP(tp), None)
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Position every assigned partition at its watermark in the store. Called after each assignment."""
        self._in_flight.clear()
        self._delivered_to.clear()
        self._acked.clear()
        self._acked_index.clear()
        assigned = {ensure_TP(tp) for tp in self.assignment()}
        if not assigned:
            return
        watermarks = await self.app.watermarks(assigned)
        self._delivered_to.update(watermarks)
        await self.seek_wait(watermarks)
        for tp in watermarks:
            self._committed_offset[tp] = None  # the next commit may go backwards


def _chunks(records: list[Any], size: int) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(records), size):
        yield tuple(records[start : start + size])


class Transport(driver.Transport):
    """aiokafka, with our consumer."""

    Consumer = Consumer


class BatchApp(faust.App):
    """A Faust app whose events are RecordBatches."""

    def __init__(self, *args: Any, fetch_limits: FetchLimits, watermarks: Watermarks, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fetch_limits = fetch_limits
        self.watermarks = watermarks

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Faust's data folder is for tables, which we have none of: nothing is written to disk."""


class ReadableRecords:
    """aiokafka's MemoryRecords, except that a batch nobody can read becomes a batch of one UnreadableBatch record."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        try:
            if not batch.validate_crc():
                return _StandIn(batch, [_unreadable(batch, "checksum does not match")])
            return _StandIn(batch, list(batch)) if not batch.is_control_batch else batch
        except Exception as error:  # noqa: BLE001  # codecs raise what they like; whatever it is, the batch cannot be read
            return _StandIn(batch, [_unreadable(batch, f"{type(error).__name__}: {error}")])


class _StandIn:
    """A batch with its records already unpacked."""

    is_control_batch = False

    def __init__(self, batch: Any, records: list[Any]) -> None:
        self.base_offset = batch.base_offset
        self.next_offset = batch.next_offset
        self.producer_id = batch.producer_id
        self.is_transactional = batch.is_transactional
        self._records = records

    def validate_crc(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(self._records)


@dataclass(frozen=True, slots=True)
class _UnreadableRecord:
    """Looks like an aiokafka record at the last offset of its batch."""

    offset: int
    timestamp: int
    value: UnreadableBatch
    timestamp_type: int = 0
    key: None = None
    checksum: None = None
    headers: tuple[()] = ()


def _unreadable(batch: Any, error: str) -> _UnreadableRecord:
    last = batch.next_offset - 1
    return _UnreadableRecord(
        last, max(0, batch.max_timestamp or 0), UnreadableBatch(batch.base_offset, last, error[:500])
    )


class TolerantPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """aiokafka's unpacking of one partition's fetch, over ReadableRecords."""

    def __init__(self, tp: Any, records: Any, *args: Any) -> None:
        super().__init__(tp, ReadableRecords(records), *args)

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        """The record as it was unpacked: topic and partition are the batch's, and a copy of it costs 2 us an event."""
        return record


def tolerate_unreadable_batches() -> None:
    """Let every aiokafka consumer of this process hand over unreadable batches instead of stopping at them for ever."""
    fetcher.PartitionRecords = TolerantPartitionRecords

"""Each internal of faust-streaming, mode-streaming and aiokafka that streams/transport.py relies on.

An upgrade that breaks one fails here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer import consumer as client
from aiokafka.consumer import fetcher
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.coordinator import PatientCoordinator, coordinate_patiently
from streams.core.records import UnreadableBatch
from streams.transport import BatchApp, Consumer, ConsumerThread, FetchLimits, ReadableRecords, TolerantPartitionRecords


def test_the_versions_are_the_ones_this_was_written_against() -> None:
    assert (version("faust-streaming"), version("mode-streaming"), version("aiokafka")) == ("0.15.3", "0.7.1", "0.14.0")


def test_fausts_consumer_has_the_parts_we_replace_and_use() -> None:
    for name in (
        "getmany",
        "_wait_next_records",
        "_new_offset",
        "_add_gap",
        "perform_seek",
        "on_partitions_revoked",
        "highwater",
    ):
        assert callable(getattr(base.Consumer, name, None) or getattr(driver.Consumer, name, None)), name
    source = inspect.getsource(base.Consumer.__init__)
    for attribute in (
        "_acked",
        "_acked_index",
        "_read_offset",
        "_committed_offset",
        "flow_active",
        "_buffered_partitions",
    ):
        assert attribute in source + inspect.getsource(base.Consumer), attribute
    assert list(inspect.signature(base.Consumer._new_offset).parameters) == ["self", "tp"]
    assert inspect.iscoroutinefunction(base.Consumer.perform_seek)
    assert inspect.iscoroutinefunction(driver.AIOKafkaConsumerThread.seek_wait)


def test_the_consumer_thread_builds_its_client_in_one_overridable_place() -> None:
    assert list(inspect.signature(driver.AIOKafkaConsumerThread._create_worker_consumer).parameters) == [
        "self",
        "transport",
    ]
    accepted = inspect.signature(AIOKafkaConsumer.__init__).parameters
    for name in (
        "fetch_min_bytes",
        "fetch_max_wait_ms",
        "isolation_level",
        "auto_offset_reset",
        "group_instance_id",
        "check_crcs",
    ):
        assert name in accepted, name
    assert list(inspect.signature(driver.Consumer._new_consumer_thread).parameters) == ["self"]
    assert callable(faust.App._create_directories)


def test_a_consumer_message_takes_the_arguments_we_give() -> None:
    message = ConsumerMessage("t", 1, 2, 3.0, 0, [], None, "value", None, None, None, TP("t", 1), generation_id=9)
    assert (message.tp, message.offset, message.value, message.generation_id) == (TP("t", 1), 2, "value", 9)


async def _no_watermarks(_: set[TP]) -> dict[TP, int]:
    return {}


@pytest.fixture
async def consumer() -> AsyncIterator[Consumer]:
    app = BatchApp(
        "t",
        broker="kafka://127.0.0.1:1",
        fetch_limits=FetchLimits(3, 1, 50),
        watermarks=_no_watermarks,
        autodiscover=False,
    )
    made = app._new_consumer()
    yield made
    made._thread.thread_loop.close()  # Faust's consumer thread makes its loop before it starts


async def test_the_app_uses_our_transport_consumer_and_thread(consumer: Consumer) -> None:
    assert type(consumer.app.transport).Consumer is Consumer
    assert type(consumer) is Consumer
    assert type(consumer._thread) is ConsumerThread


async def test_commits_follow_the_order_of_delivery_and_never_pass_an_unfinished_batch(consumer: Consumer) -> None:
    tp = TP("t", 0)
    consumer._in_flight[tp].extend([9, 19, 29])
    consumer._acked[tp], consumer._acked_index[tp] = [29, 9], {29, 9}
    assert consumer._new_offset(tp) == 10
    assert consumer._new_offset(tp) is None  # 19 is unfinished: 29 must wait (upstream issue 606)
    consumer._acked[tp].append(19)
    consumer._acked_index[tp].add(19)
    assert consumer._new_offset(tp) == 30


async def test_batches_are_bounded_and_chained(consumer: Consumer) -> None:
    tp = TP("t", 0)
    partition = TopicPartition("t", 0)
    records = [SimpleNamespace(offset=o, timestamp=1000, timestamp_type=0) for o in (5, 6, 8, 9)]
    consumer._delivered_to[tp] = 4

    async def fetched(_: float) -> Any:
        return {partition: records}, None

    consumer._wait_next_records = fetched
    consumer.highwater = lambda _: 100
    got = [message.value async for _, message in consumer.getmany(1.0)]
    assert [(b.previous, [r.offset for r in b.records]) for b in got] == [(4, [5, 6, 8]), (9, [9])]
    assert list(consumer._in_flight[tp]) == [8, 9]


def _batch(values: list[bytes], base_offset: int, codec: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    for at, value in enumerate(values):
        builder.append(at, 1000 + at, b"k", value, [])
    data = bytearray(builder.build())
    data[0:8] = base_offset.to_bytes(8, "big")
    return bytes(data)


def _records(data: bytes) -> list[Any]:
    return list(
        TolerantPartitionRecords(
            TopicPartition("t", 0), MemoryRecords(data), [], 0, None, None, True, fetcher.READ_COMMITTED
        )
    )


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_all_codecs_are_read(codec: int) -> None:
    assert [record.value for record in _records(_batch([b"a" * 200, b"b"], 7, codec))] == [b"a" * 200, b"b"]


def test_a_corrupt_batch_becomes_one_record_and_the_rest_is_read() -> None:
    broken = bytearray(_batch([b"c", b"d", b"e"], 2))
    broken[-1] ^= 0xFF
    records = _records(_batch([b"a", b"b"], 0) + bytes(broken) + _batch([b"f"], 5))
    assert [record.offset for record in records] == [0, 1, 4, 5]
    assert records[2].value == UnreadableBatch(2, 4, "checksum does not match")
    assert (records[2].key, records[3].value) == (None, b"f")


def test_a_batch_whose_codec_fails_becomes_one_record() -> None:
    broken = bytearray(_batch([b"c" * 500, b"d" * 500], 0, 3))
    broken[61:80] = bytes(19)
    crc_at = 17
    import aiokafka.record._crc32c as crc32c

    broken[crc_at : crc_at + 4] = crc32c.crc(bytes(broken[crc_at + 4 :])).to_bytes(4, "big")
    (record,) = _records(bytes(broken))
    assert isinstance(record.value, UnreadableBatch)
    assert (record.value.first, record.value.last) == (0, 1)


def test_readable_records_have_what_aiokafka_asks_of_a_batch() -> None:
    (batch,) = [ReadableRecords(MemoryRecords(_batch([b"a"], 3))).next_batch()]
    assert (batch.base_offset, batch.next_offset, batch.is_control_batch, batch.is_transactional) == (
        3,
        4,
        False,
        False,
    )
    assert batch.producer_id == -1
    source = inspect.getsource(fetcher.PartitionRecords._unpack_records)
    used = {"base_offset", "next_offset", "is_control_batch", "is_transactional", "producer_id", "validate_crc"}
    assert {name for name in used if f"next_batch.{name}" in source} == used
    assert DefaultRecordBatch.is_control_batch.__get__ is not None


async def test_a_group_leader_waits_until_the_brokers_have_told_of_every_topic() -> None:
    asked: list[str] = []

    async def told(topic: str) -> set[int]:
        asked.append(topic)
        return {0}

    async def nothing_forced() -> None:
        return None

    cluster = ClusterMetadata()
    coordinator: Any = PatientCoordinator.__new__(PatientCoordinator)
    coordinator._client = SimpleNamespace(
        _wait_on_metadata=told, set_topics=lambda _: None, _maybe_wait_metadata=nothing_forced
    )
    coordinator._subscription = SimpleNamespace(topics={"t"}, subscribed_pattern=None)
    coordinator._assignors, coordinator._cluster, coordinator.group_id = [RoundRobinPartitionAssignor], cluster, "g"
    await coordinator._perform_assignment(SimpleNamespace(group_protocol="roundrobin", members=[], API_VERSION=5))
    assert asked == ["t"]
    assert inspect.iscoroutinefunction(AIOKafkaClient._wait_on_metadata)


async def test_what_the_coordinator_cannot_deal_with_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GroupCoordinator", client.GroupCoordinator)
    told: list[Exception] = []
    coordinate_patiently(told.append)
    assert issubclass(client.GroupCoordinator, PatientCoordinator)
    coordinator = client.GroupCoordinator.__new__(client.GroupCoordinator)
    error, closing = KafkaError("unknown"), asyncio.get_running_loop().create_future()
    coordinator._subscription, coordinator._closing = SimpleNamespace(abort_waiters=told.append), closing
    closing.set_result(None)
    await coordinator._push_error_to_user(error)
    assert told[0] is error

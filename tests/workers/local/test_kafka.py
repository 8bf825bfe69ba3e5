"""The embedded broker: all codecs, its own ports and data across restarts and crashes, nothing created by accident."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from workers.local.kafka import Kafka
from workers.local.process import LocalServerError

CODECS = ("gzip", "snappy", "lz4", "zstd")
PAYLOAD = b"the same words again and again " * 40


def create(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)


def produce(bootstrap: str, topic: str, *values: bytes, codec: str = "none") -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 5})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(10) == 0


def consume(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        messages = consumer.consume(count, timeout=15)
    finally:
        consumer.close()
    assert all(message.error() is None for message in messages)
    return [message.value() for message in messages]


@pytest.mark.parametrize("codec", CODECS)
async def test_every_codec_of_confluent_reaches_aiokafka(kafka: str, namespace: str, codec: str) -> None:
    await asyncio.to_thread(create, kafka, namespace)
    await asyncio.to_thread(produce, kafka, namespace, *[PAYLOAD] * 20, codec=codec)
    consumer = AIOKafkaConsumer(
        namespace, bootstrap_servers=kafka, group_id=namespace, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        values = [(await asyncio.wait_for(consumer.getone(), 10)).value for _ in range(20)]
    finally:
        await consumer.stop()
    assert values == [PAYLOAD] * 20


@pytest.mark.parametrize("codec", CODECS)
async def test_every_codec_of_aiokafka_reaches_confluent(kafka: str, namespace: str, codec: str) -> None:
    await asyncio.to_thread(create, kafka, namespace)
    async with AIOKafkaProducer(bootstrap_servers=kafka, compression_type=codec) as producer:
        for _ in range(20):
            await producer.send(namespace, PAYLOAD)
    assert await asyncio.to_thread(consume, kafka, namespace, 20) == [PAYLOAD] * 20


def test_a_topic_exists_only_when_somebody_created_it(kafka: str, namespace: str) -> None:
    producer = Producer({"bootstrap.servers": kafka, "message.timeout.ms": 1500, "log_level": 0})
    errors: list[int] = []
    producer.produce(namespace, b"x", on_delivery=lambda error, _: errors.append(error.code()))
    producer.flush(10)
    # Which of the two depends on whether the time is up before the broker's answer counts as final.
    assert errors
    assert errors[0] in {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._MSG_TIMED_OUT}
    assert namespace not in AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=5).topics


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker of our own to stop and kill, whose recorded port somebody else has taken."""
    data = tmp_path_factory.mktemp("broker")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (data / "ports.json").write_text(json.dumps({"PLAINTEXT": taken.getsockname()[1]}))
        kafka = Kafka(data, listeners={"SECOND": "PLAINTEXT"}, properties={"message.max.bytes": "2000000"})
        kafka.start()
    yield kafka
    kafka.close()


def test_a_taken_port_is_replaced_and_recorded(own: Kafka) -> None:
    recorded = json.loads((own.data / "ports.json").read_text())
    assert own.bootstrap == f"127.0.0.1:{recorded['PLAINTEXT']}"


def test_overrides_and_further_listeners_reach_the_broker(own: Kafka, namespace: str) -> None:
    create(own.bootstrap, namespace)
    large = b"x" * 1_500_000
    producer = Producer({"bootstrap.servers": own.listener("SECOND"), "message.max.bytes": 2_000_000})
    producer.produce(namespace, large)
    assert producer.flush(10) == 0
    assert consume(own.listener("SECOND"), namespace, 1) == [large]


def test_data_and_ports_survive_a_crash_and_a_new_object_on_the_folder(own: Kafka, namespace: str) -> None:
    bootstrap = own.bootstrap
    create(bootstrap, namespace)
    produce(bootstrap, namespace, b"before")
    own.kill()
    assert not own.alive
    own.start()
    produce(bootstrap, namespace, b"after the crash")
    own.stop()
    with Kafka(own.data, listeners={"SECOND": "PLAINTEXT"}) as again:
        assert again.bootstrap == bootstrap
        assert consume(bootstrap, namespace, 2) == [b"before", b"after the crash"]


def test_a_broker_that_ends_at_once_shows_its_log(own: Kafka, tmp_path: Path) -> None:
    own.stop()
    with (
        pytest.raises(LocalServerError, match=r"(?s)Kafka cannot format.*process\.roles"),
        Kafka(tmp_path, properties={"process.roles": "nonsense"}),
    ):
        pass


def test_a_stopped_broker_refuses_and_close_is_idempotent(own: Kafka) -> None:
    own.close()
    own.close()
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": own.bootstrap, "log_level": 0}).list_topics(timeout=0.3)

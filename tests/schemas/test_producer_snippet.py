"""The producer on docs/events.md, run as it stands against a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.behaviour import BehaviourEvent, decode_behaviour
from streams.topics import BEHAVIOUR_EVENTS, full_name

SNIPPET = Path(__file__).parents[2] / "docs" / "snippets" / "producer.py"
PARTITIONS = 4
USERS = ["u-1001", "u-1002", "zoë", "商品", *(f"shopper-{n}" for n in range(20))]


def test_the_snippets_events_are_accepted_and_lie_where_murmur2_says(kafka: str, namespace: str) -> None:
    topic = full_name(namespace, BEHAVIOUR_EVENTS)
    admin = AdminClient({"bootstrap.servers": kafka})  # kept: without it the request is cancelled
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)

    environment = {**os.environ, "DRIFTLINE_KAFKA": kafka, "DRIFTLINE_NAMESPACE": namespace}
    subprocess.run([sys.executable, SNIPPET, *USERS], env=environment, check=True, timeout=60)

    records = _all(kafka, topic, len(USERS))
    for record in records:
        key, event = record.key() or b"", decode_behaviour(record.value(), max_bytes=65_536)
        assert isinstance(event, BehaviourEvent), event
        assert event.user_id.encode() == key
        assert record.partition() == (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
        assert event.category == "Garden > Tools"
    assert sorted((record.key() or b"").decode() for record in records) == sorted(USERS)
    assert len({record.partition() for record in records}) == PARTITIONS


def _all(kafka: str, topic: str, count: int) -> list[Message]:
    """`count` records of a topic, from its beginning."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": topic, "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        found: list[Message] = []
        while len(found) < count:
            records = consumer.consume(count - len(found), timeout=30)
            assert records, f"{len(found)} of {count} records after 30 seconds"
            assert all(record.error() is None for record in records)
            found += records
        return found
    finally:
        consumer.close()

"""The Kafka side of a replay: the sink, and what is already on the topic after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streams import kafka_clients
from streams.settings import Settings
from streams.topics import BEHAVIOUR_EVENTS, CATALOGUE, Topic, full_name
from workers.replay.rows import Broken, Row
from workers.replay.send import SendError

FLUSH_EVERY: Final = 10_000
"""Records under way at most when nothing has to be remembered in between."""
_FLUSH_TIMEOUT_S: Final = 40.0

DeadLetter = Callable[[Broken], tuple[bytes, list[tuple[str, str | bytes | None]]]]
"""A broken row's record on the dead-letter topic: value and headers."""


class TopicError(Exception):
    """A topic is not there, or not as the settings say; the message names it and what to do."""


def check_topic(producer: Producer, settings: Settings, topic: Topic) -> str:
    """The id of the cluster, once the topic is known to be there with as many partitions as the settings say.

    Raises TopicError: no broker, no such topic, or another partition count.
    """
    name = full_name(settings.namespace, topic)
    try:
        found = producer.list_topics(name, timeout=kafka_clients.METADATA_TIMEOUT_S)
    except KafkaException as error:
        raise TopicError(f"no answer from Kafka at {settings.kafka} (DRIFTLINE_KAFKA): {error.args[0].str()}") from None
    partitions = found.topics[name].partitions
    wanted = {BEHAVIOUR_EVENTS: settings.user_partitions, CATALOGUE: settings.catalogue_partitions}.get(topic, 1)
    if not partitions:
        raise TopicError(f"{name}: no such topic at {settings.kafka}; create it with `driftline topics create`")
    if len(partitions) != wanted:
        raise TopicError(f"{name} has {len(partitions)} partitions and the settings say {wanted}; make them agree")
    return str(found.cluster_id)


class KafkaSink:
    """Sends events to behaviour-events.v1 keyed by user, and broken rows to the dead letters if asked to.

    producer     from kafka_clients.producer
    topic        full name of the topic
    next_offset  partition → offset after the last acknowledged record; begin with `ends`
    dead_letter  (full topic name, how a broken row is written); None leaves broken rows to the count
    """

    def __init__(
        self,
        producer: Producer,
        topic: str,
        *,
        next_offset: Mapping[int, int] | None = None,
        dead_letter: tuple[str, DeadLetter] | None = None,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._dead_letter = dead_letter
        self._failed: str | None = None
        self.next_offset = dict(next_offset or {})

    def send(self, row: Row) -> None:
        if not isinstance(row, Broken):
            self.put(row.user_id.encode(), row.value)
        elif self._dead_letter is not None:
            topic, written = self._dead_letter
            value, headers = written(row)
            self._producer.produce(topic, value, headers=headers, on_delivery=self._delivered)

    def put(self, key: bytes, value: bytes) -> None:
        """Takes any record of the topic on its way."""
        self._producer.produce(self._topic, value, key, on_delivery=self._delivered)

    def flush(self) -> None:
        missing = self._producer.flush(_FLUSH_TIMEOUT_S)
        if self._failed is not None:
            raise SendError(self._failed)
        if missing:
            raise SendError(f"{self._topic}: {missing} records not acknowledged within {_FLUSH_TIMEOUT_S:.0f} s")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed = self._failed or f"{message.topic()}: {error.str()}"
        elif message.topic() == self._topic:
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None and offset >= self.next_offset.get(partition, 0):
                self.next_offset[partition] = offset + 1


def ends(settings: Settings, topic: str, partitions: int) -> dict[int, int]:
    """partition → offset the next record will get."""
    reader = kafka_clients.consumer(settings, "replay")
    try:
        return {p: _bounds(reader, topic, p)[1] for p in range(partitions)}
    finally:
        reader.close()


def values_since(settings: Settings, topic: str, offsets: Mapping[int, int]) -> set[bytes]:
    """The values of all records at or after the given offsets, up to the end as it is now.

    Raises TopicError when the topic ends before an offset: it was deleted and created anew.
    """
    reader = kafka_clients.consumer(settings, "replay")
    begin = {}
    try:
        for partition, offset in offsets.items():
            start, end = _bounds(reader, topic, partition)
            if end < offset:
                raise TopicError(
                    f"{topic}: partition {partition} ends at {end} and the replay had reached {offset}, so the topic "
                    "was created anew; replay without --resume"
                )
            if end > offset:
                begin[partition] = max(start, offset)
    finally:
        reader.close()
    return {message.value() or b"" for message in kafka_clients.read_to_end(settings, topic, begin)}


def _bounds(reader: Consumer, topic: str, partition: int) -> tuple[int, int]:
    bounds = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=kafka_clients.METADATA_TIMEOUT_S)
    if bounds is None:
        raise TopicError(f"{topic}: no answer about partition {partition}; try again")
    return bounds

"""What the brokers say about topics, logs and groups: the facts that checkpoints are held against."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic, OffsetSpec, ResourceType

from streams import kafka_clients
from streams.settings import Settings

TIMEOUT_S = 30.0


class BrokerError(Exception):
    """The brokers cannot be reached, or refuse."""


class TopicFacts(NamedTuple):
    """id: of this incarnation of the topic; a topic that is deleted and created again gets another one."""

    id: str
    partitions: int
    replicas: int


class LogRange(NamedTuple):
    """Offsets that can be read: start <= offset < end."""

    start: int
    end: int


class Broker:
    """A few questions to the brokers, answered or BrokerError."""

    def __init__(self, settings: Settings) -> None:
        self._admin = kafka_clients.admin(settings)
        self._where = settings.kafka

    def ping(self) -> None:
        """Raises BrokerError if no broker answers."""
        try:
            self._admin.list_topics(timeout=10.0)
        except KafkaException as error:
            raise BrokerError(f"no Kafka at {self._where}: {error}; set DRIFTLINE_KAFKA") from error

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        """Facts of those topics that exist."""
        found = {}
        for name, future in self._admin.describe_topics(
            TopicCollection(list(names)), request_timeout=TIMEOUT_S
        ).items():
            try:
                topic = future.result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                raise BrokerError(f"{name}: {error}") from error
            replicas = min(len(partition.replicas) for partition in topic.partitions)
            found[name] = TopicFacts(str(topic.topic_id), len(topic.partitions), replicas)
        return found

    def configs(self, names: Collection[str]) -> dict[str, dict[str, str]]:
        """Effective configuration of topics."""
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._admin.describe_configs(resources, request_timeout=TIMEOUT_S)
        return {
            resource.name: {name: str(entry.value) for name, entry in _result(future, resource.name).items()}
            for resource, future in answers.items()
        }

    def create(self, topics: list[NewTopic]) -> None:
        """Create topics; one that exists is an error."""
        for name, future in self._admin.create_topics(topics, request_timeout=TIMEOUT_S).items():
            _result(future, name)

    def log_ranges(self, topic: str, partitions: Iterable[int]) -> dict[int, LogRange]:
        """Start and end of each partition's log (the end of what is committed)."""
        wanted = list(partitions)
        start = self._offsets(topic, wanted, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # has no type hints
        end = self._offsets(topic, wanted, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # has no type hints
        return {p: LogRange(start[p], end[p]) for p in wanted}

    def offsets_at(self, topic: str, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
        """Each partition's first offset with a record timestamp at or after a time; the log's end if there is none."""
        wanted = list(partitions)
        found = self._offsets(topic, wanted, OffsetSpec.for_timestamp(time_ms))
        end = self._offsets(topic, wanted, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # has no type hints
        return {p: found[p] if found[p] >= 0 else end[p] for p in wanted}

    def _offsets(self, topic: str, partitions: list[int], spec: OffsetSpec) -> dict[int, int]:
        asked = {TopicPartition(topic, p): spec for p in partitions}
        answers = self._admin.list_offsets(asked, request_timeout=TIMEOUT_S)
        return {tp.partition: int(_result(future, f"{topic}[{tp.partition}]").offset) for tp, future in answers.items()}

    def members(self, group: str) -> int:
        """How many clients are in a consumer group now."""
        (future,) = self._admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S).values()
        try:
            return len(future.result().members)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            raise BrokerError(f"group {group}: {error}") from error

    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Set a group's committed offsets (it must have no members)."""
        partitions = [TopicPartition(topic, p, offset) for (topic, p), offset in offsets.items()]
        request = [ConsumerGroupTopicPartitions(group, partitions)]
        for future in self._admin.alter_consumer_group_offsets(request, request_timeout=TIMEOUT_S).values():
            _result(future, f"group {group}")


def _result(future: Future[Any], about: str) -> Any:
    try:
        return future.result(TIMEOUT_S)
    except KafkaException as error:
        raise BrokerError(f"{about}: {error}") from error

"""The one place where confluent-kafka clients get their configuration, so that a new setting reaches all of them.

Every function takes `Settings` and builds a client; `config` entries given by the caller win over the defaults here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from streams.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, Producer
    from confluent_kafka.admin import AdminClient

METADATA_TIMEOUT_S: Final = 10.0
SILENCE_S: Final = 30.0

Config = Mapping[str, str | int | float | bool]

_LOGGER = logging.getLogger("driftline.kafka")


def connection(settings: Settings) -> dict[str, str | int | float | bool]:
    """What every client needs to reach the brokers; security settings belong here and nowhere else."""
    return {"bootstrap.servers": settings.kafka, "client.id": settings.namespace}


def producer(settings: Settings, config: Config | None = None) -> Producer:
    """A producer that writes as an upstream service must (docs/events.md).

    `murmur2_random` puts a key where Kafka's Java client would; idempotence and `acks=all` keep the order and lose
    nothing that was acknowledged. An event that is not acknowledged within 30 s is an error, not an endless wait.
    """
    from confluent_kafka import Producer

    return Producer(
        {
            **connection(settings),
            "partitioner": "murmur2_random",
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.timeout.ms": 30_000,
            "message.max.bytes": 2_000_000,
            **(config or {}),
        },
        logger=_LOGGER,
    )


def consumer(settings: Settings, group: str, config: Config | None = None) -> Consumer:
    """A consumer of committed records, in group `<namespace>.<group>`; it commits only what it is told to.

    It starts nowhere by itself: seek, assign with offsets, or set `auto.offset.reset`.
    """
    from confluent_kafka import Consumer

    return Consumer(
        {
            **connection(settings),
            "group.id": f"{settings.namespace}.{group}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            **(config or {}),
        },
        logger=_LOGGER,
    )


def admin(settings: Settings, config: Config | None = None) -> AdminClient:
    """A client for topics, configurations and groups."""
    from confluent_kafka.admin import AdminClient

    return AdminClient({**connection(settings), **(config or {})}, logger=_LOGGER)


def read_to_end(settings: Settings, topic: str, begin: Mapping[int, int] | None = None) -> Iterator[Message]:
    """The committed records of a topic, up to the end as it is when reached. In offset order within a partition.

    topic  full name
    begin  partition → first offset to read; None: all partitions from their beginnings

    Raises LookupError when there is no such topic, KafkaException when it cannot be read.
    """
    from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

    reader = consumer(settings, "reader", {"enable.partition.eof": True})
    try:
        if begin is None:
            partitions = reader.list_topics(topic, timeout=METADATA_TIMEOUT_S).topics[topic].partitions
            begin = dict.fromkeys(partitions, OFFSET_BEGINNING)
            if not begin:
                raise LookupError(
                    f"{topic}: no such topic at {settings.kafka}; create it with `driftline topics create`"
                )
        reader.assign([TopicPartition(topic, partition, offset) for partition, offset in begin.items()])
        unfinished = set(begin)
        heard = time.monotonic()
        while unfinished:
            if time.monotonic() - heard > SILENCE_S:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic}: no answer for {SILENCE_S:.0f} s"))  # noqa: SLF001
            for message in reader.consume(1000, timeout=0.1):
                heard = time.monotonic()
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # the library's own name for it
                    unfinished.discard(message.partition() or 0)
                else:
                    raise KafkaException(error)
    finally:
        reader.close()

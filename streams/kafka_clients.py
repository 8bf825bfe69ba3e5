"""The one place where confluent-kafka clients get their configuration, so that a new setting reaches all of them.

Every function takes `Settings` and builds a client; `config` entries given by the caller win over the defaults here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from streams.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient

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

"""Emitting: an idempotent producer whose every message is acknowledged before the commit that depends on it.

Messages to one partition land in the order given and without a gap: librdkafka's idempotent producer keeps the order,
and the first failed delivery raises, which stops the partition (no later message may overtake a lost one).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as Delivered

from streams import kafka_clients
from streams.failpoints import MID_EMIT, failpoint
from streams.settings import Settings

DELIVERY_TIMEOUT_S = 60.0
MESSAGE_MAX_BYTES = 16 * 1024 * 1024  # a flush's links for one partition travel in one message


class Message(msgspec.Struct, frozen=True):
    """One record to produce, to an explicit partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class EmitError(Exception):
    """A message was not delivered: nothing that depends on it may be committed."""


class Emitter:
    """Thread-safe: several partitions emit through one producer, each waiting for its own messages."""

    def __init__(self, settings: Settings) -> None:
        self._producer = kafka_clients.producer(
            settings,
            {
                "linger.ms": 1,
                "message.max.bytes": MESSAGE_MAX_BYTES,
                "message.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
                "retry.backoff.ms": 20,
            },
        )

    def emit(self, messages: Sequence[Message]) -> None:
        """Produce all messages and wait until every one is acknowledged. Raises EmitError at the first that is not."""
        if not messages:
            return
        waiting = _Outstanding(len(messages))
        for message in messages:
            self._produce(message, waiting)
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S + 5
        while waiting.left and not waiting.error:
            self._producer.poll(0.01)
            if time.monotonic() > deadline:
                raise EmitError(
                    f"{waiting.left} of {len(messages)} messages unacknowledged after {DELIVERY_TIMEOUT_S:.0f} s"
                )
        if waiting.error:
            raise EmitError(waiting.error)

    def _produce(self, message: Message, waiting: _Outstanding) -> None:
        while True:
            try:
                self._producer.produce(
                    message.topic,
                    message.value,
                    message.key,
                    message.partition,
                    on_delivery=waiting.delivered,
                    headers=list(message.headers),
                )
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise EmitError(f"{message.topic}[{message.partition}]: {error}") from error
            else:
                return

    def close(self) -> None:
        """Let go of what is still in the queue: whatever was not awaited will be emitted again."""
        self._producer.purge(in_flight=False)
        self._producer.flush(1.0)


class _Outstanding:
    """Counts deliveries of one `emit`; call-backs run in whichever thread polls."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.error = ""
        self._lock = threading.Lock()

    def delivered(self, error: KafkaError | None, message: Delivered) -> None:
        with self._lock:
            self.left -= 1
            if error is not None and not self.error:
                self.error = f"{message.topic()}[{message.partition()}]: {error}"
            left = self.left
        if left:
            failpoint(MID_EMIT)

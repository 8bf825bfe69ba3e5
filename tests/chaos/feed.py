"""Producing the event stream in slices, through five producers with five compressions, as fast as they are used."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Producer

from streams import kafka_clients
from streams.settings import Settings
from streams.topics import BEHAVIOUR_EVENTS, full_name
from tests.chaos.events import Record, stream
from tests.chaos.plan import Plan

CODECS = ("lz4", "snappy", "zstd", "gzip", "none")
BURST = 500
WINDOW_S = 3.0  # events that may wait, in seconds of the rate


class Feed:
    """`produce` is called again and again and keeps the pace by itself."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.events = 0
        self._plan = plan
        self._settings = settings
        self._stream = stream(plan.seed, plan.events, plan.partitions)
        config = {"message.timeout.ms": 120_000, "linger.ms": 20}
        self._producers: list[Producer] = [
            kafka_clients.producer(settings, {**config, "compression.type": codec}) for codec in CODECS
        ]
        self._last_s = time.monotonic()
        self._owed = 0.0
        self._looked_s = 0.0
        self._lag = 0

    @property
    def enough(self) -> bool:
        """Whether the planned number is out; more may still be asked for."""
        return self.events >= self._plan.events

    def produce(self, lag: Callable[[], int]) -> None:
        """What is due since the last call; nothing while the workers are behind."""
        now = time.monotonic()
        rate = self._plan.rate if not self.enough else self._plan.rate / 4
        self._owed = min(self._owed + (now - self._last_s) * rate, rate, BURST)
        self._last_s = now
        if now - self._looked_s > 0.5:
            self._lag, self._looked_s = lag(), now
        if self._lag < WINDOW_S * self._plan.rate:
            while self._owed >= 1:
                self._send(next(self._stream))
                self._owed -= 1
        for producer in self._producers:
            producer.poll(0)

    def _send(self, record: Record) -> None:
        producer = self._producers[record.codec % len(CODECS)]
        name = full_name(self._settings.namespace, record.topic)
        while True:
            try:
                producer.produce(name, record.value, record.key, record.partition)
                break
            except BufferError:
                producer.poll(0.1)
        self.events += record.topic is BEHAVIOUR_EVENTS

    def finish(self) -> None:
        """Wait until everything is acknowledged."""
        for producer in self._producers:
            left = producer.flush(120)
            if left:
                raise TimeoutError(f"{left} records of the event stream were not acknowledged")

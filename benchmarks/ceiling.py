"""The ceiling: consume and decode, nothing else. What no pipeline in this language on this topic can beat."""

from __future__ import annotations

import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import msgspec
from confluent_kafka import TopicPartition

from schemas.behaviour import BehaviourEvent
from streams import kafka_clients
from streams.broker import Broker
from streams.settings import Settings, from_env
from streams.topics import BEHAVIOUR_EVENTS, full_name

BATCH = 2000


def measure(settings: Settings, processes: int, seconds: float) -> dict[str, Any]:
    """One consumer a process, partitions dealt out, from the beginning for `seconds` or to the end of the log."""
    topic = full_name(settings.namespace, BEHAVIOUR_EVENTS)
    ends = {p: log.end for p, log in Broker(settings).log_ranges(topic, range(settings.user_partitions)).items()}
    hands = [{p: end for p, end in ends.items() if p % processes == number} for number in range(processes)]
    arguments = [(settings.kafka, settings.namespace, hand, seconds) for hand in hands if hand]
    with ProcessPoolExecutor(len(arguments), multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(consume, arguments))
    events = sum(part[0] for part in parts)
    return {
        "events_per_s": round(sum(events / took for events, took, _ in parts)),
        "cpu_us_per_event": round(1e6 * sum(cpu for _, _, cpu in parts) / max(1, events), 2),
        "events": events,
        "seconds": round(max(took for _, took, _ in parts), 1),
    }


def consume(arguments: tuple[str, str, dict[int, int], float]) -> tuple[int, float, float]:
    """(events, seconds, CPU seconds) of one process."""
    kafka, namespace, ends, seconds = arguments
    settings = from_env({}, kafka=kafka, namespace=namespace)
    topic, decode = full_name(namespace, BEHAVIOUR_EVENTS), msgspec.json.Decoder(BehaviourEvent).decode
    consumer = kafka_clients.consumer(settings, "ceiling", {"queued.max.messages.kbytes": 65_536})
    consumer.assign([TopicPartition(topic, p, 0) for p in ends])
    wanted, events = sum(ends.values()), 0
    consumer.consume(1, 10.0)  # the connection is not what is measured
    began, spent = time.monotonic(), _cpu_s()
    while events < wanted - 1 and time.monotonic() - began < seconds:
        for record in consumer.consume(BATCH, 0.5):
            decode(record.value() or b"")
            events += 1
    took, cpu = time.monotonic() - began, _cpu_s() - spent
    consumer.close()
    return events, took, cpu


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

"""How long after a record's timestamp its effect can be read, on a live stream at a given rate. Measured from outside.

event_to_state            both checkpoints passed the event: its shopper's state and all of its links are committed
event_to_similar          a probe, a session's second item, new to the shop: until its `similar` view has a neighbour
event_to_interest_change  until the change that the event caused is read from interest-changes.v1

    python -m benchmarks.latency --rate 5000 --seconds 30
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import msgspec
import numpy as np
from confluent_kafka import Message, TopicPartition

from benchmarks import histograms, machine
from benchmarks.display import bar
from benchmarks.driftline import Workers
from benchmarks.load import Record, Shop, produce
from schemas.behaviour import BehaviourEvent
from streams import kafka_clients
from streams.broker import Broker
from streams.topics import BEHAVIOUR_EVENTS, INTEREST_CHANGES, ITEM_LINKS
from tests.system.harness import System
from workers.local.launcher import Servers

OUT = Path(__file__).parent / "out" / "latency.json"
PRELOAD = 4  # shifts
TICK_S = 0.01
PROBES_PER_S = 10
SETTLE_S = 30.0


class Stream(threading.Thread):
    """Produces at a steady rate, probes among the load; remembers each record's timestamp by partition and offset."""

    def __init__(self, system: System, records: Iterator[Record], rate: int, seconds: float) -> None:
        super().__init__(name="stream", daemon=True)
        self._system, self._records = system, records
        self._rate, self._seconds = rate, seconds
        self.timestamps: dict[tuple[int, int], int] = {}
        self.probes: dict[str, int] = {}

    def run(self) -> None:
        topic, sent, probed = self._system.name(BEHAVIOUR_EVENTS), 0, 0
        producer = kafka_clients.producer(self._system.settings)
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < self._seconds:
            for key, value in self._due(int(elapsed * self._rate) - sent):
                producer.produce(topic, value, key, on_delivery=self._delivered)
                sent += 1
            while probed < elapsed * PROBES_PER_S:
                for key, value in _probe(probed):
                    producer.produce(topic, value, key, on_delivery=self._delivered)
                probed += 1
            producer.poll(0)
            time.sleep(TICK_S)
        producer.flush(30)

    def _due(self, count: int) -> Iterator[Record]:
        for _ in range(count):
            yield next(self._records)

    def _delivered(self, error: object, message: Message) -> None:
        if error is not None:
            raise RuntimeError(f"not delivered: {error}")
        _, at_ms = message.timestamp()
        self.timestamps[message.partition() or 0, message.offset() or 0] = at_ms
        if (message.key() or b"").startswith(b"probe-"):
            user = (message.key() or b"").decode()
            self.probes[user.replace("probe-", "new-")] = (
                at_ms  # the second record of the session is the last to set it
            )


def _probe(number: int) -> Iterator[Record]:
    """A new shopper looks at a popular item, then at one nobody has seen."""
    user, now_ms = f"probe-{number:06d}", int(time.time() * 1000)
    for step, item in enumerate(("probe-anchor", f"new-{number:06d}")):
        event = BehaviourEvent(
            event_id=f"{user}-{step}", user_id=user, type="view", time_ms=now_ms + step, item_id=item
        )
        yield user, msgspec.json.encode(event)


class StateWatch(threading.Thread):
    """Looks at the checkpoints all the time: when each source offset was first seen committed in both stages."""

    def __init__(self, system: System) -> None:
        super().__init__(name="state", daemon=True)
        self._system = system
        self.stopping = threading.Event()
        self.seen: list[tuple[float, list[int]]] = []

    def run(self) -> None:
        while not self.stopping.wait(TICK_S):
            checkpoints = self._system.checkpoints()
            now_ms = time.time() * 1000
            events, links = self._system.name(BEHAVIOUR_EVENTS), self._system.name(ITEM_LINKS)
            marks = [c.applied for (topic, _), c in checkpoints.items() if topic == links]
            ends = [c.watermark for (topic, _), c in sorted(checkpoints.items()) if topic == events]
            reached = [min(end, *(mark[source] + 1 for mark in marks)) for source, end in enumerate(ends)]
            self.seen.append((now_ms, reached))

    def latencies(self, timestamps: Mapping[tuple[int, int], int]) -> list[float]:
        """Milliseconds from each record's timestamp to the first look that saw it committed."""
        found = []
        for source in range(len(self.seen[0][1])):
            ends = np.maximum.accumulate([reached[source] for _, reached in self.seen])
            at = np.array([now for now, _ in self.seen])
            offsets = np.array(sorted(offset for p, offset in timestamps if p == source), np.int64)
            look = np.searchsorted(ends, offsets, side="right")
            known = look < len(at)
            when = [timestamps[source, offset] for offset in offsets[known].tolist()]
            found += (at[look[known]] - when).tolist()
        return found


class ViewWatch(threading.Thread):
    """Asks for the `similar` view of every probe that has none yet."""

    def __init__(self, system: System, probes: Mapping[str, int]) -> None:
        super().__init__(name="views", daemon=True)
        self._system, self._probes = system, probes
        self.stopping = threading.Event()
        self.latencies: dict[str, float] = {}

    def run(self) -> None:
        reader = self._system.reader()
        while not self.stopping.wait(TICK_S):
            waiting = [item for item in list(self._probes) if item not in self.latencies]
            for item, near in reader.similar(waiting, 1).items():
                if near:
                    self.latencies[item] = time.time() * 1000 - self._probes[item]


class ChangeWatch(threading.Thread):
    """Reads interest-changes.v1 from its end."""

    def __init__(self, system: System) -> None:
        super().__init__(name="changes", daemon=True)
        self._topic = system.name(INTEREST_CHANGES)
        self._consumer = kafka_clients.consumer(system.settings, "latency", {"fetch.wait.max.ms": 10})
        ranges = Broker(system.settings).log_ranges(self._topic, range(system.settings.user_partitions))
        self._consumer.assign([TopicPartition(self._topic, p, log.end) for p, log in ranges.items()])
        self.stopping = threading.Event()
        self.seen: dict[tuple[int, int], float] = {}

    def run(self) -> None:
        while not self.stopping.is_set():
            for record in self._consumer.consume(500, TICK_S):
                cause = msgspec.json.decode(record.value() or b"")["cause"]
                self.seen.setdefault((cause["partition"], cause["offset"]), time.time() * 1000)
        self._consumer.close()

    def latencies(self, timestamps: Mapping[tuple[int, int], int]) -> list[float]:
        return [at - timestamps[cause] for cause, at in self.seen.items() if cause in timestamps]


def summary(latencies: Sequence[float], expected: int) -> dict[str, Any]:
    """p50, p99 and the largest, in ms; `missing` were not seen before we stopped looking."""
    if not latencies:
        return {"count": 0, "missing": expected}
    p50, p99 = np.percentile(latencies, [50, 99])
    return {
        "p50_ms": round(float(p50)),
        "p99_ms": round(float(p99)),
        "max_ms": round(max(latencies)),
        "count": len(latencies),
        "missing": expected - len(latencies),
    }


@click.command()
@click.option("--rate", default=5000, show_default=True, help="Events a second.")
@click.option("--seconds", default=30.0, show_default=True, help="Length of the stream.")
@click.option("--seed", default=1, show_default=True, help="Of the load.")
@click.option("--workers", default=2, show_default=True, help="Worker processes.")
def main(rate: int, seconds: float, seed: int, workers: int) -> None:
    """Stream, watch, print, and write benchmarks/out/latency.json."""
    machine.pin()
    shop = Shop(seed)
    with TemporaryDirectory(prefix="driftline-bench-") as name, Servers(environ={}) as servers:
        production = {"session_timeout_ms": 10_000, "idle_check_s": 5.0}
        with System(servers.kafka, servers.redis, "latency", Path(name), **production) as system:
            system.set_up()
            expected = PRELOAD * len(shop.shift(0))
            with bar("filling state", expected) as show:
                produce(system.settings, shop, range(PRELOAD), lambda done: show(done, "produced"))
            running = Workers(system, workers)
            system.wait_until_applied(300)
            report = _watch(system, shop, rate, seconds)
            report["views"] = _views(running)
            running.check()
            running.stop()
    report |= {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python -m benchmarks.latency", *sys.argv[1:]]),
        "machine": machine.facts(),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    for key in ("event_to_state", "event_to_similar", "event_to_interest_change"):
        print(f"{key:<26}{report[key]}")
    print(f"written to {OUT}")


def _views(workers: Workers) -> dict[str, int]:
    """How far behind the views are when the stream is over."""
    now = histograms.scrape(workers.ports)
    names = {"pending": "driftline_views_pending", "staleness_s": "driftline_view_staleness_seconds"}
    return {key: round(histograms.largest(now, name, view="similar")) for key, name in names.items()}


def _watch(system: System, shop: Shop, rate: int, seconds: float) -> dict[str, Any]:
    records = (record for number in range(PRELOAD, 10_000) for record in shop.records(number))
    stream = Stream(system, records, rate, seconds)
    state, views, changes = StateWatch(system), ViewWatch(system, stream.probes), ChangeWatch(system)
    watches = (state, views, changes)
    for thread in (*watches, stream):
        thread.start()
    with bar("streaming", seconds) as show:
        began = time.monotonic()
        while stream.is_alive():
            stream.join(1.0)
            show(time.monotonic() - began, f"{len(stream.timestamps):,} events")
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline and len(views.latencies) < len(stream.probes):
        time.sleep(0.1)
    for watch in watches:
        watch.stopping.set()
    for watch in watches:
        watch.join(10)
    stamps = stream.timestamps
    changed = changes.latencies(stamps)
    return {
        "rate": round(len(stamps) / seconds),
        "seconds": seconds,
        "event_to_state": summary(state.latencies(stamps), len(stamps)),
        "event_to_similar": summary(list(views.latencies.values()), len(stream.probes)),
        "event_to_interest_change": summary(changed, len(changed)),
    }


if __name__ == "__main__":
    main()

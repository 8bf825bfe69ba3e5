"""Driftline under a backlog: from the topic to the committed state of both stages, everything on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import psutil

from benchmarks import histograms
from benchmarks.display import bar
from benchmarks.load import Shop, produce
from benchmarks.machine import CpuMeter
from streams.broker import Broker
from streams.topics import BEHAVIOUR_EVENTS, ITEM_LINKS
from tests.system.harness import Process, System
from workers.local.process import free_port

RESERVE = 1.35  # backlog produced for each event we expect to be taken from it
VIEWS = ("similar", "interests")
SETTINGS_SHOWN = ("batch_max_records", "fetch_min_bytes", "fetch_max_wait_ms", "view_budget", "view_interval_s")


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is.

    seconds   measured
    warmup_s  under the same load before that
    workers   processes
    preload   shifts of events applied first, to fill rings and tables
    """

    seconds: float
    warmup_s: float
    workers: int
    preload: int


class Committed(NamedTuple):
    """What the checkpoints say at one moment.

    accepted  events whose stage 1 state is committed
    complete  events of which every link is committed as well: per source partition, the lowest source offset that
              every item partition has reached
    rows      link rows applied; an event has one row in each partition that owns its item or one of its neighbours
    left      events that still wait, by source partition
    """

    at: float
    accepted: int
    complete: int
    rows: int
    left: tuple[int, ...]


class Workers:
    """The worker processes of a run."""

    def __init__(self, system: System, count: int) -> None:
        self.ports: list[int] = []
        self.processes: list[Process] = []
        for number in range(1, count + 1):
            self.ports.append(free_port())
            web = {"DRIFTLINE_WEB_PORT": str(self.ports[-1])}
            self.processes.append(system.start("worker", name=f"worker-{number}", **web))

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def stop(self) -> None:
        for process in self.processes:
            process.stop()

    def check(self) -> None:
        """Raises RuntimeError with the end of its log if a worker is gone."""
        for process in self.processes:
            if process.code is not None:
                raise RuntimeError(f"a worker ended ({process.code}):\n{process.log.read_text()[-2000:]}")

    def memory_mb(self) -> int:
        return sum(psutil.Process(pid).memory_info().rss for pid in self.pids) // 2**20


class Run:
    """Workers on a backlog whose production is over."""

    def __init__(self, system: System, workers: Workers) -> None:
        self.system, self.workers = system, workers
        logs = Broker(system.settings).log_ranges(system.name(BEHAVIOUR_EVENTS), range(system.settings.user_partitions))
        self._ends = [logs[p].end for p in sorted(logs)]
        self.samples = [self.sample()]

    def sample(self) -> Committed:
        """What is committed now. Offsets count events: nothing but the load is on the topic."""
        found = sorted(self.system.checkpoints().items())
        users = [c for (topic, _), c in found if topic == self.system.name(BEHAVIOUR_EVENTS)]
        items = [c for (topic, _), c in found if topic == self.system.name(ITEM_LINKS)]
        return Committed(
            time.monotonic(),
            sum(c.accepted for c in users),
            sum(min(c.applied[source] + 1 for c in items) for source in range(len(users))),
            sum(c.accepted for c in items),
            tuple(end - c.watermark for end, c in zip(self._ends, users, strict=True)),
        )

    def follow(self, show: Callable[[Committed, str], None], done: Callable[[Committed], bool]) -> Committed:
        """Sample once a second until `done`; the last sample."""
        while True:
            before = self.samples[-1]
            time.sleep(max(0.0, before.at + 1.0 - time.monotonic()))
            self.workers.check()
            now = self.sample()
            self.samples.append(now)
            rate = (now.complete - before.complete) / (now.at - before.at)
            show(now, f"{rate:,.0f} events/s to both stages")
            if done(now):
                return now


def measure(system: System, shop: Shop, options: Options, servers: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """One run: preload, backlog, warm-up, measured window.

    servers  group -> process ids of the servers, whose CPU is part of the price of an event
    """
    preloaded = _produce(system, shop, range(options.preload))
    rate = _apply(system, options.workers)
    wanted = int(RESERVE * rate * (options.warmup_s + options.seconds))
    more = 1 + wanted * options.preload // preloaded
    _produce(system, shop, range(options.preload, options.preload + more))
    run = Run(system, Workers(system, options.workers))
    _warm_up(run, options.warmup_s)
    meter, before = CpuMeter({"workers": run.workers.pids, **servers}), histograms.scrape(run.workers.ports)
    _window(run, options.seconds)
    spent, other = meter.seconds(), meter.other_cores()
    counted = histograms.between(before, histograms.scrape(run.workers.ports))
    users, items = shop.coverage(range(options.preload))
    report = {
        **_rates(run.samples, spent),
        "other_cores": round(other, 2),
        "by_second": [round((b.complete - a.complete) / (b.at - a.at)) for a, b in pairwise(run.samples)],
        "preload": {"events": preloaded, "users": users, "items": items, "events_per_s": round(rate)},
        **_counted(counted, run.samples[-1].at - run.samples[0].at),
        "workers_mb": run.workers.memory_mb(),
        "settings": {name: getattr(system.settings, name) for name in SETTINGS_SHOWN},
    }
    run.workers.stop()
    return report


def _produce(system: System, shop: Shop, shifts: range) -> int:
    expected = len(shifts) * len(shop.shift(shifts.start))
    with bar("producing the load", expected) as show:
        return produce(system.settings, shop, shifts, lambda done: show(done, f"{done:,} events"))


def _apply(system: System, workers: int) -> float:
    """Let the workers apply everything that is on the topic, and stop them; events a second over the second half."""
    run = Run(system, Workers(system, workers))
    total = sum(run.samples[0].left)
    with bar("filling state", total) as show:
        last = run.follow(lambda now, text: show(total - sum(now.left), text), lambda now: not any(now.left))
    half = next(sample for sample in run.samples if sum(sample.left) <= total / 2)
    system.wait_until_applied()
    run.workers.stop()
    return (last.accepted - half.accepted) / max(last.at - half.at, 1.0)


def _warm_up(run: Run, warmup_s: float) -> None:
    """Until both stages move again, and `warmup_s` longer; only the last sample stays."""
    first = run.samples[0]
    with bar("starting", 1) as show:
        moved = run.follow(lambda _, text: show(0, text), lambda now: now.complete > first.complete)
    with bar("warming up", warmup_s) as show:
        run.follow(lambda now, text: show(now.at - moved.at, text), lambda now: now.at - moved.at >= warmup_s)
    run.samples = [run.sample()]


def _window(run: Run, seconds: float) -> None:
    """`seconds`, or less: it ends before the first partition's backlog does."""
    first = run.samples[0]

    def over(now: Committed) -> bool:
        most_taken = max(b - a for a, b in zip(now.left, run.samples[-2].left, strict=True))
        return now.at - first.at >= seconds or min(now.left) <= most_taken

    with bar("measuring Driftline", seconds) as show:
        run.follow(lambda now, text: show(now.at - first.at, text), over)


def _rates(samples: Sequence[Committed], spent: Mapping[str, float]) -> dict[str, Any]:
    first, last = samples[0], samples[-1]
    seconds, rows = last.at - first.at, last.rows - first.rows
    accepted, complete = last.accepted - first.accepted, last.complete - first.complete
    events = min(accepted, complete)
    by_process = {name: round(1e6 * cpu_s / max(1, events), 2) for name, cpu_s in spent.items()}
    return {
        "events_per_s": round(events / seconds),
        "stage1_per_s": round(accepted / seconds),
        "both_stages_per_s": round(complete / seconds),
        "link_rows_per_event": round(rows / max(1, complete), 2),
        "seconds": round(seconds, 1),
        "events": events,
        "cpu_us_per_event": round(sum(by_process.values()), 2),
        "cpu_us_by_process": by_process,
    }


def _counted(counted: histograms.Samples, seconds: float) -> dict[str, Any]:
    """What the workers' own metrics say about the window."""
    views = {view: histograms.total(counted, "driftline_views_written_total", view=view) for view in VIEWS}
    return {
        "flush": histograms.flushes(counted, seconds),
        "views_per_s": {view: round(count / seconds) for view, count in views.items()},
        "interest_changes": int(histograms.total(counted, "driftline_interest_changes_total")),
        "rejected": int(histograms.total(counted, "driftline_rejects_total")),
    }

"""Runs benchmarks/tutorial.py on the same topic and servers, and measures it from outside."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from benchmarks.display import bar
from benchmarks.driftline import Options
from benchmarks.machine import CpuMeter
from streams.topics import BEHAVIOUR_EVENTS
from tests.system.harness import Process, System
from workers.local.process import free_port

START_WITHIN_S = 60.0


def measure(system: System, servers: Mapping[str, Sequence[int]], options: Options) -> dict[str, Any]:
    """Events a second of the tutorial's processes in the measured window, after a warm-up of the same load."""
    url = system.settings.redis.get_secret_value()
    processes = [_start(system, url, system.folder / f"tutorial-{number}.log") for number in range(options.workers)]
    client = redis.Redis.from_url(url)
    try:
        base = _events(client)
        _wait(client, processes, base)
        time.sleep(options.warmup_s)
        meter = CpuMeter({"workers": [process.pid for process in processes], **servers})
        first, began = _events(client), time.monotonic()
        with bar("measuring the tutorial's way", options.seconds) as show:
            while (took := time.monotonic() - began) < options.seconds:
                time.sleep(1.0)
                show(took, f"{(_events(client) - first) / (time.monotonic() - began):,.0f} events/s")
        events, took, spent = _events(client) - first, time.monotonic() - began, meter.seconds()
        other = meter.other_cores()
    finally:
        client.close()
        for process in processes:
            process.kill()
    by_process = {name: round(1e6 * cpu / max(1, events), 1) for name, cpu in spent.items()}
    return {
        "events_per_s": round(events / took),
        "cpu_us_per_event": round(sum(by_process.values()), 1),
        "cpu_us_by_process": by_process,
        "other_cores": round(other, 2),
        "events": events,
        "seconds": round(took, 1),
    }


def _start(system: System, url: str, log: Path) -> Process:
    environment = {
        "TUTORIAL_KAFKA": system.settings.kafka,
        "TUTORIAL_REDIS": url,
        "TUTORIAL_TOPIC": system.name(BEHAVIOUR_EVENTS),
        "TUTORIAL_WEB_PORT": str(free_port()),
    }
    return Process([sys.executable, "-m", "benchmarks.tutorial", "worker", "-l", "warn"], environment, log)


def _wait(client: redis.Redis, processes: list[Process], base: int) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while _events(client) == base:
        if time.monotonic() > deadline or any(process.code is not None for process in processes):
            logs = "\n".join(process.log.read_text()[-2000:] for process in processes)
            raise RuntimeError(f"the tutorial does not start:\n{logs}")
        time.sleep(0.2)


def _events(client: redis.Redis) -> int:
    """SET commands so far: the tutorial sends exactly one an event, and nobody else writes meanwhile."""
    stats: dict[str, Any] = client.info("commandstats")
    return int(stats.get("cmdstat_set", {}).get("calls", 0))

"""The machine and what it spends: CPU seconds by group of processes, and how much of it goes to somebody else."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

CORES = 2


def pin() -> None:
    """Keep this process and all it starts on the first two cores, where the platform lets us."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):
        process.cpu_affinity(process.cpu_affinity()[:CORES])


class CpuMeter:
    """CPU seconds since the meter was made, by group.

    groups  name -> process ids; a process that ends meanwhile must not be in one
    """

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = {name: [psutil.Process(pid) for pid in pids] for name, pids in groups.items()}
        self._begun = self._now()
        self._others = self._busy_s() - sum(self._begun.values()) - self._own_s()
        self._at = time.monotonic()

    def seconds(self) -> dict[str, float]:
        """CPU seconds of each group."""
        now = self._now()
        return {name: now[name] - self._begun[name] for name in now}

    def other_cores(self) -> float:
        """Cores kept busy by processes that are in no group and not this one: other work on the machine, the kernel."""
        others = self._busy_s() - sum(self._now().values()) - self._own_s() - self._others
        return max(0.0, others / (time.monotonic() - self._at))

    def _now(self) -> dict[str, float]:
        return {name: sum(map(_cpu_s, processes)) for name, processes in self._groups.items()}

    @staticmethod
    def _own_s() -> float:
        return _cpu_s(psutil.Process())

    @staticmethod
    def _busy_s() -> float:
        times = psutil.cpu_times()
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def facts() -> dict[str, Any]:
    """What a reader needs to place a number."""
    return {
        "cpu": _cpu_model(),
        "cores_used": min(CORES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else CORES),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {
            name: version(name) for name in ("faust-streaming", "aiokafka", "confluent-kafka", "redis", "numba")
        },
    }


def _cpu_model() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or "unknown"

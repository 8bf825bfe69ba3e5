"""The workers' own histograms over a stretch of time: scraped from /metrics at both ends, subtracted, summed."""

from __future__ import annotations

import math
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""(sample name, sorted labels) -> value"""


def scrape(ports: Iterable[int]) -> Samples:
    """All samples of some workers, summed over the workers."""
    found: Samples = defaultdict(float)
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not sample.name.startswith("driftline_") or sample.name.endswith("_created"):
                    continue
                found[sample.name, tuple(sorted(sample.labels.items()))] += sample.value
    return found


def between(before: Samples, after: Samples) -> Samples:
    """What was counted in between."""
    return {key: value - before.get(key, 0.0) for key, value in after.items()}


def total(samples: Samples, name: str, **labels: str) -> float:
    """Sum of the samples of one name that carry these labels."""
    return sum(
        value for (found, have), value in samples.items() if found == name and labels.items() <= dict(have).items()
    )


def largest(samples: Samples, name: str, **labels: str) -> float:
    """The largest of the samples of one name that carry these labels, 0 if there is none."""
    return max(
        (value for (found, have), value in samples.items() if found == name and labels.items() <= dict(have).items()),
        default=0.0,
    )


def quantile(samples: Samples, name: str, q: float, **labels: str) -> float:
    """The q-quantile of a histogram, linear within its bucket; NaN without observations, the last bound at most."""
    buckets: dict[float, float] = {}
    for (found, have), value in samples.items():
        if found == f"{name}_bucket" and labels.items() <= dict(have).items():
            bound = float(dict(have)["le"])
            buckets[bound] = buckets.get(bound, 0.0) + value
    rank, lower, below = q * buckets.get(math.inf, 0.0), 0.0, 0.0
    if not rank:
        return math.nan
    for bound, count in sorted(buckets.items()):
        if count >= rank:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower


def flushes(samples: Samples, seconds: float) -> Mapping[str, Any]:
    """Flushes of both stages: how many a second, how large, and how long each step took, in ms."""
    report: dict[str, Any] = {}
    for stage in ("profiles", "neighbours"):
        count = total(samples, "driftline_flush_records_count", stage=stage)
        steps = {}
        for step in ("load", "decide", "emit", "commit"):
            done = total(samples, "driftline_flush_seconds_count", stage=stage, step=step)
            if done:
                mean = total(samples, "driftline_flush_seconds_sum", stage=stage, step=step) / done
                p50, p99 = (
                    quantile(samples, "driftline_flush_seconds", q, stage=stage, step=step) for q in (0.5, 0.99)
                )
                steps[step] = {"mean_ms": _ms(mean), "p50_ms": _ms(p50), "p99_ms": _ms(p99), "count": int(done)}
        records = total(samples, "driftline_flush_records_sum", stage=stage)
        report[stage] = {
            "per_s": round(count / seconds, 1),
            "records": round(records / max(count, 1), 1),
            "steps": steps,
        }
    return report


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)

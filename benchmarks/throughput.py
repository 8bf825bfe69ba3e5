"""`make bench`: events a second to the committed state of both stages, beside the tutorial's way and the ceiling.

One run on one machine with its own Kafka and Valkey; what is measured and what is not: docs/benchmarks.md.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import ceiling, driftline, machine, yardstick
from benchmarks.load import Shop, produce
from tests.system.harness import System
from workers.local.launcher import Servers

OUT = Path(__file__).parent / "out"
CONTENDERS = ("driftline", "tutorial", "ceiling")
WANTED_PER_S = 20_000
WANTED_RATIO = 10
PRELOAD = 18  # shifts: 2.7 million events of 60,000 shoppers on 110,000 items, and every ring of event ids is full
QUICK_PRELOAD = 2


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="Length of Driftline's measured window.")
@click.option("--warmup", default=10.0, show_default=True, help="Seconds under the same load before it.")
@click.option("--seed", default=1, show_default=True, help="Of the load.")
@click.option("--partitions", default=4, show_default=True, help="Of events, and of links.")
@click.option("--workers", default=2, show_default=True, help="Processes; both stages run in each.")
@click.option("--only", type=click.Choice(CONTENDERS), multiple=True, help="Leave the others out.")
@click.option("--quick", is_flag=True, help="A smoke test: 10 s, little state, no targets.")
def main(
    *, seconds: float, warmup: float, seed: int, partitions: int, workers: int, only: tuple[str, ...], quick: bool
) -> None:
    """Measure, print, and write benchmarks/out/throughput.json (another name for a run with --quick or --only).

    Exit code 1 if a full run misses the targets.
    """
    if quick:
        seconds, warmup = min(seconds, 10.0), min(warmup, 5.0)
    contenders = only or CONTENDERS
    options = driftline.Options(seconds, warmup, workers, QUICK_PRELOAD if quick else PRELOAD)
    machine.pin()
    report = _run(contenders, options, seed, partitions, quick=quick)
    full = not quick and set(contenders) == set(CONTENDERS)
    path = OUT / ("throughput.json" if full else f"throughput-{'quick' if quick else '-'.join(contenders)}.json")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    _show(report)
    print(f"written to {path}")
    missed = [] if quick else _missed(report)
    for line in missed:
        print(line, file=sys.stderr)
    sys.exit(1 if missed else 0)


def _run(
    contenders: tuple[str, ...], options: driftline.Options, seed: int, partitions: int, *, quick: bool
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python -m benchmarks.throughput", *sys.argv[1:]]),
        "seed": seed,
        "partitions": partitions,
        "workers": options.workers,
        "machine": machine.facts(),
    }
    shop = Shop(seed)
    counts = {"user_partitions": partitions, "item_partitions": partitions}
    production = {"session_timeout_ms": 10_000, "idle_check_s": 5.0}  # the defaults, not those of the tests
    with TemporaryDirectory(prefix="driftline-bench-") as name, Servers(environ={}) as servers:
        folder = Path(name)
        assert servers.kafka_server is not None
        assert servers.valkey is not None
        report["machine"]["servers"] = [f"Kafka {servers.kafka_server.version}", servers.valkey.version]
        pids = {"kafka": [servers.kafka_server.pid or 0], "redis": [servers.valkey.pid or 0]}
        with System(servers.kafka, servers.redis, "bench", folder, **counts, **production) as system:
            system.set_up()
            if "driftline" in contenders:
                report["driftline"] = driftline.measure(system, shop, options, pids)
            else:
                produce(system.settings, shop, range(4))
            if "tutorial" in contenders:
                shorter = replace(options, seconds=8.0 if quick else max(20.0, options.seconds / 2), warmup_s=3.0)
                report["tutorial"] = yardstick.measure(system, pids, shorter)
            if "ceiling" in contenders:
                report["ceiling"] = ceiling.measure(system.settings, options.workers, 10.0)
    if "driftline" in report and "tutorial" in report:
        report["ratio_to_tutorial"] = round(report["driftline"]["events_per_s"] / report["tutorial"]["events_per_s"], 1)
    return report


def _missed(report: dict[str, Any]) -> list[str]:
    missed = []
    rate, ratio = report.get("driftline", {}).get("events_per_s"), report.get("ratio_to_tutorial")
    if rate is not None and rate < WANTED_PER_S:
        missed.append(f"missed: {rate:,} events/s, {WANTED_PER_S:,} wanted")
    if ratio is not None and ratio < WANTED_RATIO:
        missed.append(f"missed: {ratio} times the tutorial's way, {WANTED_RATIO} wanted")
    return missed


def _show(report: dict[str, Any]) -> None:
    table = Table("", "events/s", "CPU µs/event", "workers", "kafka", "redis", "seconds")
    for name in CONTENDERS:
        if name in report:
            part = report[name]
            by_process = [
                str(part.get("cpu_us_by_process", {}).get(group, "")) for group in ("workers", "kafka", "redis")
            ]
            table.add_row(
                name, f"{part['events_per_s']:,}", str(part["cpu_us_per_event"]), *by_process, str(part["seconds"])
            )
    Console().print(table)
    if "ratio_to_tutorial" in report:
        print(f"{report['ratio_to_tutorial']} times the tutorial's way")


if __name__ == "__main__":
    main()

"""`python -m benchmarks.report`: put the newest results into docs/benchmarks.md, between its markers.

The page never holds numbers from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

OUT = Path(__file__).parent / "out"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
Report = dict[str, Any]


def throughput_table(report: Report) -> str:
    """Three rows: Driftline, the tutorial's way, the ceiling; and where they come from."""
    names = {
        "driftline": "Driftline, both stages committed",
        "tutorial": "the tutorial's way",
        "ceiling": "ceiling: consume and decode",
    }
    lines = [
        "| | events/s | CPU µs an event | workers | Kafka | Redis | measured |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for key, name in names.items():
        part = report[key]
        spent = part.get("cpu_us_by_process", {})
        split = " | ".join(str(spent.get(group, "")) for group in ("workers", "kafka", "redis"))
        lines.append(
            f"| {name} | {part['events_per_s']:,} | {part['cpu_us_per_event']} | {split} | {part['seconds']:.0f} s |"
        )
    preload, views = report["driftline"]["preload"], report["driftline"]["views_per_s"]
    summary = (
        f"{report['ratio_to_tutorial']} times the tutorial's way. Before the window: {preload['events']:,} events "
        f"of {preload['users']:,} shoppers on {preload['items']:,} items. "
        f"Views meanwhile: {views['similar']} `similar` and {views['interests']} `interests` a second."
    )
    return "\n".join([*lines, "", summary, "", _origin(report)])


def latency_table(report: Report) -> str:
    """Three rows of milliseconds."""
    names = {
        "event_to_state": "event → committed state of both stages",
        "event_to_interest_change": "event → interest change on its topic",
        "event_to_similar": "event → `similar` view of a new item",
    }
    lines = [
        "| from the record's timestamp | p50 | p99 | longest | seen | not seen |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for key, name in names.items():
        part = report[key]
        times = " | ".join(f"{part[q]:,} ms" if q in part else "" for q in ("p50_ms", "p99_ms", "max_ms"))
        lines.append(f"| {name} | {times} | {part['count']:,} | {part['missing']:,} |")
    return "\n".join(
        [*lines, "", f"At {report['rate']:,} events/s for {report['seconds']:.0f} s.", "", _origin(report)]
    )


def _origin(report: Report) -> str:
    m = report["machine"]
    servers = "".join(f", {server}" for server in m.get("servers", ()))
    busy = report.get("driftline", {}).get("other_cores")
    others = "" if busy is None else f"; other work on the machine took {busy} cores meanwhile"
    where = f"{m['cores_used']} shared cores ({m['cpu']}) for workers and servers together, {m['memory_gb']} GB"
    return f"`{report['command']}`, {report['date']}, {where}, {m['system']}, Python {m['python']}{servers}{others}."


def fill(page: str, name: str, text: str) -> str:
    """The page with the text between its markers of that name.

    >>> fill("a\\n<!-- x -->\\nold\\n<!-- /x -->\\nb", "x", "new")
    'a\\n<!-- x -->\\nnew\\n<!-- /x -->\\nb'
    """
    marked = re.compile(f"(<!-- {name} -->\\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not marked.search(page):
        raise ValueError(f"the page has no markers for {name}")
    return marked.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page)


def main() -> None:
    """Fill in whatever results there are."""
    page = PAGE.read_text()
    tables: dict[str, Callable[[Report], str]] = {"throughput": throughput_table, "latency": latency_table}
    for name, table in tables.items():
        path = OUT / f"{name}.json"
        if path.exists():
            page = fill(page, name, table(msgspec.json.decode(path.read_bytes())))
            print(f"{PAGE.name}: {name} from {path}")
        else:
            print(f"{path} is missing: run `python -m benchmarks.{name}`; its table stays as it is")
    PAGE.write_text(page)


if __name__ == "__main__":
    main()

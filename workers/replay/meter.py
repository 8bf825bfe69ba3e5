"""Progress of a replay on stderr: a bar on a terminal, else a line every few seconds; and the summary at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from schemas.times import rfc3339
from workers.replay.reading import Tally
from workers.replay.send import Progress

LINE_EVERY_S: Final = 5.0
_BAR_EVERY_S: Final = 0.1


class Meter(Protocol):
    """Shows how far a replay is."""

    def reading(self, tally: Tally) -> None:
        """Rows are being read and ordered."""

    def sending(self, progress: Progress, total: int | None) -> None:
        """Rows are being sent; `total` of them at most, None if that is not known."""


@contextmanager
def meter(*, quiet: bool = False) -> Iterator[Meter]:
    """A meter that fits stderr; a quiet one shows nothing."""
    if quiet or not sys.stderr.isatty():
        yield _Lines(quiet=quiet)
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    with Bars(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    ) as bars:  # fmt: skip
        yield _Bar(bars)


def text_of(progress: Progress, rate: float) -> str:
    """One line: events sent, events a second, event time reached."""
    reached = f", event time {rfc3339(progress.time_ms)}" if progress.time_ms else ""
    return f"{progress.sent:,} events, {rate:,.0f} events/s{reached}"


def summary(progress: Progress, tally: Tally, seconds: float, on_error: str) -> str:
    """What a replay came to, for people."""
    rate = progress.sent / seconds if seconds else 0.0
    lines = [f"sent        {progress.sent:,} events in {seconds:.1f} s, {rate:,.0f} events/s"]
    if progress.time_ms:
        lines.append(f"event time  {rfc3339(progress.time_ms)} reached")
    if progress.known:
        lines.append(f"known       {progress.known:,} events were on the topic already, from the interrupted run")
    if progress.broken:
        kept = "to the dead letters" if on_error == "dead-letter" else "skipped"
        by_reason = ", ".join(f"{reason} {count:,}" for reason, count in sorted(progress.broken.items()))
        lines.append(f"broken      {sum(progress.broken.values()):,} rows {kept}: {by_reason}")
    if tally.left_out:
        by_reason = ", ".join(f"{reason} {count:,}" for reason, count in sorted(tally.left_out.items()))
        lines.append(f"left out    {sum(tally.left_out.values()):,} rows: {by_reason}")
    return "\n".join(lines)


class _Speed:
    """Events a second since the last time it was asked."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._sent = 0

    def due(self, every_s: float) -> bool:
        return time.monotonic() - self._at >= every_s

    def take(self, sent: int) -> float:
        now = time.monotonic()
        rate = (sent - self._sent) / max(now - self._at, 1e-9)
        self._at, self._sent = now, sent
        return rate


class _Lines:
    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._speed = _Speed()

    def reading(self, tally: Tally) -> None:
        if self._speed.due(LINE_EVERY_S) and not self._quiet:
            self._speed.take(0)
            print(f"reading: {tally.rows:,} rows", file=sys.stderr, flush=True)

    def sending(self, progress: Progress, total: int | None) -> None:
        if self._speed.due(LINE_EVERY_S) and not self._quiet:
            of = "" if total is None else f" of {total:,} rows"
            line = f"replay: {progress.position:,}{of}; {text_of(progress, self._speed.take(progress.sent))}"
            print(line, file=sys.stderr, flush=True)


class _Bar:
    def __init__(self, bars: object) -> None:
        from rich.progress import Progress as Bars

        assert isinstance(bars, Bars)
        self._bars = bars
        self._task = bars.add_task("reading", total=None, text="")
        self._speed = _Speed()

    def reading(self, tally: Tally) -> None:
        if self._speed.due(_BAR_EVERY_S):
            self._speed.take(0)
            self._bars.update(self._task, text=f"{tally.rows:,} rows")

    def sending(self, progress: Progress, total: int | None) -> None:
        if self._speed.due(_BAR_EVERY_S) or progress.finished:
            text = text_of(progress, self._speed.take(progress.sent))
            self._bars.update(self._task, description="replay", total=total, completed=progress.position, text=text)

"""Progress on stderr: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY_S = 5.0
Show = Callable[[float, str], None]
"""Called with how much is done and a few words about it."""


@contextmanager
def bar(title: str, total: float) -> Iterator[Show]:
    """A progress bar; `total` in the unit of what `Show` is told."""
    if not sys.stderr.isatty():
        yield _lines(title, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, text="")
        yield lambda done, text: progress.update(task, completed=done, text=text)


def _lines(title: str, total: float) -> Show:
    shown_at = time.monotonic() - LINE_EVERY_S

    def show(done: float, text: str) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at >= LINE_EVERY_S:
            shown_at = time.monotonic()
            print(f"{title}: {min(1.0, done / total):.0%} {text}", file=sys.stderr, flush=True)

    return show

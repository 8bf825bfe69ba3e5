"""Progress of a download on stderr: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_LINE_EVERY_S = 5.0


class Meter(Protocol):
    """Counts jars and bytes; safe to call from several threads."""

    def jar(self) -> None:
        """One more jar is complete."""

    def bytes(self, count: int) -> None:
        """`count` more bytes arrived."""


class _Lines:
    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._jars = self._bytes = 0
        self._next_line = time.monotonic() + _LINE_EVERY_S
        self._lock = threading.Lock()
        print(f"{title}: fetching {total} jars (once) ...", file=sys.stderr, flush=True)

    def jar(self) -> None:
        with self._lock:
            self._jars += 1
            now = time.monotonic()
            if now >= self._next_line or self._jars == self._total:
                self._next_line = now + _LINE_EVERY_S
                line = f"{self._title}: {self._jars} of {self._total} jars, {self._bytes / 1e6:.1f} MB"
                print(line, file=sys.stderr, flush=True)

    def bytes(self, count: int) -> None:
        with self._lock:
            self._bytes += count


@contextmanager
def meter(title: str, total: int) -> Iterator[Meter]:
    """A meter for `total` jars."""
    if not sys.stderr.isatty():
        yield _Lines(title, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("jars"),
        TextColumn("{task.fields[megabytes]:.1f} MB"), TimeElapsedColumn(), console=Console(stderr=True),
    ) as progress:  # fmt: skip
        task = progress.add_task(title, total=total, megabytes=0.0)
        received = 0
        lock = threading.Lock()

        class Bar:
            def jar(self) -> None:
                progress.advance(task)

            def bytes(self, count: int) -> None:
                nonlocal received
                with lock:
                    received += count
                    progress.update(task, megabytes=received / 1e6)

        yield Bar()

"""Rows in event-time order with bounded memory: sorted runs on disk, merged.

Order: by event time; equal times stay as they stand in the file. Python's sort and `heapq.merge` are both stable, and
runs are cut and merged in file order, so the result equals one stable sort of everything.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec

from workers.replay.rows import Row

RUN_BYTES: Final = 128 << 20
"""Memory for rows under way, roughly; a row counts as its value's size and 300 bytes."""
FAN_IN: Final = 64
"""Runs merged at once: each is an open file."""
_ROW_OVERHEAD: Final = 300
_TIME = attrgetter("time_ms")
_LENGTH_BYTES: Final = 4

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Row] = msgspec.msgpack.Decoder(Row)


class OutOfOrderError(Exception):
    """A file said to be in order is not; the message names the line."""


@contextmanager
def by_time(
    read: Callable[[], Iterator[Row]], *, twice: bool = True, run_bytes: int = RUN_BYTES, directory: Path | None = None
) -> Iterator[Iterator[Row]]:
    """The rows of `read()` in event-time order. Nothing is yielded before all of them were read once.

    read       starts over from the first row
    twice      whether `read` can be called again: then a large file that is already in order needs no disk
    run_bytes  memory to use, bytes (see RUN_BYTES)
    directory  where sorted runs go while the context is open; None: the system's temporary directory

    Whatever `read` raises passes through, before the first row is yielded.
    """
    rows = read()
    head, more = _take(rows, run_bytes)
    if not more:
        yield iter(sorted(head, key=_TIME))
        return
    if twice and _is_ordered(chain(head, rows)):
        del head
        yield read()
        return
    if twice:
        rows = read()
        head, _ = _take(rows, run_bytes)
    with tempfile.TemporaryDirectory(prefix="driftline-replay-", dir=directory) as folder:
        yield _merged(_runs(head, rows, run_bytes, Path(folder)), Path(folder))


def asserted(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows as they come. Raises OutOfOrderError at the first that is earlier than the one before it."""
    before_ms = 0
    for row in rows:
        if row.time_ms < before_ms:
            raise OutOfOrderError(f"line {row.line}: its time is before that of the row above; leave out --in-order")
        before_ms = row.time_ms
        yield row


def _take(rows: Iterator[Row], run_bytes: int) -> tuple[list[Row], bool]:
    """As many rows as fit into `run_bytes`, and whether there may be more."""
    taken: list[Row] = []
    size = 0
    for row in rows:
        taken.append(row)
        size += _ROW_OVERHEAD + len(row.value if hasattr(row, "value") else row.raw)
        if size >= run_bytes:
            return taken, True
    return taken, False


def _is_ordered(rows: Iterable[Row]) -> bool:
    try:
        for _ in asserted(rows):
            pass
    except OutOfOrderError:
        return False
    return True


def _runs(head: list[Row], rows: Iterator[Row], run_bytes: int, folder: Path) -> list[Path]:
    paths: list[Path] = []
    while head:
        head.sort(key=_TIME)
        paths.append(_written(head, folder / f"run-{len(paths)}"))
        head.clear()  # before the next run fills: one run in memory, not two
        head, _ = _take(rows, run_bytes)
    return paths


def _merged(runs: list[Path], folder: Path) -> Iterator[Row]:
    """One ordered stream of all runs. More than FAN_IN are merged into longer ones first, neighbours together."""
    level = 0
    while len(runs) > FAN_IN:
        level += 1
        longer = []
        for start in range(0, len(runs), FAN_IN):
            group = runs[start : start + FAN_IN]
            longer.append(_written(_merge(group), folder / f"run-{level}-{start}"))
            for path in group:
                path.unlink()
        runs = longer
    return _merge(runs)


def _merge(runs: Iterable[Path]) -> Iterator[Row]:
    return heapq.merge(*map(_read, runs), key=_TIME)


def _written(rows: Iterable[Row], path: Path) -> Path:
    with path.open("wb") as stream:
        for row in rows:
            packed = _encoder.encode(row)
            stream.write(len(packed).to_bytes(_LENGTH_BYTES, "little"))
            stream.write(packed)
    return path


def _read(path: Path) -> Iterator[Row]:
    with path.open("rb") as stream:
        while length := stream.read(_LENGTH_BYTES):
            yield _decoder.decode(stream.read(int.from_bytes(length, "little")))

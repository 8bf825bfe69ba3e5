"""The replay itself: rows in, records out, in batches that are acknowledged before the position moves on."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from workers.replay.pace import Clock, Pace
from workers.replay.rows import Broken, Event, Row

BATCH_ROWS: Final = 1000
BATCH_S: Final = 1.0
_SLICE_S: Final = 0.2
"""The longest sleep in one piece: a request to stop is heard within it."""


class Sink(Protocol):
    """Where rows go: Kafka, or a list in tests."""

    def send(self, row: Row) -> None:
        """Takes a row on its way. A broken one goes to the dead letters, or nowhere, as the sink was told."""

    def flush(self) -> None:
        """Returns once everything sent is acknowledged. Raises SendError otherwise."""


class SendError(Exception):
    """Kafka did not take a record; the message says which and why."""


@dataclass(slots=True)
class Progress:
    """How far a replay has come.

    position  rows done since the first of the file in event-time order, those of earlier runs included
    sent      events acknowledged in this run
    broken    broken rows by reason, in this run
    known     events passed over since an interrupted run had already got them through
    time_ms   event time reached, epoch ms; 0 before the first row
    finished  whether the last row was reached
    """

    position: int = 0
    sent: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    known: int = 0
    time_ms: int = 0
    finished: bool = False


def replay(
    rows: Iterable[Row],
    sink: Sink,
    *,
    pace: Pace | None = None,
    position: int = 0,
    known: Container[bytes] = (),
    on_ack: Callable[[Progress], object] = bool,
    stopped: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> Progress:
    """Sends rows in the order given and returns how far it came.

    rows      those still to send; ordered by event time (see order.by_time)
    position  how many rows of the same sequence were done before
    known     values (bytes) that are on the topic already: passed over
    on_ack    called after every batch of at most BATCH_ROWS rows and about BATCH_S seconds, all acknowledged
    stopped   asked before every row; True ends the replay after a last batch

    Raises SendError when a record is not acknowledged; what `on_ack` was last told holds.
    """
    pace, clock = pace or Pace(), clock or Clock()
    done = Progress(position=position)
    batch = _Batch(done, sink, on_ack, clock)
    try:
        for row in rows:
            while (wait_s := pace.wait_s(row.time_ms, clock.now())) > 0 and not stopped():
                batch.settle_if_old()
                clock.sleep(min(wait_s, _SLICE_S))
            if stopped():
                break
            batch.add(row, is_known=isinstance(row, Event) and row.value in known)
            pace.took(clock.now())
        else:
            done.finished = not stopped()
    finally:
        batch.settle()
    return done


class _Batch:
    """Rows sent and not yet acknowledged."""

    def __init__(self, done: Progress, sink: Sink, on_ack: Callable[[Progress], object], clock: Clock) -> None:
        self._done = done
        self._sink = sink
        self._on_ack = on_ack
        self._clock = clock
        self._open: list[Row] = []
        self._known = 0
        self._settled_at = clock.now()

    def add(self, row: Row, *, is_known: bool) -> None:
        if is_known:
            self._known += 1
        else:
            self._sink.send(row)
        self._open.append(row)
        if len(self._open) >= BATCH_ROWS:
            self.settle()
        else:
            self.settle_if_old()

    def settle_if_old(self) -> None:
        if self._open and self._clock.now() - self._settled_at >= BATCH_S:
            self.settle()

    def settle(self) -> None:
        self._sink.flush()
        done = self._done
        broken = 0
        for row in self._open:
            if isinstance(row, Broken):
                broken += 1
                done.broken[row.reason] = done.broken.get(row.reason, 0) + 1
        if self._open:
            done.time_ms = self._open[-1].time_ms
        done.position += len(self._open)
        done.sent += len(self._open) - broken - self._known
        done.known += self._known
        self._open.clear()
        self._known = 0
        self._settled_at = self._clock.now()
        self._on_ack(done)

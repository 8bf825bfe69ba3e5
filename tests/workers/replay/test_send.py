"""The position moves only over acknowledged rows, in order; a stop settles what is under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from workers.replay.pace import Clock, Pace
from workers.replay.rows import Broken, Event, Row
from workers.replay.send import BATCH_ROWS, Progress, SendError, replay


@dataclass
class Ledger:
    """A sink: what was taken, what of it is acknowledged; fails at the flush number `fails_at`."""

    fails_at: int = 10**9
    open: list[Row] = field(default_factory=list)
    acknowledged: list[Row] = field(default_factory=list)
    flushes: int = 0

    def send(self, row: Row) -> None:
        self.open.append(row)

    def flush(self) -> None:
        self.flushes += 1
        if self.flushes >= self.fails_at:
            raise SendError("no")
        self.acknowledged += self.open
        self.open.clear()


def events(count: int) -> list[Row]:
    return [Event(n, 1000 * n, "u", str(n).encode()) for n in range(count)]


def test_no_more_than_a_batch_is_ever_unacknowledged() -> None:
    ledger = Ledger()
    positions: list[int] = []

    def on_ack(progress: Progress) -> None:
        assert progress.position == len(ledger.acknowledged)
        positions.append(progress.position)

    done = replay(events(2500), ledger, on_ack=on_ack)
    assert positions == [BATCH_ROWS, 2 * BATCH_ROWS, 2500]
    assert done == Progress(position=2500, sent=2500, time_ms=2_499_000, finished=True)


def test_a_stop_sends_the_rest_of_the_batch_and_says_how_far_it_came() -> None:
    ledger = Ledger()
    done = replay(events(5000), ledger, stopped=lambda: len(ledger.open) + len(ledger.acknowledged) >= 1234)
    assert (done.position, done.finished, len(ledger.acknowledged), ledger.open) == (1234, False, 1234, [])


def test_a_failed_batch_does_not_move_the_position() -> None:
    told: list[int] = []
    with pytest.raises(SendError):
        replay(events(2500), Ledger(fails_at=2), on_ack=lambda progress: told.append(progress.position))
    assert told == [BATCH_ROWS]


def test_a_slow_replay_remembers_at_least_once_a_second() -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    told: list[float] = []
    rows = [Event(n, 300 * n, "u", b"") for n in range(20)]
    clock = Clock(now=lambda: now, sleep=sleep)
    replay(rows, Ledger(), pace=Pace(speed=1), clock=clock, on_ack=lambda _: told.append(now))
    assert all(later - earlier < 1.5 for earlier, later in pairwise(told))


def test_broken_rows_count_and_known_events_are_passed_over() -> None:
    ledger = Ledger()
    rows: list[Row] = [*events(3), Broken(9, 2000, b"?", "bad-time", "time: bad")]
    done = replay(rows, ledger, position=10, known={b"1"})
    assert [row.line for row in ledger.acknowledged] == [0, 2, 9]
    assert (done.position, done.sent, done.known, done.broken) == (14, 2, 1, {"bad-time": 1})

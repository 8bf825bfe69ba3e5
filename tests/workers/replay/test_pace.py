"""Pace: as in the data but faster, or so many a second; time is turned by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from workers.replay.pace import BURST_S, Clock, Pace
from workers.replay.rows import Event, Row
from workers.replay.send import replay


@dataclass
class Hands:
    """A clock that moves only when slept on."""

    now_s: float = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now_s, sleep=self.sleep)


@dataclass
class Diary:
    """A sink that notes when each row came."""

    hands: Hands
    sent_at: list[float] = field(default_factory=list)

    def send(self, row: Row) -> None:
        self.sent_at.append(round(self.hands.now_s - 1000.0, 6))

    def flush(self) -> None: ...


def sent_at(times_s: list[float], *, speed: float | None = None, rate: float | None = None) -> list[float]:
    hands = Hands()
    diary = Diary(hands)
    rows = [Event(n, int(time * 1000), "u", b"{}") for n, time in enumerate(times_s)]
    replay(rows, diary, pace=Pace(speed=speed, rate=rate), clock=hands.clock())
    return diary.sent_at


def test_without_a_pace_nothing_waits() -> None:
    assert sent_at([0, 3600, 7200]) == [0, 0, 0]


def test_speed_keeps_the_pauses_of_the_data() -> None:
    assert sent_at([100, 100, 160, 3760], speed=60) == [0, 0, 1, 61]


def test_a_rate_spreads_events_evenly() -> None:
    assert sent_at([0] * 5, rate=4) == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


def test_the_slower_of_both_rules() -> None:
    assert sent_at([0, 0, 10], speed=1, rate=0.5) == pytest.approx([0, 2, 10])


def test_a_stall_is_not_made_up_beyond_a_short_burst() -> None:
    pace = Pace(rate=100)
    assert pace.wait_s(0, 0.0) == 0
    pace.took(0.0)
    now = 60.0  # the broker was away for a minute
    burst = 0
    while pace.wait_s(0, now) == 0:
        pace.took(now)
        burst += 1
    assert burst <= 100 * BURST_S + 1

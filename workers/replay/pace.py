"""When the next event is due: as fast as possible, at a rate, or as in the data but faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BURST_S: Final = 0.1
"""How much of a rate may be made up after a stall, in seconds of that rate."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time a replay lives by, so that tests can turn the hands.

    now    monotonic seconds
    sleep  waits about that many seconds
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Pace:
    """Decides how long to wait before the next event. Both limits may be set; the slower one rules.

    speed  event time runs this many times faster than the clock, > 0; pauses in the data are kept. None: no such tie
    rate   events a second at most, > 0; after a stall at most BURST_S of it is made up. None: no limit

    >>> pace = Pace(speed=60.0)
    >>> pace.wait_s(0, now=100.0), pace.wait_s(120_000, now=100.5)
    (0.0, 1.5)
    """

    def __init__(self, *, speed: float | None = None, rate: float | None = None) -> None:
        self._speed = speed
        self._rate = rate
        self._origin: tuple[int, float] | None = None
        self._next = 0.0

    def wait_s(self, time_ms: int, now: float) -> float:
        """Seconds from `now` until an event of `time_ms` is due; 0 when it is. Repeat until it says 0, then `took`."""
        if self._origin is None:
            self._origin = (time_ms, now)
            self._next = now
        due = now
        if self._speed is not None:
            first_ms, started = self._origin
            due = started + (time_ms - first_ms) / 1000 / self._speed
        if self._rate is not None:
            due = max(due, self._next)
        return max(0.0, due - now)

    def took(self, now: float) -> None:
        """An event was sent at `now`."""
        if self._rate is not None:
            self._next = max(self._next, now - BURST_S) + 1 / self._rate

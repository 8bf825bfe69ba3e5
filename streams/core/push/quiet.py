"""Quiet hours: whether a moment lies in them, and when they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.user_settings import QuietHours

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def quiet_until(now_ms: int, hours: QuietHours | None) -> int | None:
    """When the quiet hours that hold `now_ms` end, epoch ms; None if they do not hold it.

    [start, end) by the user's local clock; over midnight if `end` is smaller, none if the two are equal. An end that a
    clock change repeats is the later of the two; one that it skips comes up to an hour later.

    >>> noon = 1_772_362_800_000  # 2026-03-01 11:00 UTC, 12:00 in Berlin
    >>> quiet_until(noon, QuietHours("11:30", "13:00", "Europe/Berlin")) - noon
    3600000
    >>> quiet_until(noon, QuietHours("11:30", "12:00", "Europe/Berlin")) is None
    True
    """
    if hours is None or hours.start == hours.end:
        return None
    start, end = hours.start_minute, hours.end_minute
    zone = zone_of(hours.time_zone)
    local = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone)
    minute = local.hour * 60 + local.minute
    if not _inside(minute, start, end):
        return None
    days = 1 if start > end and minute >= start else 0
    day = local.date() + timedelta(days=days)
    return max(_to_ms(datetime(day.year, day.month, day.day, end // 60, end % 60, fold=f, tzinfo=zone)) for f in (0, 1))


def _inside(minute: int, start: int, end: int) -> bool:
    return start <= minute < end if start < end else minute >= start or minute < end


def _to_ms(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The zone by its IANA name; UTC for one this machine does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")

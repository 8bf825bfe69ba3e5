"""The one way a point in time is written: RFC 3339 with an offset, or epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schemas.fields import shown
from schemas.reasons import Reason, Refused

EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01T00:00:00Z, the first accepted
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01T00:00:00Z, the first refused
SECONDS_BELOW: Final = 1e11  # in ms: 1973; in s: the year 5138

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?P<offset>[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?", re.ASCII
)


def time_ms(field: str, value: Any) -> int:
    """Epoch milliseconds of an RFC 3339 string (with offset; digits below a millisecond are cut) or a whole number.

    Raises Refused: `wrong-type`, `seconds-not-ms` or `bad-time`.

    >>> time_ms("time", "2026-03-01T12:00:00.5+01:00"), time_ms("time", 1_772_362_800_500.0)
    (1772362800500, 1772362800500)
    """
    if type(value) is str:
        ms = _from_rfc3339(field, value)
    elif type(value) is int or type(value) is float:
        ms = _from_number(field, value)
    else:
        raise Refused(Reason.WRONG_TYPE, f"{field} = {shown(value)}: send epoch milliseconds or an RFC 3339 string")
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise Refused(Reason.BAD_TIME, f"{field} = {shown(value)}: send a time in 2000-01-01..2100-01-01")
    return ms


def rfc3339(ms: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC.

    >>> rfc3339(1_772_362_800_500)
    '2026-03-01T11:00:00.500Z'
    """
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _from_number(field: str, value: float) -> int:
    if value < SECONDS_BELOW:
        raise Refused(Reason.SECONDS_NOT_MS, f"{field} = {shown(value)}: below 1e11; send milliseconds, not seconds")
    if type(value) is float and not value.is_integer():
        raise Refused(Reason.BAD_TIME, f"{field} = {shown(value)}: send whole milliseconds")
    return int(value)


def _from_rfc3339(field: str, value: str) -> int:
    match = _RFC3339.fullmatch(value)
    if match is None:
        raise Refused(Reason.BAD_TIME, f"{field} = {shown(value)}: send YYYY-MM-DDThh:mm:ss[.fff] with Z or an offset")
    if match["offset"] is None:
        raise Refused(Reason.BAD_TIME, f"{field} = {shown(value)}: has no offset; append Z or one such as +01:00")
    try:
        since = datetime.fromisoformat(value.upper()) - _EPOCH
    except (ValueError, OverflowError):
        raise Refused(Reason.BAD_TIME, f"{field} = {shown(value)}: no such day or time") from None
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000

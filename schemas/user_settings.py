"""user-settings.v1: what a user asks of notifications, newest record wins. Keyed by `user_id`."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, Final
from zoneinfo import available_timezones

import msgspec
from msgspec import Meta

from schemas.fields import Contract, Id, flag, integer, missing, named, shown
from schemas.reasons import Reason, Refused, Rejection
from schemas.wire import LooseDecoder, decode_fields

CAP_MAX: Final = 100
ZONE_MAX: Final = 64

ClockTime = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""Local wall-clock time, "HH:MM", 00:00..23:59."""


class QuietHours(msgspec.Struct, frozen=True, gc=False):
    """The part of every local day in which nothing is sent.

    start      "HH:MM", included
    end        "HH:MM", not included; before `start`: over midnight
    time_zone  IANA name, such as "Europe/Berlin"
    """

    start: ClockTime
    end: ClockTime
    time_zone: Annotated[str, Meta(min_length=1, max_length=ZONE_MAX)]

    @property
    def start_minute(self) -> int:
        """Minute of the local day, 0..1439."""
        return _minute(self.start)

    @property
    def end_minute(self) -> int:
        """Minute of the local day, 0..1439."""
        return _minute(self.end)


class UserSettings(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One user's settings; a later record replaces all of them, one without a value restores the defaults.

    user_id       the record's key
    push_enabled  False: no notification at all
    quiet_hours   None: none
    cap_per_day   notifications in any 24 hours, 0..100; None: the operator's cap. It can only lower that one.
    """

    user_id: Id
    push_enabled: bool
    quiet_hours: QuietHours | None = None
    cap_per_day: Annotated[int, Meta(ge=0, le=CAP_MAX)] | None = None


def decode_user_settings(raw: bytes | None, *, max_bytes: int) -> UserSettings | Rejection:
    """A user's settings, or why they are refused: `bad-settings`, or a fault of the bytes. Never raises.

    A tombstone is `empty` here: whoever holds the key knows whose settings are gone.

    >>> decode_user_settings(b'{"user_id": "u1", "push_enabled": false}', max_bytes=65536)
    UserSettings(user_id='u1', push_enabled=False, quiet_hours=None, cap_per_day=None)
    """
    values = decode_fields(raw, max_bytes, _loose, _CONTRACT, Reason.BAD_SETTINGS)
    return values if isinstance(values, Rejection) else UserSettings(**values)


@cache
def zones() -> frozenset[str]:
    """Every IANA time zone of this machine's database."""
    return frozenset(available_timezones())


def _minute(clock: str) -> int:
    return 60 * int(clock[:2]) + int(clock[3:])


def _quiet_hours(field: str, value: Any) -> QuietHours:
    if type(value) is not dict:
        raise Refused(Reason.WRONG_TYPE, f"{field} = {shown(value)}: send an object of start, end and time_zone")
    for part in ("start", "end", "time_zone"):
        if value.get(part) is None:
            raise missing(f"{field}.{part}")
    hours = QuietHours(
        _clock(f"{field}.start", value["start"]),
        _clock(f"{field}.end", value["end"]),
        str(named(ZONE_MAX)(f"{field}.time_zone", value["time_zone"])),
    )
    if hours.time_zone not in zones():
        raise Refused(Reason.BAD_VALUE, f"{field}.time_zone = {shown(hours.time_zone)}: send an IANA name")
    if hours.start == hours.end:
        raise Refused(Reason.BAD_VALUE, f"{field}: start equals end; for silence all day send push_enabled false")
    return hours


def _clock(field: str, value: Any) -> str:
    if type(value) is not str or not _CLOCK.fullmatch(value):
        raise Refused(Reason.BAD_VALUE, f'{field} = {shown(value)}: send "HH:MM", 00:00..23:59')
    return value


_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_CONTRACT: Final[Contract] = (
    ("user_id", named(), True),
    ("push_enabled", flag, True),
    ("quiet_hours", _quiet_hours, False),
    ("cap_per_day", integer(0, CAP_MAX), False),
)
_loose = LooseDecoder(UserSettings)

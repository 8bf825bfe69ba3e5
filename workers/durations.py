"""Durations on the command line: 90s, 15m, 2h, 1826d."""

from __future__ import annotations

import re
from typing import Any, Final

import click

_UNIT_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(-?\d{1,9})([smhd])", re.ASCII)


class Duration(click.ParamType):
    """An option's value in milliseconds, from a whole number and a unit: s, m, h or d.

    >>> Duration().convert("2h", None, None)
    7200000
    """

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r}: write a whole number and s, m, h or d, such as 2h", param, ctx)
        return int(match[1]) * _UNIT_MS[match[2]]

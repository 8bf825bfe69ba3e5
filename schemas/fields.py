"""The kinds of field every message is made of: constrained types for speed, and checks that explain for the slow path.

A check takes the field's name and what JSON held, returns the value as the contract means it, or raises Refused. A
table of checks is a message's contract, and `conform` applies it. Lengths count code points, as in JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta

from schemas.reasons import Reason, Refused

ID_MAX: Final = 128
LEVEL_MAX: Final = 64
LEVELS_MAX: Final = 8
SEPARATOR: Final = " > "
AMOUNT_MAX: Final = 1e9
QUANTITY_MAX: Final = 1_000_000

Id = Annotated[str, Meta(min_length=1, max_length=ID_MAX)]
"""Any id: 1..128 characters, not blank, never trimmed."""
Path = Annotated[str, Meta(min_length=1, max_length=LEVELS_MAX * LEVEL_MAX + (LEVELS_MAX - 1) * len(SEPARATOR))]
"""A category in canonical form: levels joined by " > "."""
Amount = Annotated[float, Meta(ge=0, le=AMOUNT_MAX)]
"""A price in its currency's major unit, or a rating in the shop's own scale."""
EpochMs = Annotated[int, Meta(ge=946_684_800_000, lt=4_102_444_800_000)]
"""Milliseconds since 1970-01-01T00:00Z, within 2000-01-01..2100-01-01."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def shown(value: object) -> str:
    """A value for an error message: never longer than about 60 characters, whatever came in.

    >>> shown("x" * 500)[-3:], shown([1, 2]), shown(10**400), shown(None)
    ("x'…", 'an array of 2', 'an integer of 1329 bits', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else f"{value[:40]!r}…"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


Check = Callable[[str, Any], Any]
"""check(field name, what JSON held, never null) -> the value as the contract means it; raises Refused."""

Contract = tuple[tuple[str, Check, bool], ...]
"""(JSON name, check, required) of every known field, in the order faults are looked for."""


def conform(loose: Any, contract: Contract) -> dict[str, Any]:
    """The fields that are there, checked and normalised. Null says absent.

    Raises Refused for the first fault: `missing-field`, or what the field's check says.
    """
    values = {}
    for field, check, required in contract:
        value = getattr(loose, field)
        if value is not None and value is not UNSET:
            values[field] = check(field, value)
        elif required:
            raise missing(field)
    return values


def missing(field: str, why: str = "") -> Refused:
    """Refused `missing-field`, to be raised."""
    return Refused(Reason.MISSING_FIELD, f"{field}: absent or null; it is required{why}")


def text(most: int) -> Check:
    """A string of at most `most` characters without control characters: `wrong-type`, `too-long`, `bad-value`."""

    def check(field: str, value: Any) -> str:
        if type(value) is not str:
            raise Refused(Reason.WRONG_TYPE, f"{field} = {shown(value)}: send a JSON string")
        if len(value) > most:
            raise Refused(Reason.TOO_LONG, f"{field} = {shown(value)}: {len(value)} characters; send at most {most}")
        if not value.isprintable() and _CONTROL.search(value):
            raise Refused(Reason.BAD_VALUE, f"{field} = {shown(value)}: remove the control character")
        return value

    return check


def named(most: int = ID_MAX) -> Check:
    """A `text` that is neither empty nor blank: an id, a title. It is not trimmed.

    >>> named()("item_id", " sku 1")
    ' sku 1'
    """
    is_text = text(most)

    def check(field: str, value: Any) -> str:
        if value == "" or (type(value) is str and value.isspace()):
            raise Refused(Reason.BAD_VALUE, f"{field} = {shown(value)}: empty or blank; send 1..{most} characters")
        return str(is_text(field, value))

    return check


def chosen(choices: frozenset[str], reason: Reason = Reason.BAD_VALUE) -> Check:
    """One of a closed set of strings, else Refused with `reason`."""
    listed = ", ".join(sorted(choices))

    def check(field: str, value: Any) -> str:
        if type(value) is not str:
            raise Refused(Reason.WRONG_TYPE, f"{field} = {shown(value)}: send a JSON string")
        if value not in choices:
            raise Refused(reason, f"{field} = {shown(value)}: send one of {listed}")
        return value

    return check


def number(least: float, most: float) -> Check:
    """A finite number in least..most, both included, as a float without a negative zero."""

    def check(field: str, value: Any) -> float:
        if type(value) is not float and type(value) is not int:
            raise Refused(Reason.WRONG_TYPE, f"{field} = {shown(value)}: send a JSON number")
        if not least <= value <= most:
            raise Refused(Reason.BAD_VALUE, f"{field} = {shown(value)}: send {least:g}..{most:g}")
        return float(value) + 0.0

    return check


def integer(least: int, most: int) -> Check:
    """A whole number in least..most, both included; `2.0` is whole, as in JSON Schema."""

    def check(field: str, value: Any) -> int:
        if type(value) is not int and type(value) is not float:
            raise Refused(Reason.WRONG_TYPE, f"{field} = {shown(value)}: send a JSON number")
        if not least <= value <= most or value != int(value):
            raise Refused(Reason.BAD_VALUE, f"{field} = {shown(value)}: send a whole number in {least}..{most}")
        return int(value)

    return check


def flag(field: str, value: Any) -> bool:
    """true or false; 0, 1 and strings are refused."""
    if type(value) is not bool:
        raise Refused(Reason.WRONG_TYPE, f"{field} = {shown(value)}: send true or false")
    return value


def category_path(field: str, value: Any) -> str:
    """The canonical form of a category: an array of levels, or one string in which " > " separates them.

    1..8 levels of 1..64 characters, none blank. A level may not contain " > ", start with "> " or end with " >": the
    joined path would read back as other levels.

    Raises Refused: `wrong-type` or `bad-category`.

    >>> category_path("category", ["Garden", "Tools"])
    'Garden > Tools'
    """
    if type(value) is str:
        if is_category_path(value):
            return value
        levels = value.split(SEPARATOR)
    elif type(value) is list:
        levels = value
    else:
        raise Refused(Reason.WRONG_TYPE, f"{field} = {shown(value)}: send an array of levels, or one string")
    if not 1 <= len(levels) <= LEVELS_MAX:
        raise Refused(Reason.BAD_CATEGORY, f"{field}: {len(levels)} levels; send 1..{LEVELS_MAX}")
    for level in levels:
        if type(level) is not str:
            raise Refused(Reason.WRONG_TYPE, f"{field}: level {shown(level)}; send each level as a string")
        fault = _fault_of_level(level)
        if fault:
            raise Refused(Reason.BAD_CATEGORY, f"{field}: level {shown(level)} {fault}")
    return SEPARATOR.join(levels)


def _fault_of_level(level: str) -> str:
    if not level or level.isspace():
        return "is empty or blank; name it or leave it out"
    if len(level) > LEVEL_MAX:
        return f"has {len(level)} characters; send at most {LEVEL_MAX}"
    if SEPARATOR in level or level.startswith("> ") or level.endswith(" >"):
        return 'holds part of the separator " > "; write it without the spaces'
    if _CONTROL.search(level):
        return "holds a control character; remove it"
    return ""


@lru_cache(maxsize=16_384)
def is_category_path(path: str) -> bool:
    """Whether a string is a canonical category. Remembers the last 16,384 answers: shops have fewer categories."""
    levels = path.split(SEPARATOR)
    return len(levels) <= LEVELS_MAX and not any(map(_fault_of_level, levels))

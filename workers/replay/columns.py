"""Delimited text: which column is which field of an event, and how a cell becomes its value."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from schemas.behaviour import TYPES, BehaviourEvent
from schemas.fields import category_path, shown
from schemas.reasons import Reason, Refused

FIELDS: Final = frozenset(field.encode_name for field in msgspec.structs.fields(BehaviourEvent))
"""Fields of behaviour-events.v1 a column may fill; `time_offset_ms` is added to the time."""
LARGEST: Final = 1e15
TIME_OFFSET: Final = "time_offset_ms"
REQUIRED: Final = ("user_id", "type", "time")
LEFT_OUT: Final = ""
"""What a type is mapped to when its rows are to be left out."""


class MapError(Exception):
    """A `--map`, `--types` or `--time-unit` makes no sense; the message says which part and what to do."""


class ColumnMap(msgspec.Struct, frozen=True):
    """How the columns of a delimited file fill the fields of an event.

    columns             field → column: a name of the header, or an index from 0 when there is no header
    constants           field → the same text for every row
    types               text in the type column → event type; "" leaves such rows out; empty: taken as they are
    time_unit           s, ms, rfc3339, or format:… with strptime's codes (UTC unless it has %z)
    shift_ms            added to every time, ms: moves data from before 2000 into the contract's range
    delimiter           one character
    has_header          whether the first line names the columns
    category_separator  what separates the levels of a category; "" takes the cell as a canonical path
    earliest_s          event times before it are broken, seconds; None: the contract's range alone
    latest_s            event times after it are broken, seconds
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str] = {}
    types: Mapping[str, str] = {}
    time_unit: str = "s"
    shift_ms: int = 0
    delimiter: str = ","
    has_header: bool = True
    category_separator: str = ""
    earliest_s: int | None = None
    latest_s: int | None = None


def check(table: ColumnMap) -> None:
    """Raises MapError for a delimiter, time unit or event type that cannot work."""
    if len(table.delimiter) != 1:
        raise MapError(f"--delimiter {table.delimiter!r}: give one character")
    reader_of_time(table.time_unit)
    for text, kind in table.types.items():
        if kind and kind not in TYPES:
            raise MapError(f"--types {text}={kind}: no event type {kind!r}; there are {', '.join(sorted(TYPES))}")


def parse_map(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """(columns, constants) of a `--map`: `field=column` or `field:=constant`, separated by commas.

    Raises MapError for an unknown field, one given twice, or a required one left out.

    >>> parse_map("user_id=visitor,item_id=2,type:=view,time=ts")
    ({'user_id': 'visitor', 'item_id': '2', 'time': 'ts'}, {'type': 'view'})
    """
    columns: dict[str, str] = {}
    constants: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        field, equals, source = part.partition("=")
        target = constants if field.endswith(":") else columns
        field = field.removesuffix(":").strip()
        if not equals or not source.strip():
            raise MapError(f"--map {part!r}: write field=column, or field:=constant")
        if field not in FIELDS | {TIME_OFFSET}:
            raise MapError(f"--map {part!r}: no field {field!r}; there are {', '.join(sorted(FIELDS))}, {TIME_OFFSET}")
        if field in columns or field in constants:
            raise MapError(f"--map {part!r}: {field} is mapped twice")
        target[field] = source.strip()
    for field in REQUIRED:
        if field not in columns and field not in constants:
            raise MapError(f"--map: {field} is missing; give it a column ({field}=…) or a constant ({field}:=…)")
    return columns, constants


def parse_types(text: str) -> dict[str, str]:
    """text → event type of a `--types`; nothing after `=` leaves such rows out.

    >>> parse_types("addtocart=cart,ping=")
    {'addtocart': 'cart', 'ping': ''}
    """
    pairs = [piece.strip().partition("=") for piece in text.split(",") if piece.strip()]
    for name, equals, _ in pairs:
        if not equals:
            raise MapError(f"--types {name!r}: write text=type; text= leaves such rows out")
    return {name.strip(): kind.strip() for name, _, kind in pairs}


def reader_of_time(unit: str) -> Callable[[str], int | str]:
    """How a cell becomes the event's `time`: epoch ms, or RFC 3339 text that the contract reads.

    Raises MapError for an unknown unit. The reader raises Refused `bad-time`.

    >>> reader_of_time("s")("1511544070.5"), reader_of_time("format:%Y-%m-%d")("2016-05-09")
    (1511544070500, 1462752000000)
    """
    if unit == "rfc3339":
        return str
    if unit.startswith("format:"):
        pattern = unit.removeprefix("format:")
        return lru_cache(maxsize=65_536)(lambda cell: _by_format(cell, pattern))
    scale = {"s": 1000, "ms": 1}.get(unit)
    if scale is None:
        raise MapError(f"--time-unit {unit!r}: there are s, ms, rfc3339 and format:… (such as format:%Y-%m-%d)")
    return lambda cell: _by_number(cell, scale, unit)


def index_of(columns: Mapping[str, str], header: list[str] | None) -> dict[str, int]:
    """field → position in a row, from the header's names, or from indices when there is no header.

    Raises MapError naming the column that is not there and those that are.
    """
    found: dict[str, int] = {}
    for field, column in columns.items():
        if header is not None and column in header:
            found[field] = header.index(column)
        elif header is None and column.isdecimal():
            found[field] = int(column)
        elif header is None:
            raise MapError(f"--map {field}={column}: without a header, columns are numbers from 0")
        else:
            raise MapError(f"--map {field}={column}: no such column; the header has {', '.join(map(repr, header))}")
    return found


def cells(raw: bytes, delimiter: str) -> list[str]:
    """The cells of one line. A row is one line: a quoted cell may hold the delimiter, not the end of a line.

    Raises Refused: `not-utf8`, or `bad-value` for quotes that do not close.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Refused(Reason.NOT_UTF8, f"row: byte {error.start} is not UTF-8; convert the file to UTF-8") from None
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(_quoted(text, delimiter), [])
    except csv.Error as error:
        raise Refused(Reason.BAD_VALUE, f"row: {error}; close the quotes on the line they open on") from None


def whole(field: str, cell: str) -> int:
    """A whole number; `2.0` is whole. Raises Refused `bad-value`."""
    value = number(field, cell)
    if not value.is_integer():
        raise Refused(Reason.BAD_VALUE, f"{field} = {shown(cell)}: send a whole number")
    return int(value)


def number(field: str, cell: str) -> float:
    """A number no larger than 1e15 either way. Raises Refused `bad-value`."""
    try:
        value = math.nan if "_" in cell else float(cell)
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST:
        raise Refused(Reason.BAD_VALUE, f"{field} = {shown(cell)}: send a number")
    return value


@lru_cache(maxsize=65_536)
def category(cell: str, separator: str) -> str:
    """A canonical category path; blank levels are dropped. Raises Refused `bad-category`.

    >>> category("electronics.smartphone", ".")
    'electronics > smartphone'
    """
    if not separator:
        return category_path("category", cell)
    return category_path("category", [level.strip() for level in cell.split(separator) if level.strip()])


def _quoted(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader([text], delimiter=delimiter, strict=True)


def _by_number(cell: str, scale: int, unit: str) -> int:
    if len(cell) <= 15 and cell.isdecimal():
        return int(cell) * scale
    try:
        return round(number("time", cell) * scale)
    except Refused:
        raise Refused(Reason.BAD_TIME, f"time = {shown(cell)}: not a number of {unit}; see --time-unit") from None


def _by_format(cell: str, pattern: str) -> int:
    try:
        moment = datetime.strptime(cell, pattern)  # noqa: DTZ007  # a time without offset is UTC, set in the next line
    except ValueError:
        raise Refused(Reason.BAD_TIME, f"time = {shown(cell)}: is not {pattern!r}; see --time-unit") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

"""The formats of `driftline replay`: from the lines of a file to rows in file order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from schemas.fields import shown
from schemas.reasons import Reason, Refused
from schemas.times import rfc3339, time_ms
from workers.replay import columns
from workers.replay.columns import ColumnMap
from workers.replay.rows import Broken, Contract, LeftOut, Row, encoded, event_id

Lines = Iterable[tuple[int, bytes]]

TAOBAO: Final = ColumnMap(
    columns={"user_id": "0", "item_id": "1", "category": "2", "type": "3", "time": "4"},
    types={"pv": "view", "cart": "cart", "fav": "favourite", "buy": "purchase"},
    has_header=False,
    earliest_s=1_511_539_200,
    latest_s=1_512_316_800,
)
"""UserBehavior.csv. Times outside 25 November to 3 December 2017, China time, are known to be faulty."""


def from_columns(lines: Lines, table: ColumnMap, contract: Contract, name: str = "csv") -> Iterator[Row | LeftOut]:
    """Rows of delimited text.

    lines  (number, bytes) as they stand in the file; blank ones are passed over
    name   the format's name, part of every event id

    Raises MapError when the map does not fit the header.
    """
    remaining = iter(lines)
    header: list[str] | None = None
    if table.has_header:
        _, first = next(remaining, (0, b""))
        header = [cell.strip() for cell in columns.cells(first, table.delimiter)]
    fields_of = _fields_of(table, columns.index_of(table.columns, header))
    before_ms = 0
    for line, raw in remaining:
        if not raw.strip():
            continue
        try:
            fields = fields_of(raw)
        except Refused as refused:
            yield Broken(line, before_ms, raw, str(refused.rejection.reason), refused.rejection.detail)
            continue
        if fields["type"] == columns.LEFT_OUT:
            yield LeftOut("type-left-out")
            continue
        fields.setdefault("event_id", event_id(name, line, raw))
        row = contract.row(line, raw, encoded(fields), before_ms)
        before_ms = row.time_ms
        yield row


def from_jsonl(lines: Lines, contract: Contract) -> Iterator[Row]:
    """Rows of a file that holds one behaviour event a line; its bytes are sent as they are."""
    before_ms = 0
    for line, raw in lines:
        if not raw.strip():
            continue
        row = contract.row(line, raw, raw, before_ms)
        before_ms = row.time_ms
        yield row


def _fields_of(table: ColumnMap, position: Mapping[str, int]) -> Callable[[bytes], dict[str, Any]]:
    """The function from a line to an event's fields; it raises Refused for a row that is none."""
    width = max(position.values(), default=-1) + 1
    placed = sorted(position.items(), key=lambda pair: pair[1])
    converters = _converters(table)
    offset_at = position.get(columns.TIME_OFFSET)
    times = None if table.earliest_s is None or table.latest_s is None else (table.earliest_s, table.latest_s)

    def fields_of(raw: bytes) -> dict[str, Any]:
        row = columns.cells(raw, table.delimiter)
        if len(row) < width:
            missing = next(field for field, at in placed if at >= len(row))
            detail = f"{missing}: absent; the row has {len(row)} of at least {width} columns, is it cut off?"
            raise Refused(Reason.MISSING_FIELD, detail)
        fields: dict[str, Any] = dict(table.constants)
        for field, at in placed:
            if row[at]:
                fields[field] = row[at]
        for field, convert in converters:
            if field in fields:
                fields[field] = convert(fields[field])
        fields.setdefault("type", None)
        if offset_at is not None:
            _shift(fields, columns.whole(columns.TIME_OFFSET, fields.pop(columns.TIME_OFFSET, "0")))
        if table.shift_ms:
            _shift(fields, table.shift_ms)
        if times is not None:
            _check_span(fields, *times)
        return fields

    return fields_of


def _converters(table: ColumnMap) -> list[tuple[str, Callable[[str], Any]]]:
    found: list[tuple[str, Callable[[str], Any]]] = [
        ("time", columns.reader_of_time(table.time_unit)),
        ("value", lambda cell: columns.number("value", cell)),
        ("quantity", lambda cell: columns.whole("quantity", cell)),
        ("granted", _flag),
    ]
    if table.category_separator:
        found.append(("category", lambda cell: columns.category(cell, table.category_separator)))
    if table.types:
        found.append(("type", lambda cell: _kind(cell, table.types)))
    return found


def _kind(cell: str, types: Mapping[str, str]) -> str:
    try:
        return types[cell]
    except KeyError:
        detail = f"type = {shown(cell)}: not in {', '.join(sorted(types))}; map it, or map it to nothing"
        raise Refused(Reason.UNKNOWN_TYPE, detail) from None


def _flag(cell: str) -> bool:
    flags = {"true": True, "1": True, "false": False, "0": False}
    if cell.lower() not in flags:
        raise Refused(Reason.BAD_VALUE, f"granted = {shown(cell)}: send true or false")
    return flags[cell.lower()]


def _shift(fields: dict[str, Any], by_ms: int) -> None:
    """Moves the time. Raises Refused for one that is no point in time."""
    if "time" in fields:
        when = fields["time"]
        fields["time"] = (when if isinstance(when, int) else time_ms("time", when)) + by_ms


def _check_span(fields: Mapping[str, Any], earliest_s: int, latest_s: int) -> None:
    when = fields.get("time")
    if isinstance(when, int) and not earliest_s * 1000 <= when <= latest_s * 1000:
        span = f"{rfc3339(earliest_s * 1000)}..{rfc3339(latest_s * 1000)}"
        raise Refused(Reason.BAD_TIME, f"time = {when // 1000}: outside {span}, the span this data set covers")

"""Delimited text becomes behaviour events, or a reason that a person can act on."""

from __future__ import annotations

import msgspec
import pytest

from workers.replay import columns, formats
from workers.replay.columns import ColumnMap, MapError
from workers.replay.rows import Broken, Contract, Event, LeftOut, Row

CONTRACT = Contract(latest_ms=1_800_000_000_000)
PLAIN = ColumnMap(columns={"user_id": "u", "item_id": "i", "time": "t"}, constants={"type": "view"})


def read(text: str, table: ColumnMap) -> list[Row | LeftOut]:
    lines = enumerate(text.encode().splitlines(), start=1)
    return list(formats.from_columns(lines, table, CONTRACT))


def only(rows: list[Row | LeftOut]) -> Row | LeftOut:
    assert len(rows) == 1
    return rows[0]


def fields(row: Row | LeftOut) -> dict[str, object]:
    assert isinstance(row, Event), row
    decoded: dict[str, object] = msgspec.json.decode(row.value)
    return decoded


def test_a_row_becomes_an_event_under_the_names_of_its_map() -> None:
    row = only(read("t,u,i\n1511544070,7,42\n", PLAIN))
    assert isinstance(row, Event)
    assert (row.line, row.user_id, row.time_ms) == (2, "7", 1_511_544_070_000)
    assert fields(row)["item_id"] == "42"


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("t,u,i\n1511544070,7", "missing-field", "has 2 of at least 3 columns"),
        ("t,u,i\nsoon,7,42", "bad-time", "'soon'"),
        ("t,u,i\n1_5,7,42", "bad-time", "'1_5'"),
        ("t,u,i\n" + "9" * 400 + ",7,42", "bad-time", "not a number"),
        ("t,u,i\n1511544070,,42", "missing-field", "user_id"),
        ("t,u,i\n1511544070,7,", "item-missing", "item_id"),
        ("t,u,i\n1511544070,7," + "x" * 200, "too-long", "200 characters"),
        ('t,u,i\n1511544070,7,"42', "bad-value", "close the quotes"),
        ("t,u,i\n1799999999999,7,42", "bad-time", "time"),
        ("t,u,i\n1800000001,7,42", "future-time", "ahead of now"),
    ],
)
def test_a_broken_row_says_field_value_and_what_to_do(text: str, reason: str, says: str) -> None:
    row = only(read(text, PLAIN))
    assert isinstance(row, Broken)
    assert row.line == 2
    assert row.reason == reason
    assert says in row.detail
    assert row.raw.decode() == text.splitlines()[1]


def test_bytes_that_are_not_utf8_are_a_broken_row_and_the_next_row_is_read() -> None:
    rows = list(
        formats.from_columns([(1, b"t,u,i"), (2, b"1511544070,\xff,1"), (3, b"1511544070,7,1")], PLAIN, CONTRACT)
    )
    assert isinstance(rows[0], Broken)
    assert rows[0].reason == "not-utf8"
    assert isinstance(rows[1], Event)


def test_a_quoted_cell_may_hold_the_delimiter_and_doubled_quotes() -> None:
    assert fields(only(read('t,u,i\n1511544070,7,"4,""2"""', PLAIN)))["item_id"] == '4,"2"'


def test_a_broken_row_stands_at_the_time_of_the_row_before_it() -> None:
    rows = read("t,u,i\n1511544070,7,42\nbroken", PLAIN)
    assert [row.time_ms for row in rows if not isinstance(row, LeftOut)] == [1_511_544_070_000] * 2


def test_types_are_mapped_left_out_or_refused() -> None:
    table = ColumnMap(
        columns={"user_id": "0", "item_id": "1", "type": "2", "time": "3"},
        types={"pv": "view", "ping": ""},
        has_header=False,
    )
    view, ping, other = read("u,i,pv,1511544070\nu,i,ping,1511544070\nu,i,jump,1511544070", table)
    assert fields(view)["type"] == "view"
    assert ping == LeftOut("type-left-out")
    assert isinstance(other, Broken)
    assert other.reason == "unknown-type"
    assert "ping, pv" in other.detail


@pytest.mark.parametrize(
    ("unit", "cell", "time_ms"),
    [
        ("s", "1511544070", 1_511_544_070_000),
        ("s", "1511544070.25", 1_511_544_070_250),
        ("ms", "1511544070123", 1_511_544_070_123),
        ("rfc3339", "2017-11-24T17:21:10Z", 1_511_544_070_000),
        ("format:%Y-%m-%d %H:%M:%S UTC", "2017-11-24 17:21:10 UTC", 1_511_544_070_000),
        ("format:%d.%m.%Y %H:%M:%S %z", "24.11.2017 18:21:10 +0100", 1_511_544_070_000),
    ],
)
def test_a_time_is_read_in_the_unit_it_is_said_to_have(unit: str, cell: str, time_ms: int) -> None:
    table = ColumnMap(columns=PLAIN.columns, constants=PLAIN.constants, time_unit=unit)
    row = only(read(f"u,i,t\n7,42,{cell}", table))
    assert isinstance(row, Event)
    assert row.time_ms == time_ms


def test_a_category_is_split_into_levels_and_numbers_become_numbers() -> None:
    table = ColumnMap(
        columns={"user_id": "u", "item_id": "i", "time": "t", "category": "c", "value": "v", "quantity": "q"},
        constants={"type": "purchase"},
        category_separator=".",
    )
    event = fields(only(read("u,i,t,c,v,q\n7,42,1511544070,garden.tools,9.5,2.0", table)))
    assert (event["category"], event["value"], event["quantity"]) == ("garden > tools", 9.5, 2)
    assert isinstance(only(read("u,i,t,c,v,q\n7,42,1511544070,garden,cheap,2", table)), Broken)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("user_id=u,type:=view", "time is missing"),
        ("user=u,type:=view,time=t", "no field 'user'"),
        ("user_id=u,user_id=v,type:=view,time=t", "mapped twice"),
        ("user_id", "write field=column"),
    ],
)
def test_a_map_that_cannot_work_says_which_part(text: str, says: str) -> None:
    with pytest.raises(MapError, match=says):
        columns.parse_map(text)


def test_a_column_that_is_not_in_the_header_is_named_with_those_that_are() -> None:
    with pytest.raises(MapError, match=r"item_id=i: no such column; the header has 'u', 't'"):
        read("u,t\n7,1511544070", PLAIN)


def test_ids_follow_from_format_line_and_bytes() -> None:
    text = "t,u,i\n1511544070,7,42\n1511544070,7,42"
    first, again = ([fields(row)["event_id"] for row in read(text, PLAIN)] for _ in range(2))
    assert first == again
    assert len(set(first)) == 2


def test_jsonl_is_sent_as_it_is() -> None:
    raw = b'{"event_id": "e", "user_id": "u", "type": "forget", "time": 1511544070000, "more": 1}'
    good, bad = formats.from_jsonl([(1, raw), (2, b""), (3, b"{")], CONTRACT)
    assert isinstance(good, Event)
    assert good.value == raw
    assert isinstance(bad, Broken)
    assert (bad.line, bad.reason) == (3, "not-json")


def test_taobao_drops_the_known_faults() -> None:
    good = b"1,2268318,2520377,pv,1511544070"
    lines = [(1, good), (2, b"1,2,3,pv,1511539199"), (3, b"1,2,3,buy,1512316800"), (4, b"1,2,3,pv")]
    rows = list(formats.from_columns(lines, formats.TAOBAO, CONTRACT, "taobao"))
    assert [type(row) for row in rows] == [Event, Broken, Event, Broken]
    assert fields(rows[0])["category"] == "2520377"
    assert isinstance(rows[1], Broken)
    assert rows[1].reason == "bad-time"

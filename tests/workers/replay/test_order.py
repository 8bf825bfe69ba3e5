"""Rows come out by event time, equal times in file order, whatever memory the sort may use."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.replay import order
from workers.replay.rows import Broken, Event, Row

BY_TIME = attrgetter("time_ms")


def rows_of(times: list[int]) -> list[Row]:
    return [
        Broken(line, time, b"raw", "bad-time", "time: bad") if time % 7 == 0 else Event(line, time, "u", b"{}")
        for line, time in enumerate(times, start=1)
    ]


@given(times=st.lists(st.integers(0, 40), max_size=200), run_rows=st.integers(1, 50), twice=st.booleans())
def test_external_sort_equals_a_stable_sort_in_memory(times: list[int], run_rows: int, *, twice: bool) -> None:
    rows = rows_of(times)
    with order.by_time(lambda: iter(rows), twice=twice, run_bytes=run_rows * 300) as ordered:
        assert list(ordered) == sorted(rows, key=BY_TIME)


def test_more_runs_than_may_be_open_at_once_are_merged_in_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "FAN_IN", 3)
    rows = rows_of([(n * 37) % 11 for n in range(100)])
    with order.by_time(lambda: iter(rows), run_bytes=600) as ordered:
        assert list(ordered) == sorted(rows, key=BY_TIME)


def test_a_file_in_order_touches_no_disk(tmp_path: Path) -> None:
    reads = 0

    def read() -> Iterator[Row]:
        nonlocal reads
        reads += 1
        return iter(rows_of(list(range(100))))

    with order.by_time(read, run_bytes=600, directory=tmp_path) as ordered:
        assert not list(tmp_path.iterdir())
        assert [row.time_ms for row in ordered] == list(range(100))
    assert reads == 2


def test_runs_are_removed_afterwards(tmp_path: Path) -> None:
    with order.by_time(lambda: iter(rows_of(list(range(100, 0, -1)))), run_bytes=600, directory=tmp_path) as ordered:
        next(ordered)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_file_asserted_to_be_in_order_is_refused_where_it_is_not() -> None:
    rows = order.asserted(rows_of([1, 2, 2, 1]))
    with pytest.raises(order.OutOfOrderError, match="line 4"):
        list(rows)

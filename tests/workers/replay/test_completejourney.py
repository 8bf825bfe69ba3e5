"""The demo's data: real purchases, in order, all of them acceptable; coupons left out."""

from __future__ import annotations

import msgspec

from workers.replay.completejourney import completejourney_events
from workers.replay.order import asserted
from workers.replay.rows import Contract, Event, LeftOut

CONTRACT = Contract(latest_ms=1_800_000_000_000)


def test_a_household_s_year_is_in_order_and_whole() -> None:
    rows = list(completejourney_events(CONTRACT, households=[900]))
    events = [row for row in rows if isinstance(row, Event)]
    assert len(events) > 100
    assert all(isinstance(row, Event | LeftOut) for row in rows)
    assert list(asserted(events)) == events
    assert {row.user_id for row in events} == {"900"}


def test_a_purchase_carries_basket_price_quantity_and_category() -> None:
    first = next(row for row in completejourney_events(CONTRACT, households=[900]) if isinstance(row, Event))
    event = msgspec.json.decode(first.value)
    del event["event_id"]
    assert event == {
        "user_id": "900",
        "type": "purchase",
        "time": 1_483_271_606_000,
        "item_id": "1095275",
        "session_id": "31198570044",
        "value": 0.5,
        "quantity": 1,
        "category": "PASTRY > ROLLS > ROLLS: BAGELS",
    }


def test_ids_do_not_depend_on_which_households_are_asked_for() -> None:
    few = [row for row in completejourney_events(CONTRACT, households=[900]) if isinstance(row, Event)]
    more = [row for row in completejourney_events(CONTRACT, households=[900, 901]) if isinstance(row, Event)]
    assert few == [row for row in more if row.user_id == "900"]


def test_rows_without_quantity_are_coupons_and_left_out() -> None:
    left_out = [row for row in completejourney_events(CONTRACT, households=[1465]) if isinstance(row, LeftOut)]
    assert left_out
    assert {row.why for row in left_out} == {"coupon-without-purchase"}

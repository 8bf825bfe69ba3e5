"""The load generator: the same seed gives the same traffic, and the traffic has the shape its docstring claims."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.load import ARRIVALS_MS, EPOCH_MS, SHIFT_MS, TYPES, Shift, Shop
from schemas.behaviour import BehaviourEvent, decode_behaviour

SMALL = {"users": 6000, "items": 5000}


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(7, **SMALL)


@pytest.fixture(scope="module")
def shift(shop: Shop) -> Shift:
    return shop.shift(2)


@pytest.fixture(scope="module")
def events(shop: Shop) -> list[BehaviourEvent]:
    found = [decode_behaviour(value, max_bytes=65_536) for _, value in shop.records(2)]
    assert all(isinstance(event, BehaviourEvent) for event in found), "every record must be acceptable"
    return found  # type: ignore[return-value]  # just asserted


def test_the_same_seed_gives_the_same_bytes_whatever_was_asked_before(shop: Shop) -> None:
    shop.shift(5)
    again, other = Shop(7, **SMALL), Shop(8, **SMALL)
    assert list(shop.records(0)) == list(again.records(0))
    assert list(shop.records(0)) != list(other.records(0))
    assert list(shop.records(0)) != list(shop.records(1))


def test_time_never_goes_back_within_a_shift_nor_between_shifts(shift: Shift) -> None:
    assert (np.diff(shift.times_ms) >= 0).all()
    start = EPOCH_MS + shift.number * SHIFT_MS
    assert start <= shift.times_ms[0]
    assert shift.times_ms[-1] < start + SHIFT_MS


def test_the_key_is_the_user_and_a_users_events_are_in_order(shop: Shop, events: list[BehaviourEvent]) -> None:
    assert [key for key, _ in shop.records(2)] == [event.user_id for event in events]
    newest: dict[str, int] = {}
    for event in events:
        assert event.time_ms >= newest.get(event.user_id, 0)
        newest[event.user_id] = event.time_ms


def test_event_ids_are_unique_and_an_item_has_one_category_of_two_levels(events: list[BehaviourEvent]) -> None:
    assert len({event.event_id for event in events}) == len(events)
    category_of: dict[str, str] = {}
    for event in events:
        assert event.category == category_of.setdefault(str(event.item_id), str(event.category))
        assert str(event.category).count(" > ") == 1


def test_sessions_have_geometric_length_and_exponential_pauses(shift: Shift) -> None:
    lengths = np.bincount(shift.sessions)
    assert lengths.mean() == pytest.approx(5, rel=0.05)
    assert (lengths == 1).mean() == pytest.approx(0.2, abs=0.03)
    order = np.lexsort((shift.times_ms, shift.sessions))
    same = np.diff(shift.sessions[order]) == 0
    pauses = np.diff(shift.times_ms[order])[same]
    assert pauses.mean() == pytest.approx(60_000, rel=0.05)
    assert np.median(pauses) == pytest.approx(60_000 * np.log(2), rel=0.08)
    assert len(np.unique(shift.users)) == len(lengths), "one session a shopper and shift"


def test_a_shopper_returns_after_hours(shop: Shop) -> None:
    first, second = shop.shift(0), shop.shift(1)
    last_seen = dict(zip(first.users.tolist(), first.times_ms.tolist(), strict=True))
    returns = {}
    for user, at in zip(second.users.tolist(), second.times_ms.tolist(), strict=True):
        returns.setdefault(user, at)
    gaps = [at - last_seen[user] for user, at in returns.items() if user in last_seen]
    assert min(gaps) > 1_800_000
    assert np.mean(gaps) == pytest.approx(SHIFT_MS, rel=0.1)
    assert ARRIVALS_MS < SHIFT_MS


def test_types_have_their_shares_and_a_record_about_250_bytes(shop: Shop, shift: Shift) -> None:
    shares = np.bincount(shift.types, minlength=len(TYPES)) / len(shift)
    assert shares == pytest.approx(list(TYPES.values()), abs=0.008)
    sizes = [len(value) for _, value in shop.records(2)]
    assert 200 < np.mean(sizes) < 260


def test_popularity_is_zipf_like_and_reaches_the_tail(shop: Shop) -> None:
    counts = np.sort(np.bincount(np.concatenate([shop.shift(k).items for k in range(6)]), minlength=SMALL["items"]))[
        ::-1
    ]
    assert 0.15 < counts[:100].sum() / counts.sum() < 0.6
    assert (counts > 0).mean() > 0.9


def test_most_of_a_session_is_about_one_category(events: list[BehaviourEvent]) -> None:
    sessions: dict[str, list[str]] = {}
    for event in events:
        sessions.setdefault(str(event.session_id), []).append(str(event.category))
    long = [session for session in sessions.values() if len(session) >= 5]
    focus = [max(map(session.count, session)) / len(session) for session in long]
    assert np.mean(focus) > 0.7

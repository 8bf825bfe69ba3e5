"""Behaviour events: what is accepted, in which normal form, and what two events have in common.

Speed, by hand (253 bytes, 9 fields; best of 5):

    python - <<'END'
    import timeit
    from tests.schemas.test_behaviour import TYPICAL, decode
    for name, raw in (("accepted", TYPICAL), ("refused", TYPICAL.replace(b"1772362800123", b"1772362800"))):
        best = min(timeit.repeat(lambda: decode(raw), number=100_000, repeat=5))
        print(f"{name} {best * 10:.2f} microseconds")
    END
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import behaviour
from schemas.behaviour import ITEM_TYPES, USER_TYPES, BehaviourEvent, content_hash, decode_behaviour
from schemas.reasons import Reason, Rejection
from tests.schemas.samples import GOOD, name_of

TYPICAL = (
    b'{"event_id":"018f3c1e-7d2a-7c4b-9e11-0242ac120002","user_id":"user-00012345","type":"view",'
    b'"time":1772362800123,"item_id":"sku-000987654","session_id":"s-9f8e7d6c5b4a39281706",'
    b'"category":"Garden > Tools > Spades","value":19.99,"surface":"search-result"}'
)


def decode(raw: bytes | None) -> BehaviourEvent | Rejection:
    return decode_behaviour(raw, max_bytes=65_536)


def accepted(**fields: Any) -> BehaviourEvent:
    event = decode(raw_event(**fields))
    assert isinstance(event, BehaviourEvent), event
    return event


def refused(**fields: Any) -> Rejection:
    rejection = decode(raw_event(**fields))
    assert isinstance(rejection, Rejection), rejection
    return rejection


def raw_event(**fields: Any) -> bytes:
    typical: dict[str, Any] = json.loads(TYPICAL)
    return json.dumps({**typical, **fields}).encode()


@pytest.mark.parametrize(
    "time",
    [
        1772362800123, 1772362800123.0, "2026-03-01T11:00:00.123Z", "2026-03-01T12:00:00.123+01:00",
        "2026-03-01T11:00:00.123999999Z", "2026-03-01t11:00:00.123z", "2026-02-28T11:01:00.123-23:59",
    ],
)  # fmt: skip
def test_every_notation_of_a_time_is_the_same_millisecond(time: Any) -> None:
    assert accepted(time=time).time_ms == 1772362800123


@pytest.mark.parametrize("category", ["Garden > Tools", ["Garden", "Tools"]])
def test_a_category_is_a_canonical_path_whichever_way_it_was_sent(category: Any) -> None:
    assert accepted(category=category).category == "Garden > Tools"


def test_null_says_absent() -> None:
    event = accepted(session_id=None, category=None, value=None, quantity=None, surface=None, source=None, granted=None)
    assert event == accepted_without("session_id", "category", "value", "surface")


def accepted_without(*fields: str) -> BehaviourEvent:
    typical: dict[str, Any] = json.loads(TYPICAL)
    event = decode(json.dumps({k: v for k, v in typical.items() if k not in fields}).encode())
    assert isinstance(event, BehaviourEvent)
    return event


def test_of_a_key_given_twice_the_last_one_counts() -> None:
    event = decode(TYPICAL.replace(b"{", b'{"user_id":"first",', 1))
    assert isinstance(event, BehaviourEvent)
    assert event.user_id == "user-00012345"


def test_ids_are_not_trimmed() -> None:
    assert accepted(item_id=" sku 1 ").item_id == " sku 1 "


@pytest.mark.parametrize("kind", sorted(ITEM_TYPES))
def test_an_item_type_needs_an_item(kind: str) -> None:
    assert accepted(type=kind).item_id == "sku-000987654"
    assert refused(type=kind, item_id=None).reason is Reason.ITEM_MISSING


@pytest.mark.parametrize("kind", sorted(USER_TYPES))
def test_a_user_type_forbids_one(kind: str) -> None:
    assert accepted(type=kind, item_id=None).item_id is None
    assert refused(type=kind).reason is Reason.ITEM_NOT_ALLOWED


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"user_id": 7}, "user_id = 7: send a JSON string"),
        ({"time": 1772362800}, "time = 1772362800: below 1e11; send milliseconds, not seconds"),
        ({"surface": "s" * 99}, f"surface = '{'s' * 40}'…: 99 characters; send at most 32"),
        ({"value": 10**400}, "value = an integer of 1329 bits: send 0..1e+09"),
        ({"category": ["Garden", ""]}, "category: level '' is empty or blank; name it or leave it out"),
    ],
)
def test_a_refusal_names_the_field_the_value_and_what_to_do(changes: dict[str, Any], detail: str) -> None:
    assert refused(**changes).detail == detail


def test_a_value_larger_than_the_limit_is_refused_unread() -> None:
    assert decode_behaviour(TYPICAL, max_bytes=len(TYPICAL)) == decode(TYPICAL)
    rejection = decode_behaviour(TYPICAL, max_bytes=len(TYPICAL) - 1)
    assert rejection == Rejection(Reason.TOO_LARGE, "value: 253 bytes; send at most 252")


def test_an_event_encodes_to_an_event() -> None:
    for path in (path for path in GOOD if name_of(path) == "behaviour-event"):
        event = decode(path.read_bytes())
        assert decode(msgspec.json.encode(event)) == event


def test_the_fast_path_and_the_book_give_one_answer() -> None:
    for path in (path for path in GOOD if name_of(path) == "behaviour-event"):
        raw = path.read_bytes()
        assert decode(raw) == behaviour._by_the_book(behaviour._decode_loose(raw))


class TestContentHash:
    @given(st.permutations(list(json.loads(TYPICAL).items())))
    def test_the_order_of_keys_does_not_matter(self, items: list[tuple[str, Any]]) -> None:
        event = decode(json.dumps(dict(items)).encode())
        assert isinstance(event, BehaviourEvent)
        assert content_hash(event) == content_hash(accepted())

    def test_unknown_fields_notations_and_defaults_do_not_matter(self) -> None:
        other = accepted(
            time="2026-03-01T12:00:00.123+01:00", category=["Garden", "Tools", "Spades"], granted=True, more=[1]
        )
        assert content_hash(other) == content_hash(accepted())

    def test_a_negative_zero_is_a_zero(self) -> None:
        assert content_hash(accepted(value=-0.0)) == content_hash(accepted(value=0))

    @pytest.mark.parametrize(
        "change",
        [
            {"event_id": "e"}, {"user_id": "u"}, {"type": "click"}, {"time": 1772362800124}, {"item_id": "i"},
            {"session_id": "s"}, {"category": "Garden"}, {"value": 20}, {"quantity": 1}, {"surface": "home"},
            {"source": "n-1"}, {"granted": False}, {"surface": None, "source": "search-result"},
        ],
    )  # fmt: skip
    def test_every_known_field_matters(self, change: dict[str, Any]) -> None:
        assert content_hash(accepted(**change)) != content_hash(accepted())

    def test_it_is_pinned_because_checkpoints_hold_it(self) -> None:
        assert content_hash(accepted()) == PINNED_HASH
        assert 0 <= PINNED_HASH < 2**32


PINNED_HASH = 2590475578

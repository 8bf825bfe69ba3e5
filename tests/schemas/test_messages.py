"""Output messages, their envelope, and dead letters: what is written is what is read."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import interest_change, notification, push_decision
from schemas.catalogue import CatalogueItem, Tombstone, decode_catalogue, decode_stored, encode_catalogue
from schemas.cloudevents import cloudevents_headers
from schemas.coordinates import Coordinates
from schemas.dead_letter import MAX_BYTES, dead_letter_headers, read_dead_letter
from schemas.push_decision import PushDecision
from schemas.reasons import HoldReason, Reason, Rejection
from schemas.times import EARLIEST_MS, LATEST_MS, rfc3339, time_ms
from schemas.user_settings import QuietHours
from tests.schemas.samples import DECODERS, GOOD, label, name_of, schema_of

CAME = Coordinates("driftline.behaviour-events.v1", 3, 42)
OUTPUTS = {
    "interest-change": interest_change.encode,
    "notification": notification.encode,
    "push-decision": push_decision.encode,
}


@pytest.mark.parametrize("path", [path for path in GOOD if name_of(path) in OUTPUTS], ids=label)
def test_an_output_survives_encoding_and_its_encoding_is_in_the_schema(path: Path) -> None:
    name = name_of(path)
    message = DECODERS[name](path.read_bytes())
    encode: Any = OUTPUTS[name]
    raw = encode(message)
    assert DECODERS[name](raw) == message
    Draft202012Validator(schema_of(name)).validate(json.loads(raw))


def test_a_decision_without_what_its_kind_is_about_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="kind 'held' needs 'cause'"):
        PushDecision(kind="held", user_id="u", now=EARLIEST_MS, source=CAME, reason=HoldReason.CAP)


class TestCatalogue:
    def test_a_stored_item_is_the_item(self) -> None:
        item = CatalogueItem(item_id="i", title="Spade", category="Garden", price=19.99, currency="EUR")
        assert decode_stored(encode_catalogue(item)) == item

    def test_a_record_without_value_deletes_the_item_of_its_key(self) -> None:
        assert decode_catalogue("商品".encode(), None) == Tombstone("商品")

    @pytest.mark.parametrize("key", [None, b"", b"  ", b"\xff", b"x" * 129])
    def test_a_tombstone_needs_an_id_as_its_key(self, key: bytes | None) -> None:
        refused = decode_catalogue(key, None)
        assert isinstance(refused, Rejection)
        assert refused.reason is Reason.KEY_MISMATCH


def test_quiet_hours_are_minutes_of_the_day() -> None:
    hours = QuietHours("22:00", "07:30", "Europe/Berlin")
    assert (hours.start_minute, hours.end_minute) == (1320, 450)


def test_cloudevents_headers_hold_every_required_attribute() -> None:
    headers = cloudevents_headers(
        id="n-1", type=notification.CE_TYPE, subject="zoë", time=rfc3339(1772362800123), source="/driftline/push"
    )
    assert headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"n-1"),
        ("ce_source", b"/driftline/push"),
        ("ce_type", b"io.driftline.notification.v1"),
        ("ce_time", b"2026-03-01T11:00:00.123Z"),
        ("ce_subject", "zoë".encode()),
        ("content-type", b"application/json"),
    ]


@given(st.integers(EARLIEST_MS, LATEST_MS - 1))
def test_rfc3339_and_back_is_the_same_millisecond(ms: int) -> None:
    assert time_ms("time", rfc3339(ms)) == ms
    assert datetime.fromisoformat(rfc3339(ms)) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


class TestDeadLetters:
    @given(
        st.none() | st.binary(max_size=50), st.none() | st.binary(max_size=50), st.text(), st.sampled_from(list(Reason))
    )
    def test_a_dead_letter_says_all_there_is_to_know(
        self, key: bytes | None, value: bytes | None, detail: str, reason: Reason
    ) -> None:
        headers = dead_letter_headers(Rejection(reason, detail), CAME, timestamp=7, key=key, value=value)
        letter = read_dead_letter(value, [("traceparent", b"other"), *headers])
        assert (letter.reason, letter.detail, letter.came) == (reason, detail, CAME)
        assert (letter.key, letter.value, letter.timestamp, letter.is_complete) == (key, value, 7, True)

    def test_of_a_large_value_the_beginning_the_size_and_the_hash_are_kept(self) -> None:
        value = b"x" * (MAX_BYTES + 1)
        headers = dead_letter_headers(Rejection(Reason.TOO_LARGE, ""), CAME, timestamp=7, key=None, value=value)
        letter = read_dead_letter(value[:MAX_BYTES], headers)
        assert not letter.is_complete
        assert (letter.size, letter.sha256) == (MAX_BYTES + 1, hashlib.sha256(value).hexdigest())

    def test_a_lone_surrogate_in_the_detail_does_not_stop_a_letter(self) -> None:
        headers = dead_letter_headers(Rejection(Reason.BAD_VALUE, "\ud800"), CAME, timestamp=7, key=None, value=b"")
        assert read_dead_letter(b"", headers).detail == "\\ud800"

    def test_what_is_no_dead_letter_is_named(self) -> None:
        with pytest.raises(ValueError, match="header 'detail' is missing"):
            read_dead_letter(b"", [("reason", b"not-json")])


def test_reason_codes_survive_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(list(Reason)), type=list[Reason]) == list(Reason)
    assert all(reason.meaning and reason == reason.lower() for reason in (*Reason, *HoldReason))

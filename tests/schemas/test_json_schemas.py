"""The JSON Schema files, the samples and the Python decoders say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.behaviour import TYPES
from schemas.feedback import ACTIONS
from schemas.reasons import HoldReason, Reason, Rejection
from tests.schemas.samples import DECODERS, GOOD, REJECTED, SCHEMA_FILES, label, name_of, schema_of

VALIDATORS = {name: Draft202012Validator(schema_of(name)) for name in DECODERS}

BEYOND_JSON_SCHEMA = {
    "no-such-day", "half-a-surrogate-pair", "forty-arrays",
    "unknown-zone", "start-is-end",
}  # fmt: skip
"""Rejected samples whose fault a JSON Schema has no words for."""


@pytest.mark.parametrize("path", SCHEMA_FILES, ids=label)
def test_a_schema_is_valid_and_is_what_its_path_says(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:driftline:{path.parent.name}:{path.stem}"


@pytest.mark.parametrize("path", SCHEMA_FILES, ids=label)
def test_every_field_is_described_and_every_string_bounded(path: Path) -> None:
    schema = json.loads(path.read_text())
    for field, rule in _fields(schema):
        assert rule.get("description"), field
    for where, rule in _rules(schema, ""):
        is_text = "string" in _types(rule) and "enum" not in rule
        assert not is_text or "maxLength" in rule, where
        assert "array" not in _types(rule) or "maxItems" in rule, where


def test_every_schema_has_a_decoder_and_samples() -> None:
    assert {name_of(path) for path in SCHEMA_FILES} == set(DECODERS)
    assert {name_of(path) for path in GOOD} == {name_of(path) for path in REJECTED} == set(DECODERS)


@pytest.mark.parametrize("path", GOOD, ids=label)
def test_a_good_sample_passes_its_schema_and_its_decoder(path: Path) -> None:
    raw, name = path.read_bytes(), name_of(path)
    VALIDATORS[name].validate(json.loads(raw))
    assert not isinstance(DECODERS[name](raw), Rejection)


@pytest.mark.parametrize("path", REJECTED, ids=label)
def test_a_rejected_sample_gets_the_reason_in_its_name(path: Path) -> None:
    reason, _, why = path.stem.partition("--")
    answer = DECODERS[name_of(path)](path.read_bytes())
    assert isinstance(answer, Rejection)
    assert (answer.reason, bool(answer.detail)) == (Reason(reason), True)
    if why not in BEYOND_JSON_SCHEMA:
        assert not _schema_accepts(name_of(path), path.read_bytes())


def test_the_closed_lists_of_the_schemas_are_those_of_the_types() -> None:
    decision = schema_of("push-decision")["properties"]
    assert set(schema_of("behaviour-event")["properties"]["type"]["enum"]) == TYPES
    assert set(schema_of("notification-feedback")["properties"]["action"]["enum"]) == ACTIONS
    assert set(decision["reason"]["enum"]) == {None, *map(str, HoldReason)}
    assert set(decision["action"]["enum"]) == {None, *ACTIONS}


# --- generated values: hypothesis draws each field from its edges as well as from nonsense

_LETTERS = st.sampled_from("aA \t\n\x7f\x00\x85\u00a0\u2003é商🌱>")
_TEXT = st.one_of(
    st.text(_LETTERS, max_size=6),
    st.builds(lambda c, n: c * n, _LETTERS, st.sampled_from([31, 32, 33, 64, 65, 127, 128, 129, 256, 257])),
)
_LEVEL = st.one_of(_TEXT, st.sampled_from(["Garden", "Tools", "a >", "> a", ">", " > ", "a > b", " a "]))
_PATHS = st.one_of(st.lists(_LEVEL, max_size=9), st.lists(_LEVEL, max_size=9).map(" > ".join), _LEVEL)
_NUMBERS = st.one_of(
    st.integers(-2, 2),
    st.sampled_from([1e9, 1e9 + 1, 10**6, 10**6 + 1, 0.5, -0.0, 2.0, 1e300, 10**30]),
)
_TIMES = st.one_of(
    st.sampled_from([946684799999, 946684800000, 4102444799999, 4102444800000, 1.7723628e12, 1772362800.5, 1e11, 0]),
    st.sampled_from(["2026-03-01T12:00:00Z", "2026-03-01t12:00:00.123456789+23:59", "2026-03-01T12:00:00"]),
    st.sampled_from(["2026-03-01T24:00:00Z", "2026-03-01 12:00:00Z", "2026-03-01T12:00:00Z\n", "20260301T120000Z"]),
)
_ANY = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXT, st.just([]), st.just({}))


def _mostly(field: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(field, field, field, field, _ANY)


def _objects(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of good fields in which up to two are replaced by edges or nonsense, or left out."""
    fields = required | optional
    good = st.fixed_dictionaries(
        {name: pair[0] for name, pair in required.items()}, optional={name: pair[0] for name, pair in optional.items()}
    )
    changes = st.lists(
        st.sampled_from(sorted(fields)).flatmap(lambda name: st.tuples(st.just(name), _mostly(fields[name][1]))),
        max_size=2,
    )
    gone = st.lists(st.sampled_from(sorted(fields)), max_size=1)
    return st.builds(
        lambda base, new, out: {k: v for k, v in (base | dict(new)).items() if k not in out}, good, changes, gone
    )


_GOOD_ID = st.sampled_from(["x", "sku-1", " a ", "商品", "e" * 128])
_ID = (_GOOD_ID, _TEXT)
_TIME = (st.sampled_from([1772362800123, 1772362800123.0, "2026-03-01T12:00:00+01:00"]), _TIMES)
_CATEGORY = (st.sampled_from(["Garden", "Garden > Tools", ["Garden", "Tools"], None]), _PATHS)
_SHORT = (st.sampled_from(["", "home", None]), _TEXT)
_FLAG = (st.sampled_from([True, False, None]), st.booleans())
_PRICE = (st.sampled_from([0, 1, 19.99, 1e9, None]), _NUMBERS)

GENERATED = {
    "behaviour-event": _objects(
        {"event_id": _ID, "user_id": _ID, "type": (st.sampled_from(sorted(TYPES)), _TEXT), "time": _TIME},
        {
            "item_id": _ID, "category": _CATEGORY, "value": _PRICE, "session_id": _SHORT, "surface": _SHORT,
            "source": _SHORT, "granted": _FLAG, "unknown": (_ANY, _ANY),
            "quantity": (st.sampled_from([1, 2.0, 10**6, None]), _NUMBERS),
        },
    ),
    "catalogue-item": _objects(
        {"item_id": _ID, "title": _ID},
        {
            "category": _CATEGORY, "price": _PRICE, "in_stock": _FLAG,
            "currency": (st.sampled_from(["EUR", None]), st.sampled_from(["eur", "EURO", "EUR\n", "EU", ""])),
            "url": (
                st.sampled_from(["https://shop.example/p", "http://a", None]),
                st.sampled_from(["ftp://a", "https://", "https://a b", "/p", "https://a/" + "p" * 2048, "https://a\n"]),
            ),
        },
    ),
    "user-settings": _objects(
        {"user_id": _ID, "push_enabled": (st.booleans(), _ANY)},
        {
            "cap_per_day": (st.sampled_from([0, 1, 100, None]), _NUMBERS),
            "quiet_hours": (
                st.sampled_from([{"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"}, None]),
                st.fixed_dictionaries(
                    {"start": st.sampled_from(["22:00", "24:00", "7:00", "22:00\n", 22])},
                    optional={"end": st.just("07:00"), "time_zone": st.just("UTC")},
                ),
            ),
        },
    ),
    "notification-feedback": _objects(
        {
            "event_id": _ID, "notification_id": _ID, "user_id": _ID, "time": _TIME,
            "action": (st.sampled_from(sorted(ACTIONS)), _TEXT),
        },
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(GENERATED))
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_decoder_and_schema_agree_on_generated_values(name: str, data: st.DataObject) -> None:
    value = data.draw(GENERATED[name])
    raw = json.dumps(value).encode()
    answer = DECODERS[name](raw)
    assert _schema_accepts(name, raw) == (not isinstance(answer, Rejection)), answer


def _schema_accepts(name: str, raw: bytes) -> bool:
    try:
        return bool(VALIDATORS[name].is_valid(json.loads(raw, parse_constant=_no_constant)))
    except ValueError:
        return False


def _no_constant(literal: str) -> None:
    raise ValueError(literal)


def _types(rule: dict[str, Any]) -> list[str]:
    kinds = rule.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def _fields(rule: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for _, inner in _rules(rule, ""):
        if "allOf" not in inner and "if" not in inner and "description" in inner:
            yield from inner.get("properties", {}).items()


def _rules(rule: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every rule of a schema that describes a value, with its path; not the conditions in allOf."""
    yield where, rule
    for key in ("properties", "$defs"):
        for name, inner in rule.get(key, {}).items():
            yield from _rules(inner, f"{where}/{name}")
    for inner in rule.get("anyOf", []):
        yield from _rules(inner, f"{where}/anyOf")
    if "items" in rule:
        yield from _rules(rule["items"], f"{where}/items")

"""Whatever the bytes, a decoder answers with a value or a Rejection, and with the same one wherever it is called."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.behaviour import BehaviourEvent, decode_behaviour
from schemas.reasons import Reason, Rejection
from schemas.wire import MAX_DEPTH, depth
from tests.schemas.samples import DECODERS, GOOD, name_of
from tests.schemas.test_behaviour import TYPICAL

SAMPLES = [(name_of(path), path.read_bytes()) for path in GOOD]
LARGE = 64 * 1024 * 1024


def answer(raw: bytes | None) -> BehaviourEvent | Rejection:
    return decode_behaviour(raw, max_bytes=LARGE)


def reason_for(raw: bytes | None) -> Reason:
    rejection = answer(raw)
    assert isinstance(rejection, Rejection), rejection
    assert len(rejection.detail) < 400
    rejection.detail.encode()
    return rejection.reason


def within(field: str, literal: bytes) -> bytes:
    """A typical event with one more field, given as JSON text."""
    return TYPICAL[:-1] + b',"' + field.encode() + b'":' + literal + b"}"


@given(st.sampled_from(sorted(DECODERS)), st.binary(max_size=300))
def test_random_bytes_get_an_answer(name: str, raw: bytes) -> None:
    assert DECODERS[name](raw) is not None


@settings(max_examples=500)
@given(st.sampled_from(SAMPLES), st.data())
def test_mutated_good_messages_get_an_answer(sample: tuple[str, bytes], data: st.DataObject) -> None:
    name, raw = sample
    mutated = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"{", b"[", b"\\u", b"\\ud800", b"null", b"1e999"]))
        )
    assert DECODERS[name](bytes(mutated)) is not None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON_VALUES)
def test_any_json_gets_an_answer(value: Any) -> None:
    raw = json.dumps(value).encode()
    for decode in DECODERS.values():
        assert decode(raw) is not None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (b" ", Reason.NOT_JSON),
        (b"\x00", Reason.NOT_JSON),
        (b"\xff\xfe{\x00}\x00", Reason.NOT_UTF8),
        (b"\xef\xbb\xbf" + TYPICAL, Reason.NOT_JSON),
        (TYPICAL + TYPICAL, Reason.NOT_JSON),
        (b"null", Reason.NOT_AN_OBJECT),
        (b"1e400", Reason.NOT_AN_OBJECT),
        (b"[1,", Reason.NOT_JSON),
        (within("value", b"NaN"), Reason.NOT_JSON),
        (within("value", b"-Infinity"), Reason.NOT_JSON),
        (within("value", b"1e400"), Reason.BAD_VALUE),
        (within("value", b"1" * 401), Reason.BAD_VALUE),
        (within("value", b"1" * 5000), Reason.BAD_VALUE),
        (within("time", b"1" * 401), Reason.BAD_TIME),
        (within("quantity", b"1" * 401), Reason.BAD_VALUE),
        (within("source", b'"a\\u0000b"'), Reason.BAD_VALUE),
        (within("source", b'"a\x00b"'), Reason.NOT_JSON),
        (within("source", b'"a\x7fb"'), Reason.BAD_VALUE),
        (within("source", b'"\\ud800"'), Reason.NOT_UTF8),
        (within("source", b'"\\udc00\\ud800"'), Reason.NOT_UTF8),
        (within("source", b'"\xed\xa0\x80"'), Reason.NOT_UTF8),
        (within("source", b'"' + b"x" * 10_000_000 + b'"'), Reason.TOO_LONG),
        (within("unknown", b'"\xff"'), Reason.NOT_UTF8),
        (within("unknown", b"[" * 100_000 + b"]" * 100_000), Reason.TOO_DEEP),
        (within("unknown", b'{"a":' * 100_000 + b"1" + b"}" * 100_000), Reason.TOO_DEEP),
        (b"[" * 10_000_000, Reason.TOO_DEEP),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else repr(value and value[-24:]),
)
def test_what_cannot_be_read_gets_its_reason(raw: bytes | None, reason: Reason) -> None:
    assert reason_for(raw) is reason


@pytest.mark.parametrize(
    "literal",
    [b"1e400", b"1" * 5000, b'"\\u0000"', b'"' + b"[" * 500 + b'"', b'"' + b"x" * 10_000_000 + b'"', b"[[1]]", b"null"],
    ids=lambda literal: repr(literal[:12]),
)
def test_unknown_fields_pass_whatever_json_they_hold(literal: bytes) -> None:
    assert answer(within("unknown", literal)) == answer(TYPICAL)


def test_the_depth_limit_is_exact_and_does_not_depend_on_the_caller() -> None:
    deepest = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert depth(within("unknown", deepest)) == MAX_DEPTH
    for frames in (0, sys.getrecursionlimit() // 2):
        assert _called_from(frames, within("unknown", deepest)) == answer(TYPICAL)
        rejection = _called_from(frames, within("unknown", b"[" + deepest + b"]"))
        assert isinstance(rejection, Rejection)
        assert rejection.reason is Reason.TOO_DEEP


def _called_from(frames: int, raw: bytes) -> BehaviourEvent | Rejection:
    return answer(raw) if frames == 0 else _called_from(frames - 1, raw)

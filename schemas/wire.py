"""From bytes to one JSON object: what must hold before any field is looked at.

`guard` is the cheap test in front of every decoder; `LooseDecoder` reads the known fields without judging them, so
that a slow path can say which one is wrong. Unknown fields are skipped by both.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

from schemas.fields import Contract, conform
from schemas.reasons import Reason, Refused, Rejection

T = TypeVar("T")

MAX_DEPTH: Final = 32
"""Levels of arrays and objects in one value. A limit of our own: the interpreter's depends on who calls."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_HALF_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u)")


def guard(raw: bytes | None, max_bytes: int) -> Rejection | None:
    """None for bytes worth decoding; else why not: `empty`, `too-large`, `not-utf8` or `too-deep`.

    max_bytes  the largest value accepted, in bytes

    >>> guard(b"", 100)
    Rejection(reason=<Reason.EMPTY: 'empty'>, detail='value: no bytes; send one JSON object')
    """
    if not raw:
        return Rejection(Reason.EMPTY, "value: no bytes; send one JSON object")
    if len(raw) > max_bytes:
        return Rejection(Reason.TOO_LARGE, f"value: {len(raw)} bytes; send at most {max_bytes}")
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            return Rejection(Reason.NOT_UTF8, f"value: byte {error.start} is not UTF-8; encode the JSON as UTF-8")
    nests = b"[" in raw or raw.find(b"{", 1) > 0  # most values are flat
    if nests and raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and depth(raw) > MAX_DEPTH:
        return Rejection(Reason.TOO_DEEP, f"value: nested more than {MAX_DEPTH} levels; send a flat object")
    return None


def depth(raw: bytes) -> int:
    """Levels of arrays and objects in JSON text; brackets inside strings do not count. O(bytes), no recursion.

    >>> depth(b'{"a": [[1], "[[["]}')
    3
    """
    deepest = level = 0
    for bracket in _BRACKETS.findall(_STRING.sub(b"", raw)):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


class LooseDecoder:
    """Reads the fields of a Struct by their JSON names, each as whatever JSON says, absent ones as UNSET."""

    def __init__(self, shape: type[msgspec.Struct]) -> None:
        names = [field.encode_name for field in msgspec.structs.fields(shape)]
        loose = msgspec.defstruct(f"Loose{shape.__name__}", [(name, Any, msgspec.UNSET) for name in names])
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(loose)

    def __call__(self, raw: bytes) -> Any:
        """The loose object.

        Raises Refused: `not-json`, `not-utf8` (half a surrogate pair), `not-an-object`, or `bad-value` for a number
        that fits no 64-bit float.
        """
        try:
            return self._decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(raw, error) from None


def unreadable(raw: bytes, error: Exception) -> Refused:
    """What is wrong with bytes that passed `guard` and that no shape of object can be read from."""
    if isinstance(error, msgspec.ValidationError):
        if raw.lstrip(b" \t\r\n").startswith(b"{"):
            field = str(error).rpartition("`$")[2].strip(".`")
            return Refused(Reason.BAD_VALUE, f"{field}: a number out of range; send one that fits a 64-bit float")
        try:
            msgspec.json.decode(raw)
        except msgspec.ValidationError:
            pass
        except (msgspec.DecodeError, UnicodeDecodeError) as worse:
            return unreadable(raw, worse)
        return Refused(Reason.NOT_AN_OBJECT, f"value: starts with {raw.lstrip()[:16]!r}; send one JSON object")
    if "surrogate" in str(error) or (b"\\u" in raw and _HALF_PAIR.search(raw)):
        return Refused(Reason.NOT_UTF8, "value: a \\u escape is half of a surrogate pair; send both halves, or UTF-8")
    return Refused(Reason.NOT_JSON, f"value: {error}, starts with {raw[:16]!r}; send one JSON object")


def decode_fields(
    raw: bytes | None, max_bytes: int, loose: LooseDecoder, contract: Contract, reason: Reason
) -> dict[str, Any] | Rejection:
    """The checked fields of a value; a fault of a field is reported as `reason`, a fault of the bytes as itself."""
    refused = guard(raw, max_bytes)
    if refused is not None or raw is None:
        return refused or Rejection(Reason.EMPTY, "value: absent")
    try:
        found = loose(raw)
    except Refused as error:
        return error.rejection
    try:
        return conform(found, contract)
    except Refused as error:
        return Rejection(reason, error.rejection.detail)


def decode_own(raw: bytes | None, max_bytes: int, decoder: msgspec.json.Decoder[T]) -> T | Rejection:
    """A message of our own; `bad-message` with the field and the fault if it is not in its schema."""
    refused = guard(raw, max_bytes)
    if refused is not None or raw is None:
        return refused or Rejection(Reason.EMPTY, "value: absent")
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        return Rejection(Reason.BAD_MESSAGE, f"value: {error}"[:300])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return unreadable(raw, error).rejection

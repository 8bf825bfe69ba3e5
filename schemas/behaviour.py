"""behaviour-events.v1: what a shopper does, wants, permits. Written by upstream services, keyed by `user_id`.

Two paths give one answer. The fast one decodes into constrained types in C and checks what types cannot say; whatever
it does not take (a fault, a time as text, a category as an array) goes to `_by_the_book`, which is the contract
written out field by field, and explains its refusals.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import xxhash
from msgspec import Meta

from schemas.fields import (
    AMOUNT_MAX,
    QUANTITY_MAX,
    Amount,
    Contract,
    EpochMs,
    Id,
    Path,
    category_path,
    chosen,
    conform,
    flag,
    integer,
    is_category_path,
    missing,
    named,
    number,
    shown,
    text,
)
from schemas.reasons import Reason, Refused, Rejection
from schemas.times import time_ms
from schemas.wire import LooseDecoder, guard, unreadable

SESSION_MAX: Final = 128
SURFACE_MAX: Final = 32
SOURCE_MAX: Final = 128

ItemType = Literal[
    "view", "click", "favourite", "unfavourite", "cart", "uncart", "purchase", "return", "dismiss", "rating", "share"
]
UserType = Literal["interest", "consent", "forget"]
BehaviourType = Literal[ItemType, UserType]

ITEM_TYPES: Final[frozenset[str]] = frozenset(get_args(ItemType))
"""Types about an item: `item_id` is required."""
USER_TYPES: Final[frozenset[str]] = frozenset(get_args(UserType))
"""Types about the user alone: `item_id` is forbidden."""
TYPES: Final = ITEM_TYPES | USER_TYPES


class BehaviourEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One accepted event, normalised. Its JSON encoding is itself a valid event.

    event_id    unique per user for as long as the producer may repeat it
    user_id     the record's key
    type        what happened
    time_ms     when it happened, epoch ms (JSON name: `time`)
    item_id     the item; None for interest, consent, forget
    session_id  the shop's own session, if it has one
    category    canonical path such as "Garden > Tools"
    value       price in major units, or the rating; 0..1e9
    quantity    pieces, 1..1_000_000
    surface     where on screen: "search", "home", "cart"
    source      what led there: a campaign, or a notification id
    granted     for consent and interest: given (true) or withdrawn (false)
    """

    event_id: Id
    user_id: Id
    type: BehaviourType
    time_ms: EpochMs = msgspec.field(name="time")
    item_id: Id | None = None
    session_id: Annotated[str, Meta(max_length=SESSION_MAX)] | None = None
    category: Path | None = None
    value: Amount | None = None
    quantity: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)] | None = None
    surface: Annotated[str, Meta(max_length=SURFACE_MAX)] | None = None
    source: Annotated[str, Meta(max_length=SOURCE_MAX)] | None = None
    granted: bool = True


_decode = msgspec.json.Decoder(BehaviourEvent).decode
_decode_loose = LooseDecoder(BehaviourEvent)
_encode = msgspec.msgpack.Encoder().encode


def decode_behaviour(raw: bytes | None, *, max_bytes: int) -> BehaviourEvent | Rejection:
    """The event in a record's value, or why it is refused. Never raises, whatever the bytes.

    raw        the record's value; None is a tombstone
    max_bytes  the largest value accepted, in bytes

    Not decided here, since it takes the record and the log: future-time, key-mismatch, wrong-partition, id-conflict.

    >>> good = b'{"event_id": "e1", "user_id": "u1", "type": "view", "item_id": "i1", "time": 1772362800000}'
    >>> decode_behaviour(good, max_bytes=65536).time_ms
    1772362800000
    >>> decode_behaviour(good.replace(b"000}", b"}"), max_bytes=65536).reason
    <Reason.SECONDS_NOT_MS: 'seconds-not-ms'>
    """
    refused = guard(raw, max_bytes)
    if refused is not None or raw is None:
        return refused or Rejection(Reason.EMPTY, "value: absent")
    try:
        event = _decode(raw)
    except msgspec.ValidationError as error:
        return _explained(raw, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return unreadable(raw, error).rejection
    if _is_lawful(event) and not ((b"\\" in raw or b"\x7f" in raw) and _may_hold_controls(event)):
        return event
    return _explained(raw)


def content_hash(event: BehaviourEvent) -> int:
    """32 unsigned bits over what the event says: equal for the same content in any key order, time notation or form.

    xxh3 over the MessagePack encoding, fields in the order of the class, absent ones left out: a field added to the
    contract later does not change the hash of older events.

    >>> raw = b'{"time": 1772362800000, "type": "forget", "user_id": "u1", "event_id": "e1", "more": [1]}'
    >>> content_hash(decode_behaviour(raw, max_bytes=65536)) == content_hash(
    ...     BehaviourEvent(event_id="e1", user_id="u1", type="forget", time_ms=1772362800000)
    ... )
    True
    """
    return xxhash.xxh3_64_intdigest(_encode(event)) & 0xFFFF_FFFF


def _is_lawful(event: BehaviourEvent) -> bool:
    """What the types of the fields cannot say. False also when in doubt: the slow path has the last word."""
    item_id, category, kind, value = event.item_id, event.category, event.type, event.value
    if item_id is None:
        if kind in ITEM_TYPES or (kind == "interest" and category is None):
            return False
    elif kind in USER_TYPES or item_id.isspace():
        return False
    if value is None:
        if kind == "rating":
            return False
    elif value == 0:
        return False  # may be a negative zero
    if event.event_id.isspace() or event.user_id.isspace():
        return False
    return category is None or is_category_path(category)


def _may_hold_controls(event: BehaviourEvent) -> bool:
    """Asked only when the bytes hold an escape or a DEL: JSON text has no other way to a control character."""
    some = (event.event_id, event.user_id, event.item_id, event.session_id, event.category, event.surface, event.source)
    return not "".join(filter(None, some)).isprintable()


def _explained(raw: bytes, error: msgspec.ValidationError | None = None) -> BehaviourEvent | Rejection:
    """The slow path: the event after all, or its fault; the field `error` points at is looked at first."""
    try:
        loose = _decode_loose(raw)
        suspect = _SUSPECTS.get(str(error).rpartition("`$.")[2][:-1])
        if suspect:
            conform(loose, suspect)
        return _by_the_book(loose)
    except Refused as refused:
        return refused.rejection


def _by_the_book(loose: Any) -> BehaviourEvent:
    """The contract: who, what, when; then the details. Raises Refused for the first fault."""
    values = conform(loose, _WHO_WHAT_WHEN)
    kind, item_id = values["type"], values.get("item_id")
    if item_id is None and kind in ITEM_TYPES:
        raise Refused(Reason.ITEM_MISSING, f"item_id: absent; type {kind!r} is about an item, so name it")
    if item_id is not None and kind in USER_TYPES:
        raise Refused(
            Reason.ITEM_NOT_ALLOWED, f"item_id = {shown(item_id)}: type {kind!r} is about a user; leave it out"
        )
    details = conform(loose, _DETAILS)
    if kind == "interest" and "category" not in details:
        raise missing("category", " for type 'interest'")
    if kind == "rating" and "value" not in details:
        raise missing("value", " for type 'rating'")
    return BehaviourEvent(time_ms=values.pop("time"), **values, **details)


_WHO_WHAT_WHEN: Final[Contract] = (
    ("event_id", named(), True),
    ("user_id", named(), True),
    ("type", chosen(TYPES, Reason.UNKNOWN_TYPE), True),
    ("time", time_ms, True),
    ("item_id", named(), False),
)
_DETAILS: Final[Contract] = (
    ("category", category_path, False),
    ("session_id", text(SESSION_MAX), False),
    ("value", number(0, AMOUNT_MAX), False),
    ("quantity", integer(1, QUANTITY_MAX), False),
    ("surface", text(SURFACE_MAX), False),
    ("source", text(SOURCE_MAX), False),
    ("granted", flag, False),
)
_SUSPECTS: Final[dict[str, Contract]] = {
    rule[0]: (rule,) for rule in (*_WHO_WHAT_WHEN, *_DETAILS) if rule[0] not in ("time", "category")
}
"""Fields of which the fast types refuse nothing that the contract takes."""

"""Every closed code of the contract, in one place: why input is refused, and why a notification is held.

Codes are kebab-case strings: they appear in dead-letter headers, in the journal, in metrics labels and in logs, always
spelled as here. docs/events.md prints these tables; a test keeps it current.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

import msgspec


class _Code(StrEnum):
    """A string enum whose members also say what they mean, in one line."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


class Reason(_Code):
    """Why a record was refused and went to dead-letters.v1.

    >>> Reason("bad-time").meaning
    'the time is malformed, has no UTC offset, or lies outside 2000-01-01..2100-01-01'
    """

    # the bytes
    EMPTY = "empty", "the record has no value (a tombstone) or a value of zero bytes"
    TOO_LARGE = "too-large", "the value is larger than the worker's limit for its topic"
    NOT_UTF8 = "not-utf8", "the bytes are not UTF-8, or a \\u escape is half of a surrogate pair"
    NOT_JSON = "not-json", "the bytes are not one JSON value; NaN, Infinity and a byte order mark are not JSON"
    TOO_DEEP = "too-deep", "arrays and objects are nested more than 32 levels deep"
    NOT_AN_OBJECT = "not-an-object", "the value is JSON, but not an object"
    # one field
    MISSING_FIELD = "missing-field", "a required field is absent or null"
    WRONG_TYPE = "wrong-type", "a field has another JSON type than the schema says"
    BAD_VALUE = "bad-value", "a field is empty, blank, out of range, or holds a control character"
    TOO_LONG = "too-long", "a string has more characters than the schema allows"
    UNKNOWN_TYPE = "unknown-type", "the event type is not one of the schema's"
    BAD_TIME = "bad-time", "the time is malformed, has no UTC offset, or lies outside 2000-01-01..2100-01-01"
    SECONDS_NOT_MS = "seconds-not-ms", "the time is a number below 1e11: seconds, where milliseconds are asked for"
    BAD_CATEGORY = "bad-category", "the category is not a path of 1..8 levels of 1..64 characters"
    # fields together
    ITEM_MISSING = "item-missing", "the event type is about an item and item_id is absent or null"
    ITEM_NOT_ALLOWED = "item-not-allowed", "interest, consent and forget are about a user: they may not name an item"
    # the record in its log; decided where the log is read
    FUTURE_TIME = "future-time", "the event time is more than a day ahead of the record's timestamp"
    KEY_MISMATCH = "key-mismatch", "the record's key is not the id it is partitioned by (user_id, or item_id)"
    WRONG_PARTITION = "wrong-partition", "the record sits in another partition than murmur2 of its key says"
    ID_CONFLICT = "id-conflict", "one of the user's last 32 events has the same event_id and other content"
    UNREADABLE_BATCH = "unreadable-batch", "a batch of records cannot be read (codec, checksum)"
    # the other topics
    BAD_LINKS = "bad-links", "an internal item-links message is not understood"
    BAD_CATALOGUE = "bad-catalogue", "a field of a catalogue record is missing, mistyped or out of range"
    BAD_SETTINGS = "bad-settings", "a field of a user-settings record is missing, mistyped or out of range"
    BAD_FEEDBACK = "bad-feedback", "a field of a feedback record is missing, mistyped or out of range"
    BAD_MESSAGE = (
        "bad-message",
        "a record Driftline itself writes (change, notification, decision) is not in its schema",
    )


class HoldReason(_Code):
    """Why the push worker decided not to notify; `push-decisions.v1` carries it with kind `held`.

    >>> HoldReason("cap").meaning
    'the user has had as many notifications in 24 hours as allowed'
    """

    KILL_SWITCH = "kill-switch", "an operator switched all notifications off"
    SHADOW = "shadow", "shadow mode: decisions are written, nothing is sent"
    CAP = "cap", "the user has had as many notifications in 24 hours as allowed"
    GAP = "gap", "the last notification to the user is too recent"
    LAG = "lag", "the worker is too far behind its input to speak of 'now'"
    STALE = "stale", "the interest change is too old to act on"
    NO_CANDIDATES = "no-candidates", "nothing is left to recommend after exclusions"
    LOW_SCORE = "low-score", "the best candidate is not similar enough to be worth a notification"
    NOT_A_RISE = "not-a-rise", "the change is not a rising interest"
    OPTED_OUT = "opted-out", "the user switched notifications off"
    NO_PROFILE = "no-profile", "the user has no profile: consent is withdrawn, or the user was forgotten"
    DUPLICATE = "duplicate", "the same change was decided before"
    OTHER_GENERATION = "other-generation", "the change was computed by a generation that does not serve"


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Refused input: the code, and one sentence that names the field, the value and what to do.

    >>> Rejection(Reason.EMPTY, "value: no bytes; send one JSON object")
    Rejection(reason=<Reason.EMPTY: 'empty'>, detail='value: no bytes; send one JSON object')
    """

    reason: Reason
    detail: str


class Refused(Exception):  # noqa: N818  # not an error: the way a check says no to its decoder, never leaves `schemas`
    """Carries a Rejection from a check of one field up to the `decode_*` function that returns it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.rejection = Rejection(reason, detail)

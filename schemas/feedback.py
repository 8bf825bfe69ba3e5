"""notification-feedback.v1: what became of a notification. Written by the notifier, keyed by `user_id`."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from schemas.fields import Contract, EpochMs, Id, chosen, named
from schemas.reasons import Reason, Rejection
from schemas.times import time_ms
from schemas.wire import LooseDecoder, decode_fields

Action = Literal["delivered", "opened", "clicked", "dismissed", "converted", "failed"]
ACTIONS: Final[frozenset[str]] = frozenset(get_args(Action))


class Feedback(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One thing that happened to one notification.

    event_id         unique per user for as long as the producer may repeat it
    notification_id  `id` of the notification
    user_id          the record's key
    action           what happened
    time_ms          when, epoch ms (JSON name: `time`)
    """

    event_id: Id
    notification_id: Id
    user_id: Id
    action: Action
    time_ms: EpochMs = msgspec.field(name="time")


def decode_feedback(raw: bytes | None, *, max_bytes: int) -> Feedback | Rejection:
    """The feedback in a record's value, or why it is refused: `bad-feedback`, or a fault of the bytes. Never raises.

    >>> decode_feedback(b"{}", max_bytes=65536)
    Rejection(reason=<Reason.BAD_FEEDBACK: 'bad-feedback'>, detail='event_id: absent or null; it is required')
    """
    values = decode_fields(raw, max_bytes, _loose, _CONTRACT, Reason.BAD_FEEDBACK)
    return values if isinstance(values, Rejection) else Feedback(time_ms=values.pop("time"), **values)


_CONTRACT: Final[Contract] = (
    ("event_id", named(), True),
    ("notification_id", named(), True),
    ("user_id", named(), True),
    ("action", chosen(ACTIONS), True),
    ("time", time_ms, True),
)
_loose = LooseDecoder(Feedback)

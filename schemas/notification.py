"""notifications.v1: one message per decision to notify, ready to show. Keyed by `user_id`."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.behaviour import BehaviourType
from schemas.fields import EpochMs, Id, Path
from schemas.interest_change import ChangeKind
from schemas.reasons import Rejection
from schemas.wire import decode_own

CE_TYPE: Final = "io.driftline.notification.v1"
MAX_BYTES: Final = 262_144
ITEMS_MAX: Final = 10
EVIDENCE_MAX: Final = 5
CAUSES_MAX: Final = 16

Title = Annotated[str, Meta(max_length=256)]
Sentence = Annotated[str, Meta(min_length=1, max_length=1024)]
Score = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class ItemEvidence(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An item of the user that speaks for the recommended one.

    title       None: not in the catalogue
    type        what the user did with it
    similarity  of the two items, 0..1
    """

    item_id: Id
    title: Title | None
    type: BehaviourType
    similarity: Share


class RecommendedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item to show.

    title     None: not in the catalogue
    score     summed weighted similarity, >= 0, comparable within one notification
    source    which rule found it: `similar`, `popular`, ...
    evidence  strongest first
    """

    item_id: Id
    title: Title | None
    score: Score
    source: Annotated[str, Meta(min_length=1, max_length=32)]
    evidence: Annotated[tuple[ItemEvidence, ...], Meta(max_length=EVIDENCE_MAX)] = ()


class NotificationReason(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Why this user, why now.

    kind         of the interest change
    explanation  one sentence for people
    """

    kind: ChangeKind
    category: Path
    explanation: Sentence


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One notification. A consumer that remembers `id` never shows one twice.

    id          derived from user and first cause
    title, text what to show
    items       best first
    created     when it was decided, epoch ms
    send_after  not to be shown before, epoch ms
    expires     not to be shown from then on, epoch ms
    cause_ids   interest changes it answers, oldest first; more than one for a digest
    """

    id: Id
    user_id: Id
    title: Annotated[str, Meta(min_length=1, max_length=256)]
    text: Sentence
    items: Annotated[tuple[RecommendedItem, ...], Meta(min_length=1, max_length=ITEMS_MAX)]
    reason: NotificationReason
    created: EpochMs
    send_after: EpochMs
    expires: EpochMs
    cause_ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=CAUSES_MAX)]


def encode(notification: Notification) -> bytes:
    """One JSON object, fields in the order of the class."""
    return _encoder.encode(notification)


def decode_notification(raw: bytes | None, *, max_bytes: int = MAX_BYTES) -> Notification | Rejection:
    """The inverse of `encode`; `bad-message` or a fault of the bytes for anything else. Never raises."""
    return decode_own(raw, max_bytes, _decoder)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Notification)

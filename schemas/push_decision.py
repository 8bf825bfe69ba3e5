"""push-decisions.v1, the journal: all that the push worker decided and took in. Push state is the fold of it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.coordinates import Coordinates
from schemas.feedback import Action
from schemas.fields import EpochMs, Id, Path
from schemas.notification import ITEMS_MAX
from schemas.reasons import HoldReason, Rejection
from schemas.user_settings import UserSettings
from schemas.wire import decode_own

CE_TYPE: Final = "io.driftline.push-decision.v1"
MAX_BYTES: Final = 262_144

DecisionKind = Literal["sent", "held", "deferred", "merged", "feedback", "setting"]


class DecisionCause(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The interest change a decision is about, as far as a later decision needs it.

    id          of the change
    offset      of its record in interest-changes.v1; the partition is the user's
    category    canonical path
    time        event time, epoch ms
    generation  that computed it
    visits      sessions in which the category showed
    """

    id: Id
    offset: Annotated[int, Meta(ge=0)]
    category: Path
    time: EpochMs
    generation: Annotated[int, Meta(ge=0)] = 0
    visits: Annotated[int, Meta(ge=0)] = 0


class PushDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the journal.

    kind             `sent`, `held` (with reason), `deferred` (with due), `merged` (into a notification to come),
                     `feedback` (with action), `setting` (with setting; none: back to the defaults)
    now              the moment it was decided at, epoch ms: caps and gaps are judged by it
    source           the input record; a decision made by a timer keeps that of its first cause
    cause            sent, held, deferred, merged
    reason           held: why
    due              deferred: when to decide again, epoch ms
    notification_id  sent, feedback: the notification; deferred, merged: the one it will be part of
    item_ids         sent, or held where items were chosen: best first
    action           feedback: what happened
    setting          setting: the user's settings from now on
    lag_s            seconds the input was behind when it was decided
    """

    kind: DecisionKind
    user_id: Id
    now: EpochMs
    source: Coordinates
    cause: DecisionCause | None = None
    reason: HoldReason | None = None
    due: EpochMs | None = None
    notification_id: Id | None = None
    item_ids: Annotated[tuple[Id, ...], Meta(max_length=ITEMS_MAX)] = ()
    action: Action | None = None
    setting: UserSettings | None = None
    lag_s: Annotated[float, Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError when a kind lacks what it is about."""
        for field in _NEEDS[self.kind]:
            if not getattr(self, field):
                raise ValueError(f"kind {self.kind!r} needs {field!r}")


_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "sent": ("cause", "notification_id", "item_ids"),
    "held": ("cause", "reason"),
    "deferred": ("cause", "due"),
    "merged": ("cause",),
    "feedback": ("notification_id", "action"),
    "setting": (),
}


def encode(decision: PushDecision) -> bytes:
    """One JSON object, fields in the order of the class, absent ones left out."""
    return _encoder.encode(decision)


def decode_push_decision(raw: bytes | None, *, max_bytes: int = MAX_BYTES) -> PushDecision | Rejection:
    """The inverse of `encode`; `bad-message` or a fault of the bytes for anything else. Never raises."""
    return decode_own(raw, max_bytes, _decoder)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(PushDecision)

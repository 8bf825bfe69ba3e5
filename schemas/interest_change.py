"""interest-changes.v1: a user's interest in a category rose, faded, or changed its tier. Keyed by `user_id`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.coordinates import Coordinates
from schemas.fields import EpochMs, Id, Path
from schemas.reasons import Rejection
from schemas.wire import decode_own

CE_TYPE: Final = "io.driftline.interest-change.v1"
MAX_BYTES: Final = 65_536
EVIDENCE_MAX: Final = 5

ChangeKind = Literal["rise", "fade", "tier"]
Tier = Literal["none", "emerging", "active", "core", "fading", "dormant"]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the change rests on.

    visits     sessions in which the category showed
    items      item ids in the category, newest first, at most 5
    event_ids  events, newest first, at most 5
    """

    visits: Annotated[int, Meta(ge=0)]
    items: Annotated[tuple[Id, ...], Meta(max_length=EVIDENCE_MAX)] = ()
    event_ids: Annotated[tuple[Id, ...], Meta(max_length=EVIDENCE_MAX)] = ()


class InterestChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change; its id is derived from its cause, so that a replay writes the same.

    id          the same change has the same id for ever
    kind        `rise`: the interest began to show; `fade`: it stopped; `tier`: any other step
    category    canonical path
    from_tier, to_tier   before and after
    affinity    share of the category in the user's affinities, 0..1
    time        event time of the cause, epoch ms
    cause       the behaviour event's record
    generation  that computed it, >= 0
    """

    id: Id
    user_id: Id
    kind: ChangeKind
    category: Path
    from_tier: Tier
    to_tier: Tier
    affinity: Annotated[float, Meta(ge=0, le=1)]
    time: EpochMs
    evidence: Evidence
    cause: Coordinates
    generation: Annotated[int, Meta(ge=0)] = 0


def encode(change: InterestChange) -> bytes:
    """One JSON object, fields in the order of the class."""
    return _encoder.encode(change)


def decode_interest_change(raw: bytes | None, *, max_bytes: int = MAX_BYTES) -> InterestChange | Rejection:
    """The inverse of `encode`; `bad-message` or a fault of the bytes for anything else. Never raises.

    >>> decode_interest_change(b'{"id": "c1"}').detail
    'value: Object missing required field `user_id`'
    """
    return decode_own(raw, max_bytes, _decoder)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(InterestChange)

"""Stage 1: behaviour events of one user partition become shoppers' states, link rows and interest changes.

Pure and record by record: nothing here depends on where a batch began or ended, on the clock, or on other partitions.
The rules: docs/fold.md, section 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from schemas.behaviour import BehaviourEvent, content_hash, decode_behaviour
from schemas.reasons import Reason, Rejection
from streams.core import interests
from streams.core.checkpoint import Checkpoint
from streams.core.hashing import MASK64, change_id, id_hash, user_partition
from streams.core.interests import Change
from streams.core.links import LinkRow
from streams.core.policy import LearningPolicy
from streams.core.records import Rejected, SourceRecord, UnreadableBatch, unreadable
from streams.core.user_state import (
    BOUGHT_MAX,
    DISMISSED_MAX,
    LINK_STEPS,
    RECENT_MAX,
    REPEAT_WINDOW,
    SEEN_MAX,
    SESSION_ITEMS_MAX,
    Consent,
    RecentItem,
    UserState,
)

AFFINITY_WEIGHTS = {
    "view": 1.0,
    "click": 1.0,
    "favourite": 3.0,
    "share": 3.0,
    "cart": 5.0,
    "purchase": 8.0,
    "dismiss": -3.0,
    "unfavourite": -3.0,
    "uncart": -5.0,
    "return": -8.0,
}
RATING_MOST = 5.0
DECLARED_WEIGHT = 8.0
_UNKNOWN, _GRANTED = int(Consent.UNKNOWN), int(Consent.GRANTED)
LINKING = frozenset(("view", "click", "favourite", "share", "cart", "purchase", "rating"))


Decoded = tuple[SourceRecord, BehaviourEvent | Rejection]


class InterestChanged(msgspec.Struct, frozen=True):
    """An interest change with what caused it."""

    id: str
    user_id: str
    change: Change
    items: tuple[str, ...]
    event_id: str
    offset: int
    timestamp_ms: int
    time_ms: int


class ProfilesDecision(msgspec.Struct):
    """What a run of records comes to. `dirty` names the states that changed (in place)."""

    checkpoint: Checkpoint
    dirty: set[str]
    links: list[LinkRow]
    changes: list[InterestChanged]
    rejects: list[Rejected]
    types: Counter[str]
    duplicates: int


def decode(records: Iterable[SourceRecord], max_bytes: int) -> list[Decoded]:
    """Every record with its event or the reason it is refused."""
    return [(record, _decode(record, max_bytes)) for record in records]


def _decode(record: SourceRecord, max_bytes: int) -> BehaviourEvent | Rejection:
    value = record.value
    return unreadable(value) if isinstance(value, UnreadableBatch) else decode_behaviour(value, max_bytes=max_bytes)


def fold(
    checkpoint: Checkpoint, decoded: Sequence[Decoded], states: dict[str, UserState], policy: LearningPolicy
) -> ProfilesDecision:
    """Apply records in order.

    checkpoint  as loaded; its watermark is the offset of the first record or lies before it
    decoded     at least one record, offsets rising
    states      of every user named in `decoded` that has one; changed in place, new ones are added
    """
    decision = ProfilesDecision(checkpoint, set(), [], [], [], Counter(), 0)
    newest_ms = checkpoint.newest_ms
    accepted = 0
    future_ms = int(policy.future_limit_s * 1000)
    for record, event in decoded:
        if isinstance(event, Rejection):
            decision.rejects.append(Rejected(record, event))
            continue
        state = states.get(event.user_id)
        refused = _placement(record, event, checkpoint, future_ms, known=state is not None)
        if refused is not None:
            decision.rejects.append(Rejected(record, refused))
            continue
        if state is None:
            state = states[event.user_id] = UserState()
        outcome = _admit(state, event)
        if isinstance(outcome, Rejection):
            decision.rejects.append(Rejected(record, outcome))
        elif outcome:
            accepted += 1
            newest_ms = max(newest_ms, event.time_ms)
            decision.dirty.add(event.user_id)
            decision.types[event.type] += 1
            _apply(state, record, event, policy, decision)
        else:
            decision.duplicates += 1
    decision.checkpoint = msgspec.structs.replace(
        checkpoint,
        watermark=decoded[-1][0].offset + 1,
        newest_ms=newest_ms,
        accepted=checkpoint.accepted + accepted,
        duplicates=checkpoint.duplicates + decision.duplicates,
        rejected=checkpoint.rejected + len(decision.rejects),
    )
    return decision


def _placement(
    record: SourceRecord, event: BehaviourEvent, checkpoint: Checkpoint, future_ms: int, *, known: bool
) -> Rejection | None:
    """Is the record where its user's records belong, and not ahead of its time? A user with a state belongs here."""
    key = event.user_id.encode()
    if record.key != key:
        return Rejection(
            Reason.KEY_MISMATCH, f"key {_shown(record.key)} is not user_id {event.user_id!r}; set the record's key"
        )
    if not known:
        right = user_partition(key, checkpoint.partitions)
        if right != checkpoint.partition:
            return Rejection(
                Reason.WRONG_PARTITION,
                f"partition {checkpoint.partition}, murmur2 of {event.user_id!r} says {right}; "
                "set partitioner=murmur2_random",
            )
    if event.time_ms > record.timestamp + future_ms:
        return Rejection(
            Reason.FUTURE_TIME,
            f"time {event.time_ms} is more than {future_ms // 1000} s ahead of the record's {record.timestamp}",
        )
    return None


def _shown(key: bytes | None) -> str:
    return "absent" if key is None else repr(key[:64])


def _admit(state: UserState, event: BehaviourEvent) -> bool | Rejection:
    """True for a new event (remembered from now on), False for one that was accepted before."""
    event_hash, content = id_hash(event.event_id), content_hash(event)
    seen = state.seen_ids
    if event_hash in seen:
        if state.seen_content[seen.index(event_hash)] == content:
            return False
        return Rejection(Reason.ID_CONFLICT, f"event_id {event.event_id!r} was used before with other content")
    seen.append(event_hash)
    state.seen_content.append(content)
    if len(seen) > SEEN_MAX:
        del seen[0], state.seen_content[0]
    return True


def _apply(
    state: UserState, record: SourceRecord, event: BehaviourEvent, policy: LearningPolicy, decision: ProfilesDecision
) -> None:
    if state.last_ms and event.time_ms - state.last_ms > policy.profile_horizon_s * 1000:
        state.clear_profile()
        state.last_ms = 0
        del state.seen_ids[:-1], state.seen_content[:-1]
    match event.type:
        case "consent":
            if not event.granted or not _profiled(state, policy):
                state.clear_profile()
            state.consent = int(Consent.GRANTED if event.granted else Consent.WITHDRAWN)
        case "forget":
            state.clear_profile()
        case "interest":
            _declare(state, event, policy)
        case _:
            _interact(state, record, event, policy, decision)


def _profiled(state: UserState, policy: LearningPolicy) -> bool:
    return policy.profile_unknown if state.consent == _UNKNOWN else state.consent == _GRANTED


def _declare(state: UserState, event: BehaviourEvent, policy: LearningPolicy) -> None:
    if not _profiled(state, policy) or event.category is None:
        return
    if event.granted:
        interest = interests.track(state, event.category)
        interest.declared = True
        interests.add_affinity(state, interest, DECLARED_WEIGHT, event.time_ms, policy)
    else:
        known = interests.tracked(state, event.category)
        if known is not None:
            known.declared = False


def _interact(
    state: UserState, record: SourceRecord, event: BehaviourEvent, policy: LearningPolicy, decision: ProfilesDecision
) -> None:
    assert event.item_id is not None  # the contract: every type that comes here is about an item
    item = id_hash(event.item_id)
    late = event.time_ms < state.last_ms - policy.session_gap_s * 1000
    if not late:
        _join_session(state, event, policy)
    if event.type in LINKING:
        decision.links.append(_link(state, record.offset, event, item, late=late))
    if not _profiled(state, policy):
        return
    if event.category is not None:
        for change in _attend(state, event, event.category, policy, late=late):
            decision.changes.append(_changed(state, record, event, change, decision.checkpoint))
    _remember_outcome(state, event.type, item)


def _join_session(state: UserState, event: BehaviourEvent, policy: LearningPolicy) -> None:
    key = 0 if event.session_id is None else id_hash(event.session_id)
    silent = event.time_ms - state.last_ms > policy.session_gap_s * 1000
    if state.sessions == 0 or silent or (key and state.session_key and key != state.session_key):
        state.sessions += 1
        state.session_items = []
        state.session_key = 0
    state.session_key = state.session_key or key
    state.last_ms = max(state.last_ms, event.time_ms)


def _link(state: UserState, offset: int, event: BehaviourEvent, item: int, *, late: bool) -> LinkRow:
    assert event.item_id is not None
    if late:
        return LinkRow(offset, event.time_ms, 0, 1.0, repeat=False, item=item, neighbours=(), name=event.item_id)
    held = state.session_items
    session = (id_hash(event.user_id) + state.sessions) & MASK64
    nearest = tuple(held[: -LINK_STEPS - 1 : -1])
    row = LinkRow(offset, event.time_ms, session, 1.0, item in held[-REPEAT_WINDOW:], item, nearest, event.item_id)
    held.append(item)
    if len(held) > SESSION_ITEMS_MAX:
        del held[0]
    return row


def _affinity_weight(event: BehaviourEvent) -> float:
    if event.type == "rating":
        return min(event.value or 0.0, RATING_MOST)
    return AFFINITY_WEIGHTS[event.type]


def _attend(
    state: UserState, event: BehaviourEvent, category: str, policy: LearningPolicy, *, late: bool
) -> list[Change]:
    """The event's category gains or loses affinity; its first positive event in a session is a visit."""
    weight = _affinity_weight(event)
    interest = interests.track(state, category) if weight > 0 else interests.tracked(state, category)
    if interest is None:
        return []
    interests.add_affinity(state, interest, weight, event.time_ms, policy)
    if weight <= 0 or late:
        return []
    assert event.item_id is not None
    state.recent.append(RecentItem(event.item_id, category, event.type, event.time_ms))
    if len(state.recent) > RECENT_MAX:
        del state.recent[0]
    interest.last_ms = max(interest.last_ms, event.time_ms)
    if interest.last_session == state.sessions:
        return []
    return interests.visit(state, interest, event.time_ms, policy)


def _changed(
    state: UserState, record: SourceRecord, event: BehaviourEvent, change: Change, checkpoint: Checkpoint
) -> InterestChanged:
    newest_first = (seen.item_id for seen in reversed(state.recent) if seen.category == change.category)
    return InterestChanged(
        change_id(checkpoint.topic_id, event.user_id, checkpoint.partition, record.offset, change.category),
        event.user_id,
        change,
        tuple(dict.fromkeys(newest_first))[:5],
        event.event_id,
        record.offset,
        record.timestamp,
        event.time_ms,
    )


def _remember_outcome(state: UserState, kind: str, item: int) -> None:
    match kind:
        case "purchase":
            _move_to_end(state.bought, item, BOUGHT_MAX)
        case "dismiss":
            _move_to_end(state.dismissed, item, DISMISSED_MAX)
        case "return" if item in state.bought:
            state.bought.remove(item)


def _move_to_end(held: list[int], item: int, most: int) -> None:
    if item in held:
        held.remove(item)
    held.append(item)
    if len(held) > most:
        del held[0]

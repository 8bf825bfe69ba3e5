"""The journal's fold: what its entries, in order, make of a user, of the timers, and of the position itself."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import msgspec

from schemas.push_decision import DecisionCause, PushDecision
from schemas.reasons import HoldReason
from streams.core.checkpoint import UnknownVersionError
from streams.core.hashing import id_hash
from streams.core.push.state import (
    CAUSES_MAX,
    DAY_MS,
    DEFERRED_CAUSES_MAX,
    NEW,
    SENDS_MAX,
    SENT_CAUSES_MAX,
    SENT_ITEMS_MAX,
    Deferral,
    PushState,
)

VERSION = 1


def apply(state: PushState, entry: PushDecision) -> PushState:
    """The state after one entry. The state before is not changed."""
    match entry:
        case PushDecision(kind="setting"):
            return msgspec.structs.replace(state, setting=entry.setting)
        case PushDecision(kind="feedback", action=str() as action):
            return msgspec.structs.replace(state, feedback=_counted(state.feedback, action))
        case PushDecision(cause=DecisionCause() as cause):
            return _decided(state, entry, cause)
    raise ValueError(f"a journal entry of kind {entry.kind} without its content: {entry.source}")


def _decided(state: PushState, entry: PushDecision, cause: DecisionCause) -> PushState:
    hashed = id_hash(cause.id)
    causes = state.causes
    if hashed not in causes and entry.reason is not HoldReason.OTHER_GENERATION:  # the serving one sends it as well
        causes = (*causes, hashed)[-CAUSES_MAX:]
    waiting = state.deferral
    is_its_end = waiting is not None and waiting.causes[0].id == cause.id and entry.reason is not HoldReason.DUPLICATE
    deferral = None if is_its_end else waiting
    match entry.kind:
        case "deferred":
            deferral = Deferral(entry.due or 0, waiting.causes if waiting is not None and is_its_end else (cause,))
        case "merged" if waiting is not None:
            deferral = Deferral(waiting.due_ms, (*waiting.causes, cause)[:DEFERRED_CAUSES_MAX])
        case "sent":
            return msgspec.structs.replace(
                state,
                sends=(*(at for at in state.sends if at > entry.now - DAY_MS), entry.now)[-SENDS_MAX:],
                last_sent_ms=max(state.last_sent_ms, entry.now),
                sent_items=(*state.sent_items, *map(id_hash, entry.item_ids))[-SENT_ITEMS_MAX:],
                sent_causes=(*state.sent_causes, hashed)[-SENT_CAUSES_MAX:],
                causes=causes,
                deferral=deferral,
            )
    return msgspec.structs.replace(state, causes=causes, deferral=deferral)


def _counted(totals: tuple[tuple[str, int], ...], action: str) -> tuple[tuple[str, int], ...]:
    counts = dict(totals)
    counts[action] = counts.get(action, 0) + 1
    return tuple(sorted(counts.items()))


def fold(states: Mapping[str, PushState], entries: Iterable[PushDecision]) -> dict[str, PushState]:
    """The states that change under entries, in order.

    states  of the users named in `entries`; one that is missing is new
    """
    changed: dict[str, PushState] = {}
    for entry in entries:
        before = changed.get(entry.user_id) or states.get(entry.user_id, NEW)
        changed[entry.user_id] = apply(before, entry)
    return changed


class Timer(msgspec.Struct, frozen=True):
    """An open deferral: when it is due, the cause that names it, and the offset of its journal record."""

    due_ms: int
    cause_id: str
    offset: int


class Timers:
    """The open deferrals of one partition, by user."""

    def __init__(self) -> None:
        self._open: dict[str, Timer] = {}  # by offset, because a new deferral goes to the end
        self._earliest_ms: int | None = None

    def __len__(self) -> int:
        return len(self._open)

    def take_in(self, offset: int, entry: PushDecision) -> None:
        """Follow one entry of the journal, in order."""
        if entry.cause is None or entry.kind == "merged" or entry.reason is HoldReason.DUPLICATE:
            return
        open_now = self._open.get(entry.user_id)
        if open_now is not None and open_now.cause_id == entry.cause.id:
            del self._open[entry.user_id]
        if entry.kind == "deferred":
            self._open[entry.user_id] = Timer(entry.due or 0, entry.cause.id, offset)
        self._earliest_ms = None

    def due(self, now_ms: int, most: int) -> list[tuple[int, str]]:
        """(due_ms, user) of the deferrals that are due, the earliest first; at most `most`."""
        if self._earliest_ms is None:
            self._earliest_ms = min((timer.due_ms for timer in self._open.values()), default=1 << 62)
        if now_ms < self._earliest_ms:
            return []
        due = ((timer.due_ms, user) for user, timer in self._open.items() if timer.due_ms <= now_ms)
        return heapq.nsmallest(most, due)

    def from_offset(self, end: int) -> int:
        """Where reading the journal has to start to find every open deferral: at `end` if there is none."""
        return next((timer.offset for timer in self._open.values()), end)


class JournalPosition(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Up to where the states in Redis are the fold of the journal, and what makes it this journal.

    topic_id     incarnation of push-decisions.v1
    partition    of the journal, of `partitions`
    offset       the next entry to fold, >= 0
    now_ms       the largest `now` folded
    timers_from  offset of the oldest open deferral, `offset` if there is none
    """

    topic_id: str
    partition: int
    partitions: int
    offset: int = 0
    now_ms: int = 0
    timers_from: int = 0

    def encode(self) -> bytes:
        """Version byte, then the fields in order as one msgpack array."""
        return bytes((VERSION,)) + _ENCODER.encode(self)

    def after(self, last_offset: int, entries: Iterable[PushDecision], timers: Timers) -> JournalPosition:
        """The position behind `entries`, the last of which lies at `last_offset`; `timers` followed them already."""
        now_ms = max((entry.now for entry in entries), default=0)
        end = last_offset + 1
        return msgspec.structs.replace(
            self, offset=end, now_ms=max(self.now_ms, now_ms), timers_from=timers.from_offset(end)
        )


def decode_position(data: bytes) -> JournalPosition:
    """The inverse of `JournalPosition.encode`. Raises UnknownVersionError for another layout."""
    if not data or data[0] != VERSION:
        raise UnknownVersionError(
            f"journal position layout {data[:1].hex() or 'empty'}, this release reads {VERSION:02x}"
        )
    return _DECODER.decode(data[1:])


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(JournalPosition)

"""Whether to notify: every rule that can be judged before anything is looked up, in one order (docs/push.md)."""

from __future__ import annotations

import msgspec

from schemas.push_decision import DecisionCause
from schemas.reasons import HoldReason
from streams.core.hashing import id_hash
from streams.core.push.quiet import quiet_until
from streams.core.push.state import DAY_MS, Deferral, PushState


class PushPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's rules. Times in seconds.

    enabled      False holds everything (`kill-switch`)
    shadow       everything is decided and nothing sent (`shadow`)
    cap_per_day  notifications a user may get in any 24 hours, 0..100
    gap_s        between two notifications to one user
    items        in one notification at most, >= 1
    min_score    an item below is not worth a notification, >= 0
    max_lag_s    input further behind than this is `lag`
    max_age_s    an interest change older (or further ahead) than this is `stale`
    expiry_s     a notification's life time, also of a deferred decision
    """

    enabled: bool = True
    shadow: bool = False
    cap_per_day: int = 1
    gap_s: float = 4 * 3600.0
    items: int = 3
    min_score: float = 0.02
    max_lag_s: float = 60.0
    max_age_s: float = 3600.0
    expiry_s: float = 24 * 3600.0


class Hold(msgspec.Struct, frozen=True):
    """No notification, and why."""

    reason: HoldReason


class Defer(msgspec.Struct, frozen=True):
    """Decide again at `due_ms`, the end of the user's quiet hours."""

    due_ms: int


class Merge(msgspec.Struct, frozen=True):
    """Part of the digest that is named after its first cause."""

    into: str


class Proceed(msgspec.Struct, frozen=True):
    """Nothing stands against a notification: look for candidates."""


Verdict = Hold | Defer | Merge | Proceed


def judge(
    cause: DecisionCause, state: PushState, policy: PushPolicy, *, rises: bool, now_ms: int, lag_s: float, serving: int
) -> Verdict:
    """What to do with one interest change. The first rule that applies decides.

    rises    whether the change says that an interest rises
    now_ms   the moment of the decision, epoch ms
    lag_s    seconds the change waited in its topic
    serving  the generation that serves
    """
    hashed = id_hash(cause.id)
    if hashed in state.causes or hashed in state.sent_causes:
        return Hold(HoldReason.DUPLICATE)
    reason = _not_now([cause], state, policy, serving)
    if reason is None and not rises:
        reason = HoldReason.NOT_A_RISE
    if reason is None and abs(now_ms - cause.time) > policy.max_age_s * 1000:
        reason = HoldReason.STALE
    if reason is None and lag_s > policy.max_lag_s:
        reason = HoldReason.LAG
    reason = reason or _too_many(state, policy, now_ms)
    if reason is not None:
        return Hold(reason)
    due_ms = quiet_until(now_ms, state.quiet_hours)
    if due_ms is None:
        return Proceed()
    return Defer(due_ms) if state.deferral is None else Merge(state.deferral.causes[0].id)


def judge_due(deferral: Deferral, state: PushState, policy: PushPolicy, *, now_ms: int, serving: int) -> Verdict:
    """What to do with a deferred decision whose time has come; the same rules, with `expiry_s` as the age limit."""
    newest_ms = max(cause.time for cause in deferral.causes)
    reason = _not_now(deferral.causes, state, policy, serving)
    if reason is None and now_ms - newest_ms > policy.expiry_s * 1000:
        reason = HoldReason.STALE
    reason = reason or _too_many(state, policy, now_ms)
    if reason is not None:
        return Hold(reason)
    due_ms = quiet_until(now_ms, state.quiet_hours)
    return Proceed() if due_ms is None else Defer(due_ms)


def cap_of(state: PushState, policy: PushPolicy) -> int:
    """Notifications this user may get in any 24 hours: the operator's cap, or the user's own if that is lower."""
    own = None if state.setting is None else state.setting.cap_per_day
    return policy.cap_per_day if own is None else min(own, policy.cap_per_day)


def _not_now(
    causes: tuple[DecisionCause, ...] | list[DecisionCause], state: PushState, policy: PushPolicy, serving: int
) -> HoldReason | None:
    if all(cause.generation != serving for cause in causes):
        return HoldReason.OTHER_GENERATION
    if not policy.enabled:
        return HoldReason.KILL_SWITCH
    if state.opted_out:
        return HoldReason.OPTED_OUT
    return None


def _too_many(state: PushState, policy: PushPolicy, now_ms: int) -> HoldReason | None:
    """Cap and gap. A send that lies in the future (a clock was set back) counts."""
    if sum(sent > now_ms - DAY_MS for sent in state.sends) >= cap_of(state, policy):
        return HoldReason.CAP
    if state.last_sent_ms and now_ms - state.last_sent_ms < policy.gap_s * 1000:
        return HoldReason.GAP
    return None

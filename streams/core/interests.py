"""A shopper's category interests: decayed affinity, tiers with hysteresis, and a first drift signal.

The drift signal is a count rule over sessions: an interest rises when it shows in several of the newest sessions and
hardly in those before. The unit of evidence is the session, because events inside one are not independent of each
other. The rules: docs/fold.md, sections 1.6 and 1.8.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from streams.core.forward_decay import epoch_of, rescale, weight_at
from streams.core.policy import LearningPolicy
from streams.core.user_state import CATEGORIES_MAX, Interest, Tier, UserState

# The tiers as plain integers: reading a member of an enum costs more than the comparison it is for.
NONE, EMERGING, ACTIVE, CORE, FADING, DORMANT = (int(tier) for tier in Tier)

HISTORY_BITS = 32
_HISTORY_MASK = (1 << HISTORY_BITS) - 1

ChangeKind = Literal["rise", "fade", "tier"]


class Change(msgspec.Struct, frozen=True):
    """One interest changed. `share` is the category's part of the shopper's affinity, 0..1."""

    kind: ChangeKind
    category: str
    from_tier: Tier
    to_tier: Tier
    share: float
    visits: int


def tracked(state: UserState, category: str) -> Interest | None:
    """The interest in exactly this category, None if it is not tracked."""
    for interest in state.interests:
        if interest.category == category:
            return interest
    return None


def track(state: UserState, category: str) -> Interest:
    """The interest in this category, tracked from now on if it was not; the least one is forgotten above the cap."""
    found = tracked(state, category)
    if found is not None:
        return found
    interest = Interest(category)
    state.interests.append(interest)
    if len(state.interests) > CATEGORIES_MAX:
        others = state.interests[:-1]
        free = [other for other in others if not other.declared] or others
        state.interests.remove(min(free, key=lambda other: other.affinity))
    return interest


def add_affinity(state: UserState, interest: Interest, weight: float, time_ms: int, policy: LearningPolicy) -> None:
    """Forward-decayed affinity: the weight counts as much less as it is older, whenever it arrives."""
    half_life_s = policy.affinity_half_life_s
    t_s = time_ms / 1000
    epoch = epoch_of(t_s, half_life_s)
    if epoch > state.epoch:
        factor = rescale(epoch - state.epoch)
        for other in state.interests:
            other.affinity *= factor
        state.epoch = epoch
    interest.affinity = max(0.0, interest.affinity + weight * weight_at(t_s, half_life_s, state.epoch))


def visit(state: UserState, touched: Interest, time_ms: int, policy: LearningPolicy) -> list[Change]:
    """The first positive event on a category in the current session: history moves on, every tier is judged again."""
    passed = state.sessions - touched.last_session
    moved = touched.history << passed if touched.last_session and passed < HISTORY_BITS else 0
    touched.history = moved & _HISTORY_MASK | 1
    touched.last_session = state.sessions
    touched.visits += 1
    total = total_affinity(state)
    core_down, active_down = policy.core_down, policy.active_down
    dormant_ms = policy.dormant_after_s * 1000
    changes = []
    for interest in state.interests:
        if interest is not touched and not interest.risen:
            # Not visited now: most interests cannot change, and seeing that here is cheap.
            tier = interest.tier
            if tier == FADING:
                if time_ms - interest.last_ms <= dormant_ms:
                    continue
            elif ACTIVE <= tier <= CORE:
                if total and interest.affinity / total >= (core_down if tier == CORE else active_down):
                    continue
            elif tier != EMERGING:
                continue
        share = interest.affinity / total if total else 0.0
        change = _judge(state, interest, share, time_ms, policy, touched=interest is touched)
        if change is not None:
            changes.append(change)
    return changes


def total_affinity(state: UserState) -> float:
    """Sum of the affinities, left to right: `sum` rounds differently from Python 3.12 on."""
    total = 0.0
    for interest in state.interests:
        total += interest.affinity
    return total


def _judge(
    state: UserState, interest: Interest, share: float, time_ms: int, policy: LearningPolicy, *, touched: bool
) -> Change | None:
    recent, before, sessions_before = _counts(state, interest, policy)
    if recent <= 1:
        interest.risen = False
    rises = (
        touched
        and not interest.risen
        and recent >= policy.rise_sessions
        and sessions_before >= policy.rise_history
        and before <= policy.rise_before * sessions_before
    )
    if rises:
        interest.risen = True
    old = interest.tier
    level = _level(state, interest, share, policy, touched=touched)
    new = _next_tier(interest, level, recent, time_ms, policy, rises=rises)
    interest.tier = new
    if not rises and new == old:
        return None
    kind: ChangeKind = "rise" if rises else "fade" if new == FADING else "tier"
    return Change(kind, interest.category, Tier(old), Tier(new), share, interest.visits)


def _counts(state: UserState, interest: Interest, policy: LearningPolicy) -> tuple[int, int, int]:
    """(visited sessions in the window, visited sessions before it, sessions before it)."""
    window = policy.rise_window
    passed = state.sessions - interest.last_session
    bits = (interest.history << passed) & _HISTORY_MASK if passed < HISTORY_BITS else 0
    sessions_before = max(0, min(state.sessions - state.since, HISTORY_BITS) - window)
    recent = (bits & ((1 << window) - 1)).bit_count()
    before = ((bits >> window) & ((1 << sessions_before) - 1)).bit_count()
    return recent, before, sessions_before


def _level(state: UserState, interest: Interest, share: float, policy: LearningPolicy, *, touched: bool) -> int:
    """The tier the share alone speaks for: thresholds with hysteresis; a promotion needs a visit now."""
    tier, visits = interest.tier, interest.visits
    if tier == CORE and share >= policy.core_down:
        return CORE
    rank = tier if tier in (CORE, ACTIVE) else NONE
    may_rise = touched and (rank != NONE or state.sessions - state.since >= 3)
    if may_rise and rank != CORE and visits >= 4 and share >= policy.core_up:
        return CORE
    if rank != NONE:
        return ACTIVE if share >= policy.active_down else NONE
    return ACTIVE if may_rise and visits >= 2 and share >= policy.active_up else NONE


def _next_tier(
    interest: Interest, level: int, recent: int, time_ms: int, policy: LearningPolicy, *, rises: bool
) -> int:
    if level != NONE:
        return level
    tier = interest.tier
    if tier in (CORE, ACTIVE) or (tier == EMERGING and recent == 0):
        return FADING
    if rises:
        return EMERGING
    if tier == FADING and time_ms - interest.last_ms > policy.dormant_after_s * 1000:
        return DORMANT
    return tier

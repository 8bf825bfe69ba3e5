"""What the fold obeys: the numbers of stage 1 and stage 2, declared once. Part of every checkpoint's settings hash."""

from __future__ import annotations

import msgspec


class LearningPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Constants of the fold. Changing one changes what replaying the same log gives.

    session_gap_s          a pause longer than this starts a new session
    count_half_life_s      half-life of co-occurrence counts and degrees, event time
    recency_half_life_s    half-life of the short-term weights (row R, degree "recent"), event time
    affinity_half_life_s   half-life of a shopper's category affinities, event time
    gap_decay              weight of a co-occurrence d steps apart: gap_decay ** (d - 1), d = 1..5
    backward_recency       share of a step's weight the backward row adds to R
    core_up/down, active_up/down   thresholds of the affinity share with hysteresis
    rise_sessions, rise_window     an interest rises when it shows in this many of the newest `rise_window` sessions
    rise_before            ... and in at most this share of the sessions before (of at most 32 - rise_window)
    rise_history           ... of which there are at least this many
    dormant_after_s        a fading interest without a visit for this long is dormant
    profile_horizon_s      a user silent for longer in event time starts anew
    item_horizon_s         the same for an item
    future_limit_s         an event further ahead of its record's timestamp is refused
    profile_unknown        whether a user who never sent a consent event may be profiled
    """

    session_gap_s: float = 1800.0
    count_half_life_s: float = 60 * 86_400.0
    recency_half_life_s: float = 3 * 86_400.0
    affinity_half_life_s: float = 14 * 86_400.0
    gap_decay: float = 0.6
    backward_recency: float = 0.3
    core_up: float = 0.24
    core_down: float = 0.16
    active_up: float = 0.085
    active_down: float = 0.055
    rise_sessions: int = 3
    rise_window: int = 6
    rise_before: float = 0.1
    rise_history: int = 6
    dormant_after_s: float = 30 * 86_400.0
    profile_horizon_s: float = 365 * 86_400.0
    item_horizon_s: float = 365 * 86_400.0
    future_limit_s: float = 86_400.0
    profile_unknown: bool = True

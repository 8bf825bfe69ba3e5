"""The oracle itself, against numbers derived by hand from docs/fold.md.

Half-lives are chosen so that the powers of two are whole: a day for counts and affinities, half a day for recency.
T0 = 600 · 32 days, the first moment of epoch 600, so g(T0) = 1, g(T0 + 1 day) = 2, g(T0 + 2 days) = 4.
"""

import json
import struct
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
import xxhash

from streams.core.policy import LearningPolicy
from tests.chaos.oracle import Row, decode_links, fold_behaviour, fold_links, h

DAY = 86_400
T0_S = 600 * 32 * DAY
T0 = T0_S * 1000
GAP = 1_800_000
POLICY = {"affinity_half_life_s": DAY, "count_half_life_s": DAY, "recency_half_life_s": DAY / 2}
A, B, C, X = h("a"), h("b"), h("c"), h("x")


def event(number: int | str, kind: str = "view", ms: int = 0, **fields: Any) -> dict[str, Any]:
    """An event `ms` after T0. Item types are about item "a" unless told."""
    about = {} if kind in ("interest", "consent", "forget") else {"item_id": "a"}
    return {"event_id": f"e{number}", "user_id": "u", "type": kind, "time": T0 + ms} | about | fields


def fold(*events: dict[str, Any], partitions: int = 1, item_partitions: int = 1, **policy: Any) -> Any:
    """Stage 1 of a log whose offsets count from 0 and whose records were written at the time of their event."""
    log = [(i, e["time"], e["user_id"].encode(), json.dumps(e).encode()) for i, e in enumerate(events)]
    return fold_behaviour(log, (0, partitions), item_partitions, LearningPolicy(**POLICY | policy), "T")


def user(*events: dict[str, Any], **policy: Any) -> Any:
    return fold(*events, **policy).users["u"]


def rows(*events: dict[str, Any]) -> list[Row]:
    return [row for row, _ in fold(*events).rows]


def visits(first: int, last: int, category: str, kind: str = "view", **fields: Any) -> list[dict[str, Any]]:
    """One event a session, all at T0: the shop's own session ids part them, so g = 1 and affinities are sums."""
    return [event(s, kind, session_id=f"s{s}", category=category, **fields) for s in range(first, last + 1)]


def f32(value: float) -> float:
    return float(np.float32(value))


# ---- 1.1 Is the record acceptable? ----------------------------------------------------------------------------------


def outcomes(stage: Any) -> dict[str, int]:
    return dict(Counter(verdict for _, verdict in stage.verdicts))


def test_the_first_reason_that_applies_is_the_rejects() -> None:
    # murmur2("21") & 0x7fffffff = 2**31 - 973932308 = 1173551340, even: partition 0 of 2; "abc" is odd: partition 1.
    at_home = {"user_id": "21"}
    late_key = json.dumps(event(1, ms=DAY * 1000 + 1, user_id="abc")).encode()
    too_early = json.dumps(event(2, ms=DAY * 1000 + 1, **at_home)).encode()
    in_time = json.dumps(event(3, ms=DAY * 1000, **at_home)).encode()
    log = [
        (10, T0, b"abc", None),
        (11, T0, b"abc", b"{"),
        (12, T0, b"21", late_key),  # key, partition of abc and time are wrong: the key comes first
        (13, T0, None, late_key),
        (14, T0, b"abc", late_key),  # partition and time are wrong
        (15, T0, b"21", too_early),
        (16, T0, b"21", in_time),  # exactly a day ahead
    ]
    stage = fold_behaviour(log, (0, 2), 1, LearningPolicy(), "T")
    verdicts = ["empty", "not-json", "key-mismatch", "key-mismatch", "wrong-partition", "future-time", "accepted"]
    assert stage.verdicts == list(zip(range(10, 17), verdicts, strict=True))
    assert stage.newest_ms == T0 + DAY * 1000
    assert list(stage.users) == ["21"]


def test_a_duplicate_is_counted_and_another_content_is_a_conflict() -> None:
    stage = fold(event(1), event(1), event(1, ms=5), event(2, ms=1))
    assert [verdict for _, verdict in stage.verdicts] == ["accepted", "duplicate", "id-conflict", "accepted"]
    assert stage.newest_ms == T0 + 1  # not T0 + 5
    assert [row.offset for row, _ in stage.rows] == [0, 3]
    assert len(stage.users["u"].ids) == 2


def test_an_id_is_forgotten_after_32_others() -> None:
    # e0, then 31 others: e0 is the oldest of 32 and known. One more, and it is new.
    others = [event(i, ms=i) for i in range(1, 32)]
    assert outcomes(fold(event(0), *others, event(0))) == {"accepted": 32, "duplicate": 1}
    again = fold(event(0), *others, event(32, ms=32), event(0))
    assert outcomes(again) == {"accepted": 34}


def test_a_duplicate_does_not_renew_its_place() -> None:
    others = [event(i, ms=i) for i in range(1, 32)]
    again = fold(event(0), *others, event(0), event(32, ms=32), event(0))
    assert outcomes(again) == {"accepted": 34, "duplicate": 1}


# ---- 1.2 Expiry -----------------------------------------------------------------------------------------------------


def test_a_user_silent_for_longer_than_the_horizon_starts_anew_but_counts_on() -> None:
    year = 365 * DAY * 1000
    kept = user(event(1, category="C"), event(2, ms=year))
    assert (kept.sessions, list(kept.categories), len(kept.ids)) == (2, ["C"], 2)
    new = user(event(1, category="C"), event(2, ms=year + 1))
    assert (new.sessions, list(new.categories), len(new.ids)) == (2, [], 1)
    assert new.last_ms == T0 + year + 1


# ---- 1.3 Types ------------------------------------------------------------------------------------------------------


def test_a_withdrawal_in_mid_session_clears_the_profile_and_the_session() -> None:
    before = [event(1, "purchase", category="C", session_id="s"), event(2, "dismiss", ms=1)]
    stage = fold(*before, event(3, "consent", ms=2, granted=False), event(4, ms=3, category="C", session_id="s"))
    u = stage.users["u"]
    assert (u.consent, u.last_ms, len(u.ids)) == ("withdrawn", T0 + 3, 4)
    assert (u.categories, u.recent, u.bought, u.dismissed, u.epoch) == ({}, (), (), (), 0)
    # It is not profiled now, but the session goes on, without its items: no neighbours, no repeat.
    assert (u.sessions, u.since) == (1, 1)
    assert stage.rows[1][0] == Row(3, T0 + 3, (h("u") + 1) % 2**64, 1.0, repeat=False, item=A, neighbours=())


def test_a_session_that_was_cleared_has_no_name_and_takes_the_next_one() -> None:
    u = user(event(1, session_id="s"), event(2, "forget", ms=1), event(3, ms=2, session_id="r"))
    assert (u.sessions, u.session_id, u.items) == (1, "r", ("a",))


def test_consent_given_again_clears_only_a_user_who_was_not_profiled() -> None:
    view, yes = event(1, category="C"), event(2, "consent", ms=1, granted=True)
    assert (list(user(view, yes).categories), user(view, yes).since) == (["C"], 0)
    unknown = user(view, yes, profile_unknown=False)
    assert (unknown.items, unknown.since, unknown.consent) == ((), 1, "granted")
    assert user(view, yes, event(3, "consent", ms=2), profile_unknown=False).since == 1


def test_what_is_late_stays_late_after_a_clearing() -> None:
    stage = fold(event(1, ms=GAP), event(2, "forget", ms=GAP), event(3, ms=-1))
    u = stage.users["u"]
    assert (u.consent, u.last_ms, u.sessions, stage.rows[1][0].session) == ("unknown", T0 + GAP, 1, 0)


def test_consent_outlives_a_forget_and_an_expiry() -> None:
    no, yes = event(1, "consent", granted=False), event(1, "consent", granted=True)
    assert user(no, event(2, "forget", ms=1)).consent == "withdrawn"
    late = user(yes, event(2, ms=1), event(3, ms=366 * DAY * 1000, category="C"), profile_unknown=False)
    assert (late.consent, list(late.categories), len(late.ids)) == ("granted", ["C"], 1)


def test_sessions_before_a_clearing_say_nothing_about_interests() -> None:
    # D rises in session 12 against nine sessions of C (see below). After a forget in session 9 it cannot: the nameless
    # session takes the name s10, so e10 to e13 lie in s = 0 to 3, and s = 3 with four visits makes D core at once.
    kept = [*visits(1, 9, "C"), *visits(10, 13, "D")]
    assert [c.event_id for c in fold(*kept).changes if c.kind == "rise"] == ["e12"]
    cleared = [*visits(1, 9, "C"), event("f", "forget"), *visits(10, 13, "D")]
    assert steps(fold(*cleared))[2:] == [("e13", "D", "tier", "none", "core")]
    assert user(*cleared).since == 9


def test_who_is_profiled() -> None:
    view, yes = event(9, ms=9, category="C"), event(1, "consent", granted=True)
    no, forget = event(2, "consent", ms=1, granted=False), event(3, "forget", ms=2)
    assert user(view).categories
    assert not user(view, profile_unknown=False).categories
    assert user(yes, view, profile_unknown=False).categories
    assert not user(yes, no, view).categories
    assert not user(yes, no, forget, view).categories  # forget does not touch the consent
    assert user(yes, forget, view, profile_unknown=False).categories


def test_consent_and_interest_are_no_sessions_and_do_not_move_the_time() -> None:
    u = user(event(1, "consent", ms=5), event(2, "interest", ms=6, category="C"))
    assert (u.sessions, u.last_ms) == (0, 0)
    c = u.categories["C"]
    assert (c.declared, c.visits, c.history, c.last_ms, c.tier) == (True, 0, 0, 0, "none")
    assert c.affinity == pytest.approx(8, rel=1e-6)  # 8 · 2^(6 ms / 1 day)


def test_an_interest_taken_back_keeps_its_affinity() -> None:
    u = user(event(1, "interest", category="C"), event(2, "interest", category="C", granted=False))
    assert (u.categories["C"].declared, u.categories["C"].affinity) == (False, 8.0)
    assert not user(event(1, "interest", category="C", granted=False)).categories


# ---- 1.4 Sessions ---------------------------------------------------------------------------------------------------


def test_a_pause_of_exactly_the_gap_is_still_the_session() -> None:
    assert user(event(1), event(2, ms=GAP)).sessions == 1
    assert user(event(1), event(2, ms=GAP + 1)).sessions == 2


def test_session_ids_part_sessions_and_an_unnamed_one_takes_the_first_name() -> None:
    named = [event(i, ms=i, **({"session_id": s} if s else {})) for i, s in enumerate([None, "s", None, "s", "r"])]
    u = user(*named)
    assert (u.sessions, u.session_id, u.items) == (2, "r", ("a",))
    assert [row.session for row in rows(*named)] == [(h("u") + s) % 2**64 for s in (1, 1, 1, 1, 2)]


def test_a_new_session_after_a_pause_has_no_name_until_it_meets_one() -> None:
    assert user(event(1, session_id="s"), event(2, ms=GAP + 1)).session_id is None


def test_an_event_out_of_order_within_the_gap_joins_and_an_older_one_is_late() -> None:
    first = event(1, ms=GAP, item_id="x")
    joins = fold(first, event(2, ms=0))
    assert (joins.users["u"].items, joins.users["u"].last_ms) == (("x", "a"), T0 + GAP)
    assert joins.rows[1][0].neighbours == (X,)
    late = fold(first, event(2, ms=-1, category="C", session_id="r"))
    assert (late.users["u"].items, late.users["u"].last_ms, late.users["u"].sessions) == (("x",), T0 + GAP, 1)
    assert late.rows[1][0] == Row(1, T0 - 1, 0, 1.0, repeat=False, item=A, neighbours=())


def test_a_late_event_gains_affinity_but_makes_no_visit() -> None:
    u = user(event(1, ms=DAY * 1000), event(2, "purchase", category="C"))
    c = u.categories["C"]
    assert (c.affinity, c.visits, c.last_ms, u.recent, u.bought) == (8.0, 0, 0, (), ("a",))


# ---- 1.5 Links ------------------------------------------------------------------------------------------------------


def test_neighbours_are_the_last_five_nearest_first_and_may_repeat() -> None:
    made = rows(*[event(i, ms=i, item_id=item) for i, item in enumerate("abcbdea")])
    assert made[0].neighbours == ()
    assert made[3] == Row(3, T0 + 3, (h("u") + 1) % 2**64, 1.0, repeat=True, item=B, neighbours=(C, B, A))
    assert made[6].neighbours == (h("e"), h("d"), B, C, B)  # the first a is six steps back
    assert made[6].repeat


def test_a_repeat_looks_50_items_back_and_60_are_kept() -> None:
    fifty = [event(i, ms=i, item_id=f"i{i}") for i in range(50)]
    assert rows(*fifty, event(50, ms=50, item_id="i0"))[-1].repeat
    assert not rows(*fifty, event(50, ms=50), event(51, ms=51, item_id="i0"))[-1].repeat
    more = [event(i, ms=i, item_id=f"i{i}") for i in range(61)]
    assert user(*more).items == tuple(f"i{i}" for i in range(1, 61))


def test_a_row_goes_once_to_each_partition_it_concerns() -> None:
    stage = fold(event(1), event(2, ms=1), event(3, ms=2, item_id="b"), item_partitions=7)
    assert [targets for _, targets in stage.rows] == [[A % 7], [A % 7], sorted({A % 7, B % 7})]


def test_only_some_types_make_links_and_join_the_session() -> None:
    kinds = ["dismiss", "unfavourite", "uncart", "return", "rating", "share", "cart", "click", "favourite"]
    made = fold(*[event(i, k, ms=i, value=2.5) for i, k in enumerate(kinds)])
    assert [row.offset for row, _ in made.rows] == [4, 5, 6, 7, 8]
    assert (made.users["u"].items, made.users["u"].sessions) == (("a",) * 5, 1)


# ---- 1.6 Interests --------------------------------------------------------------------------------------------------


def test_weights() -> None:
    def gained(kind: str, **fields: Any) -> float:
        first = event(1, "purchase", category="C")
        return user(first, event(2, kind, category="C", **fields)).categories["C"].affinity - 8  # type: ignore[no-any-return]

    assert [gained(k) for k in ("view", "click", "favourite", "share", "cart", "purchase")] == [1, 1, 3, 3, 5, 8]
    assert [gained(k) for k in ("dismiss", "unfavourite", "uncart", "return")] == [-3, -3, -5, -8]
    assert [gained("rating", value=v) for v in (0, 2.5, 5, 10)] == [0, 2.5, 5, 5]


def test_affinity_has_a_floor_of_zero() -> None:
    # 1 - 3 → 0, then + 1.
    u = user(*[event(i, k, category="C") for i, k in enumerate(("view", "dismiss", "view"))])
    assert u.categories["C"].affinity == 1.0


def test_affinity_grows_with_time_and_shrinks_by_two_to_the_32_an_epoch() -> None:
    # 1 at T0, 2 at T0 + 1 day.
    assert user(event(1, category="C"), event(2, ms=DAY * 1000, category="C")).categories["C"].affinity == 3.0
    # 32 days on is epoch 601: C = 2^-32, D = 1. A late event at T0 adds 2^-32 to C and leaves the epoch.
    u = user(event(1, category="C"), event(2, ms=32 * DAY * 1000, category="D"), event(3, category="C"))
    assert (u.epoch, u.categories["C"].affinity, u.categories["D"].affinity) == (601, 2.0**-31, 1.0)


def test_a_weight_not_above_zero_does_nothing_to_an_untracked_category() -> None:
    u = user(event(1, "dismiss", category="C"), event(2, "rating", category="C", value=0))
    assert (u.categories, u.epoch, u.dismissed) == ({}, 0, ("a",))


def test_the_33rd_category_forgets_the_first_of_the_least() -> None:
    # C0 to C31 have affinity 1, but C0 and C1 have 2.
    full = [event(i, category=f"C{i}") for i in range(32)]
    full += [event(32, category="C0"), event(33, category="C1")]
    u = user(*full, event(34, category="new"))
    assert list(u.categories) == ["C0", "C1", *(f"C{i}" for i in range(3, 32)), "new"]
    # C3 goes 1, 0, 8 (declared), 0: the least, but spared. C2 with 1 is the first of the others' least.
    spared = [event(35, "dismiss", category="C3"), event(36, "interest", category="C3")]
    spared += [event(37, "return", category="C3"), event(38, category="new")]
    assert list(user(*full, *spared).categories) == ["C0", "C1", *(f"C{i}" for i in range(3, 32)), "new"]


def test_among_declared_ones_the_least_is_forgotten_and_never_the_new_one() -> None:
    full = [event(i, "interest", category=f"C{i}") for i in range(32)]
    u = user(*full, event(32, "return", category="C7"), event(33, category="new"))
    assert "C7" not in u.categories
    assert list(u.categories)[-1] == "new"


def test_recent_bought_and_dismissed() -> None:
    events = [event(i, "purchase", ms=i, category="C", item_id=f"i{i}") for i in range(66)]
    u = user(*events, event(66, "purchase", ms=66, item_id="i2"), event(67, "return", ms=67, item_id="i5"))
    assert u.recent == tuple((f"i{i}", "C", "purchase", T0 + i) for i in range(50, 66))  # the last two have no category
    # 66 bought, i0 and i1 fall out; i2 moves to the end; i5 goes: 63 left.
    assert u.bought == ("i3", "i4", *(f"i{i}" for i in range(6, 66)), "i2")
    dismissed = user(*[event(i, "dismiss", item_id=f"i{i}") for i in range(33)], event(33, "dismiss", item_id="i1"))
    assert dismissed.dismissed == (*(f"i{i}" for i in range(2, 33)), "i1")


def test_one_visit_a_session_and_the_history_moves_by_sessions() -> None:
    twice = [event(9, session_id="s1", category="C", ms=7)]
    c = user(*visits(1, 1, "C"), *twice).categories["C"]
    assert (c.visits, c.history, c.session, c.last_ms) == (1, 1, 1, T0 + 7)
    # Sessions 1, 2 and 5: 11, then moved by 3 and bit 0: 11001.
    c = user(*visits(1, 2, "C"), *visits(3, 4, "D"), *visits(5, 5, "C")).categories["C"]
    assert (c.visits, c.history) == (3, 0b11001)
    # 31 sessions later the old bit is the highest of 32; 32 later it is gone.
    assert user(*visits(1, 1, "C"), *visits(2, 31, "D"), *visits(32, 32, "C")).categories["C"].history == 2**31 + 1
    assert user(*visits(1, 1, "C"), *visits(2, 32, "D"), *visits(33, 33, "C")).categories["C"].history == 1


# ---- 1.8 Tiers and the first drift signal --------------------------------------------------------------------------


def steps(stage: Any) -> list[tuple[str, str, str, str, str]]:
    return [(c.event_id, c.category, c.kind, c.old, c.new) for c in stage.changes]


def test_core_needs_four_visits_and_three_sessions_come_before_any_tier() -> None:
    assert steps(fold(*visits(1, 6, "C"))) == [
        ("e3", "C", "tier", "none", "active"),
        ("e4", "C", "tier", "active", "core"),
    ]


def test_a_new_interest_rises_against_at_least_six_sessions_of_history() -> None:
    # Sessions 1 to 9 on C, 10 to 12 on D. At 11, D has 2 visits and a share of 2/11: active. At 12 it shows in 3 of the
    # newest 6 sessions and in none of the b = 12 - 6 before. It rises once: 13 is silent about it until its 4th visit
    # makes it core (4/13 > 0.24).
    stage = fold(*visits(1, 9, "C"), *visits(10, 13, "D"))
    assert steps(stage)[2:] == [
        ("e11", "D", "tier", "none", "active"),
        ("e12", "D", "rise", "active", "active"),
        ("e13", "D", "tier", "active", "core"),
    ]
    assert stage.users["u"].categories["D"].risen
    # One session less on C: b = 11 - 6 = 5 at the third visit, too little; 6 at the fourth, whose window 7 to 12 holds
    # all of D, so before = 0. It makes D core as well (4/12 > 0.24): one change, kind rise.
    assert steps(fold(*visits(1, 8, "C"), *visits(9, 12, "D")))[-1] == ("e12", "D", "rise", "active", "core")


def test_a_category_rises_only_at_a_visit_of_its_own() -> None:
    # D has 3 of the newest 6 sessions at 11 (b = 5) and still at 12 (b = 6), a visit of C. It rises at 13.
    shown = [*visits(1, 8, "C"), *visits(9, 11, "D"), *visits(12, 12, "C"), *visits(13, 13, "D")]
    assert [c.event_id for c in fold(*shown).changes if c.kind == "rise"] == ["e13"]


def test_the_evidence_of_a_change() -> None:
    d = [e | {"item_id": i} for e, i in zip(visits(10, 12, "D"), "xyy", strict=True)]
    change = fold(*visits(1, 9, "C"), *d).changes[-1]
    assert (change.kind, change.share, change.visits) == ("rise", 3 / 12, 3)
    assert (change.items, change.event_id, change.time_ms) == (["y", "x"], "e12", T0)
    assert change.id == xxhash.xxh3_128_hexdigest(b"T\0u\0000\00011\0D")


def test_emerging_then_fading_and_no_second_rise_on_a_known_history() -> None:
    # No share is enough for a tier. D rises at 12 (see above): emerging. Its bits leave the newest six sessions one
    # by one: at 16 two are left, at 17 one (the flag goes), at 18 none: fading. Back at 19 to 21: three of six, but
    # before = 3 bits of b = 15, and 3 > 0.1 · 15: no rise.
    never: dict[str, Any] = {"core_up": 2.0, "active_up": 2.0}
    shown = [*visits(1, 9, "C"), *visits(10, 12, "D"), *visits(13, 18, "C"), *visits(19, 21, "D")]
    assert steps(fold(*shown, **never)) == [
        ("e12", "D", "rise", "none", "emerging"),
        ("e18", "D", "fade", "emerging", "fading"),
    ]
    assert user(*shown[:16], **never).categories["D"].risen
    assert not user(*shown[:17], **never).categories["D"].risen


def test_core_goes_down_to_active_fading_dormant_and_comes_back() -> None:
    # C: 4 views, core at 4 (share 1). D: a purchase a session from 5 on: C's share is 4/(4 + 8n), n = s - 4.
    # s = 6: 4/20 = 0.2, still core; D has 2 visits: active. s = 7: 4/28 < 0.16: active. s = 8: D's 4th visit: core.
    # s = 12: 4/68 = 0.0588; s = 13: 4/76 = 0.0526 < 0.055: fading.
    went = [*visits(1, 4, "C"), *visits(5, 13, "D", "purchase")]
    expected = [
        ("e3", "C", "tier", "none", "active"),
        ("e4", "C", "tier", "active", "core"),
        ("e6", "D", "tier", "none", "active"),
        ("e7", "C", "tier", "core", "active"),
        ("e8", "D", "tier", "active", "core"),
        ("e13", "C", "fade", "active", "fading"),
    ]
    assert steps(fold(*went)) == expected
    # 30 days on exactly it is still fading, a millisecond more and it is dormant.
    month = 30 * DAY * 1000
    assert steps(fold(*went, event(14, "view", ms=month, category="D"))) == expected
    dormant = [*went, event(14, "purchase", ms=month + 1, category="D")]
    expected.append(("e14", "C", "tier", "fading", "dormant"))
    assert steps(fold(*dormant)) == expected
    # A purchase the next minute: about 8/16 of the sum, and its 5th visit: core at once.
    back = event(15, "purchase", ms=month + 60_000, session_id="s15", category="C")
    assert steps(fold(*dormant, back)) == [*expected, ("e15", "C", "tier", "dormant", "core")]


# ---- 2. Stage 2 -----------------------------------------------------------------------------------------------------


def message(*links: Row, source: int = 0, generation: int = 1, topic_id: str = "T", **other: Any) -> bytes:
    """A message of rows, written by hand from docs/item-links.md; `wide` takes the wider widths without need."""
    wide = other.get("wide", False)
    wide_time = wide or any(abs(row.ms - links[0].ms) >= 2**31 for row in links)
    hashes = list(dict.fromkeys([row.item for row in links] + [x for row in links for x in row.neighbours]))
    base, base_ms, index = links[0].offset, links[0].ms, "I" if wide else "H"
    near = [hashes.index(x) for row in links for x in row.neighbours]
    count = len(links)
    columns = [
        struct.pack(f"<{count}I", *(row.offset - base for row in links)),
        struct.pack(f"<{count}{'q' if wide_time else 'i'}", *(row.ms - base_ms for row in links)),
        struct.pack(f"<{count}Q", *(row.session for row in links)),
        struct.pack(f"<{count}f", *(row.weight for row in links)),
        bytes(row.repeat | len(row.neighbours) << 1 for row in links),
        struct.pack(f"<{count}{index}", *(hashes.index(row.item) for row in links)),
        struct.pack(f"<{len(near)}{index}", *near),
        struct.pack(f"<{len(hashes)}Q", *hashes),
    ]
    names = [f"name of {x}" for x in hashes[: other.get("named", 0)]]
    return msgspec.msgpack.encode(
        [1, generation, topic_id, source, other.get("target", 0), base, base_ms, *columns, names]
    )


def row(offset: int, item: int, *neighbours: int, day: float = 0, repeat: bool = False) -> Row:
    return Row(offset, T0 + round(day * DAY * 1000), 7, 1.0, repeat, item, neighbours)


def stage2(*messages: bytes, partition: int = 0, item_partitions: int = 1, **policy: Any) -> Any:
    log = list(enumerate(messages))
    return fold_links(log, (partition, item_partitions), LearningPolicy(**POLICY | policy), 1, "T")


def cell(item: Any, neighbour: int) -> tuple[float, float, float, float, int]:
    kept = item.rows[neighbour]
    return kept.F1, kept.F, kept.B, kept.R, kept.ts


def bare(item: Any) -> dict[str, Any]:
    """Everything of an item, comparable."""
    return vars(item) | {"rows": {x: cell(item, x) for x in item.rows}, "order": list(item.rows)}


def test_decode_reads_both_widths() -> None:
    links = [row(5, A), row(9, B, A, A, day=-1, repeat=True), row(11, A, B)]
    for wide in (False, True):
        read = decode_links(message(*links, source=3, named=1, wide=wide))
        assert read == ((1, "T", 0), 3, links, {A: f"name of {A}"})


WALK = (
    row(0, A),
    row(1, B, A, day=1),
    row(2, C, B, A, day=2),
    row(3, B, A, day=0),  # arrives late
    row(4, A, A, day=3, repeat=True),
)


def test_a_walk_through_three_items() -> None:
    # g by day: 1, 2, 4, 1, 8. Recency halves twice a day, so a day apart is 1/4.
    items = stage2(message(*WALK)).items
    a, b, c = items[A], items[B], items[C]
    # Degrees: A 1 + 8, B 2 + 1, C 4. Recent: A 1·2^-6 + 1, B 1 + 1/4 (the late one), C 1.
    assert (a.events, a.repeats, a.last, a.D, a.Dr) == (2, 1, T0_S + 3 * DAY, 9.0, 1 + 2**-6)
    assert (b.events, b.repeats, b.last, b.D, b.Dr) == (2, 0, T0_S + DAY, 3.0, 1.25)
    assert (c.events, c.repeats, c.last, c.D, c.Dr) == (1, 0, T0_S + 2 * DAY, 4.0, 1.0)
    # A then B: 2 and, late, 1. A then C two steps on: 0.6 · 4. A then A: 8.
    assert list(a.rows) == [B, C, A]
    assert cell(a, B) == (3.0, 3.0, 0.0, 1.25, T0_S + DAY)
    assert cell(a, C) == (0.0, f32(0.6 * 4), 0.0, f32(0.6), T0_S + 2 * DAY)
    assert cell(a, A) == (8.0, 8.0, 0.0, 1.0, T0_S + 3 * DAY)  # no backward part
    assert (a.oF1, a.oF, a.oB) == (2.0 + 1 + 8, 2 + 0.6 * 4 + 1 + 8, 0.0)
    # B: C follows it with 4, and A comes before it with 2 + 1; the late R: 0.3 + 0.3/4, the sum of two float32s.
    assert list(b.rows) == [A, C]
    assert cell(b, A) == (0.0, 0.0, 3.0, f32(f32(0.3) + 0.3 / 4), T0_S + DAY)
    assert cell(b, C) == (4.0, 4.0, 0.0, 1.0, T0_S + 2 * DAY)
    assert (b.oF1, b.oF, b.oB) == (4.0, 4.0, 3.0)
    assert list(c.rows) == [B, A]
    assert cell(c, B) == (0.0, 0.0, 4.0, f32(0.3), T0_S + 2 * DAY)
    assert cell(c, A) == (0.0, 0.0, f32(0.6 * 4), f32(0.3 * 0.6), T0_S + 2 * DAY)
    assert (c.oF1, c.oF, c.oB) == (0.0, 0.0, 4 + 0.6 * 4)


def test_an_epoch_shrinks_counts_but_not_recency_and_late_rows_count_little() -> None:
    later = message(row(0, A), row(1, B, A), row(2, A, day=32), row(3, B, A, day=0))
    a = stage2(later).items[A]
    # After 32 days D = 2^-32 + 1, F = 2^-32; the late row at T0 adds g = 2^-32 to row and totals, 1 to R (same ts).
    assert (a.epoch, a.D, a.oF1, a.oF) == (601, 1 + 2**-32, 2**-31, 2**-31)
    assert cell(a, B) == (2**-31, 2**-31, 0.0, 2.0, T0_S)
    b = stage2(message(row(0, A), row(1, B, A), row(2, B, day=32))).items[B]
    assert (b.epoch, b.D, b.oB) == (601, 1 + 2**-32, 2**-32)
    assert cell(b, A) == (0.0, 0.0, 2**-32, f32(0.3), T0_S)


def test_seconds_are_whole() -> None:
    ms = Row(0, T0 + 1999, 7, 1.0, repeat=False, item=A, neighbours=())
    stage = stage2(message(ms))
    assert (stage.items[A].last, stage.newest_ms) == (T0_S + 1, T0 + 1999)


def test_a_message_that_overlaps_adds_only_its_new_rows() -> None:
    once = stage2(message(*WALK))
    twice = stage2(message(*WALK[:3]), message(*WALK[1:]), message(*WALK))
    assert {x: bare(item) for x, item in twice.items.items()} == {x: bare(item) for x, item in once.items.items()}
    assert twice.rows == once.rows == [(0, link) for link in WALK]
    assert (twice.applied, twice.newest_ms) == ({0: 4}, T0 + 3 * DAY * 1000)


def test_each_source_has_its_own_mark_and_offset_0_counts() -> None:
    stage = stage2(message(row(9, A), source=1), message(row(0, A), source=2), message(row(8, A), source=1))
    assert (stage.applied, stage.items[A].events) == ({1: 9, 2: 0}, 2)


def test_other_generations_targets_and_foreign_topics_change_nothing() -> None:
    old = message(row(9, A), generation=0, named=1)
    new, foreign = message(row(9, A), generation=2), message(row(9, A), topic_id="S")
    astray = message(row(9, A), target=1, named=1)
    stage = stage2(old, new, foreign, astray, message(row(3, A)))
    assert (stage.applied, len(stage.rows), stage.names, stage.rejects) == ({0: 3}, 1, {}, [])


def test_bad_messages_are_refused_and_another_version_stops() -> None:
    good = message(row(3, A), row(4, B, A))
    fields = msgspec.msgpack.decode(good)
    bad = [b"", b"\xc1", good[:-1], msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode(fields[:-2])]
    bad += [
        msgspec.msgpack.encode([*fields[:column], fields[column][:-1], *fields[column + 1 :]])
        for column in range(7, 15)
    ]
    stage = stage2(*bad, good)
    assert (stage.rejects, len(stage.rows)) == (list(range(len(bad))), 2)
    with pytest.raises(AssertionError):
        stage2(msgspec.msgpack.encode([2, *fields[1:]]))


def test_two_partitions_hold_what_one_would() -> None:
    whole = stage2(message(*WALK)).items
    n = next(n for n in range(2, 50) if len({A % n, B % n, C % n}) == 3)
    for x in (A, B, C):
        part = stage2(message(*WALK, target=x % n), partition=x % n, item_partitions=n)
        assert {y: bare(item) for y, item in part.items.items()} == {x: bare(whole[x])}
        assert len(part.rows) == 5


def test_a_full_table_gives_up_the_weakest_row_and_keeps_the_totals() -> None:
    followers = [h(f"f{i}") for i in range(129)]
    full = [row(i, followers[i], X) for i in range(128)]
    # All 128 have F = 1: the first of equals goes, the new one takes its place, and oF counts all 129.
    x = stage2(message(*full, row(128, followers[128], X))).items[X]
    assert list(x.rows) == [followers[128], *followers[1:128]]
    assert (x.oF1, x.oF) == (129.0, 129.0)
    # Followed by f0 twice, f1 is the first of the least.
    x = stage2(message(*full, row(128, followers[0], X), row(129, followers[128], X))).items[X]
    assert list(x.rows) == [followers[0], followers[128], *followers[2:128]]
    # f128 took the first place with F = 1, so it is the first of equals again. f0 comes back and starts from nothing.
    x = stage2(message(*full, row(128, followers[128], X), row(129, followers[0], X))).items[X]
    assert list(x.rows) == followers[:128]
    assert cell(x, followers[0]) == (1.0, 1.0, 0.0, 1.0, T0_S)


def test_the_score_of_a_row_counts_backward_three_tenths_and_halves_in_about_a_time_constant() -> None:
    followers = [h(f"f{i}") for i in range(128)]
    # X follows f0 (B = 1, score 0.3), all others follow X (F = 1, score 1): the last in order of tables is the weakest.
    behind = [*(row(i, followers[i], X) for i in range(1, 128)), row(128, X, followers[0]), row(129, A, X)]
    assert list(stage2(message(*behind)).items[X].rows)[-1] == A
    # f0 at T0: F = 1. The others at T0 + 1 day: F = 2. Then f0 gets 2 more at T0 + 1 day: F = 3, the strongest.
    # Untouched since T0 instead: F = 3 (three rows at T0) at an age of two days: 3/(1 + 2·2·ln 2) = 0.80 against
    # 2/(1 + 2·ln 2) = 0.84 for the others, one day old: f0 is the weakest.
    thrice = [row(i, followers[0], X) for i in range(3)]
    others = [row(2 + i, followers[i], X, day=1) for i in range(1, 128)]
    x = stage2(message(*thrice, *others, row(130, A, X, day=2))).items[X]
    assert next(iter(x.rows)) == A


def test_an_item_silent_for_longer_than_the_horizon_starts_anew_and_keeps_its_name() -> None:
    year = stage2(message(row(0, A), row(1, B, A), row(2, A, day=365), named=1)).items[A]
    assert (year.events, list(year.rows)) == (2, [B])
    stage = stage2(message(row(0, A), row(1, B, A), row(2, A, day=365 + 1 / DAY), named=1))
    a = stage.items[A]
    assert (a.events, a.rows, a.oF, a.Dr, stage.names[A]) == (1, {}, 0.0, 1.0, f"name of {A}")


def test_a_row_as_neighbour_can_end_an_item_too_and_then_it_has_no_last_time() -> None:
    a = stage2(message(row(0, A), row(1, B, A, day=366))).items[A]
    assert (a.events, a.last, a.D, list(a.rows)) == (0, 0, 0.0, [B])


def test_stage_2_applies_what_stage_1_made() -> None:
    stage = fold(*[event(i, ms=i, item_id=item) for i, item in enumerate("abcab")])
    made = [link for link, _ in stage.rows]
    assert [link for _, link in stage2(message(*made[:3]), message(*made[2:])).rows] == made

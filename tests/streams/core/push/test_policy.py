"""When a shopper is notified: a table of profile, history and local time, each with its decision."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from schemas.push_decision import DecisionCause
from schemas.reasons import HoldReason
from schemas.user_settings import QuietHours, UserSettings
from streams.core.hashing import id_hash
from streams.core.push.policy import Defer, Hold, Merge, Proceed, PushPolicy, Verdict, judge, judge_due
from streams.core.push.quiet import quiet_until
from streams.core.push.state import NEW, Deferral, PushState

HOUR = 3_600_000
NOON = int(datetime(2026, 3, 2, 11, 0, tzinfo=UTC).timestamp() * 1000)  # 12:00 in Berlin
NIGHT = int(datetime(2026, 3, 2, 22, 30, tzinfo=UTC).timestamp() * 1000)  # 23:30 in Berlin
MORNING = int(datetime(2026, 3, 3, 7, 0, tzinfo=UTC).timestamp() * 1000)  # 08:00 in Berlin
POLICY = PushPolicy(cap_per_day=2, gap_s=4 * 3600.0)
NIGHTS = QuietHours("22:00", "08:00", "Europe/Berlin")


def asked(*, push: bool = True, quiet: QuietHours | None = None, cap: int | None = None) -> UserSettings:
    return UserSettings(user_id="u", push_enabled=push, quiet_hours=quiet, cap_per_day=cap)


BERLIN = PushState(setting=asked(quiet=NIGHTS))


def cause(now_ms: int = NOON, name: str = "c1", generation: int = 0) -> DecisionCause:
    return DecisionCause(id=name, offset=7, category="Garden > Tools", time=now_ms, generation=generation, visits=3)


def decided(*names: str) -> tuple[int, ...]:
    return tuple(id_hash(name) for name in names)


def sent(*at: int, **more: object) -> PushState:
    return PushState(sends=at, last_sent_ms=at[-1], **more)


def verdict(state: PushState, given: DecisionCause, policy: PushPolicy = POLICY, **more: object) -> Verdict:
    return judge(given, state, policy, **{"rises": True, "now_ms": NOON, "lag_s": 1.0, "serving": 0} | more)


R = HoldReason
OPTED_OUT = PushState(setting=asked(push=False))
TWICE = sent(NOON - 6 * HOUR, NOON - 5 * HOUR, setting=asked(cap=9))
CAPPED = sent(NIGHT - 5 * HOUR, setting=asked(quiet=NIGHTS, cap=1))
OVERSEAS = PushState(setting=asked(quiet=QuietHours("22:00", "08:00", "America/New_York")))
LONGER = PushState(setting=asked(quiet=QuietHours("00:00", "09:00", "Europe/Berlin")))
CASES = [
    ("a rise, no history", NEW, cause(), {}, Proceed()),
    ("decided before", PushState(causes=decided("c1")), cause(), {}, Hold(R.DUPLICATE)),
    ("sent before, not among the decided", PushState(sent_causes=decided("c1")), cause(), {}, Hold(R.DUPLICATE)),
    ("a generation that does not serve", NEW, cause(generation=1), {}, Hold(R.OTHER_GENERATION)),
    ("it serves now", NEW, cause(generation=1), {"serving": 1}, Proceed()),
    ("not a rise", NEW, cause(), {"rises": False}, Hold(R.NOT_A_RISE)),
    ("opted out", OPTED_OUT, cause(), {}, Hold(R.OPTED_OUT)),
    ("opted out comes before not a rise", OPTED_OUT, cause(), {"rises": False}, Hold(R.OPTED_OUT)),
    ("exactly an hour old", NEW, cause(NOON - HOUR), {}, Proceed()),
    ("older than an hour", NEW, cause(NOON - HOUR - 1), {}, Hold(R.STALE)),
    ("further ahead than an hour", NEW, cause(NOON + HOUR + 1), {}, Hold(R.STALE)),
    ("exactly a minute behind", NEW, cause(), {"lag_s": 60.0}, Proceed()),
    ("more than a minute behind", NEW, cause(), {"lag_s": 60.1}, Hold(R.LAG)),
    ("one send today of two", sent(NOON - 5 * HOUR), cause(), {}, Proceed()),
    ("two sends today of two", sent(NOON - 23 * HOUR, NOON - 5 * HOUR), cause(), {}, Hold(R.CAP)),
    ("the older one exactly a day ago", sent(NOON - 24 * HOUR, NOON - 5 * HOUR), cause(), {}, Proceed()),
    ("the user's cap is lower", sent(NOON - 5 * HOUR, setting=asked(cap=1)), cause(), {}, Hold(R.CAP)),
    ("the user's cap is higher: ours holds", TWICE, cause(), {}, Hold(R.CAP)),
    ("a cap of nothing", PushState(setting=asked(cap=0)), cause(), {}, Hold(R.CAP)),
    ("exactly the gap", sent(NOON - 4 * HOUR), cause(), {}, Proceed()),
    ("inside the gap", sent(NOON - 4 * HOUR + 1), cause(), {}, Hold(R.GAP)),
    ("the clock was set back", sent(NOON + 2 * HOUR), cause(), {}, Hold(R.GAP)),
    ("quiet hours", BERLIN, cause(NIGHT), {"now_ms": NIGHT}, Defer(MORNING)),
    ("a cap comes before quiet hours", CAPPED, cause(NIGHT), {"now_ms": NIGHT}, Hold(R.CAP)),
    (
        "quiet hours, something waits already",
        PushState(setting=asked(quiet=NIGHTS), deferral=Deferral(MORNING, (cause(name="c0"),))),
        cause(NIGHT),
        {"now_ms": NIGHT},
        Merge("c0"),
    ),
    ("quiet hours in another zone", OVERSEAS, cause(NIGHT), {"now_ms": NIGHT}, Proceed()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "given", "more", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_the_first_rule_that_applies_decides(
    state: PushState, given: DecisionCause, more: dict, expected: Verdict
) -> None:
    assert verdict(state, given, **more) == expected


def test_the_kill_switch_holds_everything_but_what_was_decided_or_does_not_serve() -> None:
    off = msgspec.structs.replace(POLICY, enabled=False)
    assert verdict(OPTED_OUT, cause(), off, rises=False) == Hold(R.KILL_SWITCH)
    assert verdict(PushState(causes=decided("c1")), cause(), off) == Hold(R.DUPLICATE)


WAITING = Deferral(MORNING, (cause(NIGHT - HOUR, "c0"), cause(NIGHT)))
DUE = [
    ("the night is over", NEW, MORNING, Proceed()),
    ("opted out meanwhile", OPTED_OUT, MORNING, Hold(R.OPTED_OUT)),
    ("the quiet hours were made longer", LONGER, MORNING, Defer(MORNING + HOUR)),
    ("a notification went out meanwhile", sent(MORNING - HOUR), MORNING, Hold(R.GAP)),
    ("the cap is used up", sent(MORNING - 6 * HOUR, MORNING - 5 * HOUR), MORNING, Hold(R.CAP)),
    ("its newest cause expired", NEW, NIGHT + 24 * HOUR + 1, Hold(R.STALE)),
]  # fmt: skip


@pytest.mark.parametrize(("state", "now_ms", "expected"), [case[1:] for case in DUE], ids=[case[0] for case in DUE])
def test_a_deferred_decision_obeys_the_rules_of_its_due_time(state: PushState, now_ms: int, expected: Verdict) -> None:
    assert judge_due(WAITING, state, POLICY, now_ms=now_ms, serving=0) == expected


def local(zone_minutes: int, *moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000) - zone_minutes * 60_000


def test_quiet_hours_end_by_the_local_clock_when_it_changes() -> None:
    assert quiet_until(local(60, 2026, 3, 28, 23, 0), NIGHTS) == local(120, 2026, 3, 29, 8, 0)  # an hour shorter
    assert quiet_until(local(120, 2026, 10, 24, 23, 0), NIGHTS) == local(60, 2026, 10, 25, 8, 0)  # an hour longer
    in_the_gap = QuietHours("22:00", "02:30", "Europe/Berlin")
    assert quiet_until(local(60, 2026, 3, 29, 1, 0), in_the_gap) == local(120, 2026, 3, 29, 3, 30)


@pytest.mark.parametrize(
    ("minute", "quiet"), [(21 * 60 + 59, False), (22 * 60, True), (0, True), (7 * 60 + 59, True), (8 * 60, False)]
)
def test_quiet_hours_hold_their_start_and_not_their_end(minute: int, quiet: bool) -> None:
    now_ms = local(0, 2026, 3, 2, minute // 60, minute % 60)
    assert (quiet_until(now_ms, QuietHours("22:00", "08:00", "UTC")) is not None) is quiet


def test_an_unknown_zone_is_utc() -> None:
    hours = QuietHours("00:00", "01:00", "Mars/Olympus")
    assert quiet_until(local(0, 2026, 3, 2, 0, 30), hours) == local(0, 2026, 3, 2, 1, 0)

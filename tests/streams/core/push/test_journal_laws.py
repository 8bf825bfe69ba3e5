"""Laws of push: no cap, gap or quiet hour is ever exceeded; the journal alone gives the state, in any portions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.coordinates import Coordinates
from schemas.feedback import Feedback
from schemas.interest_change import Evidence as Visits
from schemas.interest_change import InterestChange
from schemas.push_decision import DecisionCause, PushDecision
from schemas.reasons import HoldReason
from schemas.user_settings import QuietHours, UserSettings
from streams.core.push.candidates import Candidate, Evidence
from streams.core.push.decide import ChangeInput, Choice, Decider, FeedbackInput, Place, SettingInput
from streams.core.push.journal import JournalPosition, Timers, decode_position, fold
from streams.core.push.policy import PushPolicy
from streams.core.push.quiet import quiet_until
from streams.core.push.state import DAY_MS, PushState, decode_push

START = 1_772_000_000_000
HOUR = 3_600_000
USERS = ("ann", "ben")
CHANGES = Place("changes", 0)
CRASH = "CRASH"

zones = st.sampled_from(("UTC", "Europe/Berlin", "Asia/Kathmandu"))
clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
wishes = st.builds(
    UserSettings,
    user_id=st.just("u"),
    push_enabled=st.sampled_from((True, True, False)),
    quiet_hours=st.none() | st.builds(QuietHours, clocks, clocks, zones),
    cap_per_day=st.sampled_from((None, None, 0, 1, 2)),
)
steps = st.lists(
    st.tuples(
        st.integers(0, 6 * HOUR),
        st.sampled_from(USERS),
        st.one_of(st.sampled_from(("rise", "rise", "rise", "again", "fade", "feedback", CRASH)), wishes),
    ),
    min_size=1,
    max_size=60,
)
policies = st.builds(
    PushPolicy, cap_per_day=st.integers(0, 3), gap_s=st.sampled_from((0.0, 3600.0, 7 * 3600.0)), shadow=st.just(False)
)


def choose(_user_id: str, _causes: Sequence[DecisionCause], state: PushState) -> Choice:
    return Choice((Candidate(f"item-{len(state.causes)}", 1.0, (Evidence("seed", "view", 1.0),)),), {})


class Run:
    """A worker without servers: it decides step by step, and a CRASH leaves it nothing but the journal."""

    def __init__(self, policy: PushPolicy) -> None:
        self.policy = policy
        self.journal: list[PushDecision] = []
        self.states: dict[str, PushState] = {}
        self.timers = Timers()
        self.now_ms = START
        self.offset = 0
        self.last: dict[str, InterestChange] = {}

    def step(self, pause_ms: int, user: str, what: object) -> None:
        self.now_ms += pause_ms
        if what == CRASH:
            self.states = fold({}, self.journal)
            self.timers = Timers()
            for offset, entry in enumerate(self.journal):
                self.timers.take_in(offset, entry)
        due = self.timers.due(self.now_ms, 100)
        decider = Decider(
            CHANGES, self.states, self.policy, choose, due, now_ms=self.now_ms, wall_ms=self.now_ms, serving=0
        )
        source = Coordinates(topic="t", partition=0, offset=self.offset)
        self.offset += 1
        if isinstance(what, UserSettings):
            decider.take_in([SettingInput(source, user, what)])
        if what == "feedback":
            opened = Feedback(event_id="e", notification_id="n", user_id=user, action="opened", time_ms=self.now_ms)
            decider.take_in([FeedbackInput(source, opened)])
        decider.advance(self.now_ms)
        if what in {"rise", "fade", "again"}:
            new = InterestChange(
                id=f"c{self.offset}",
                user_id=user,
                kind="fade" if what == "fade" else "rise",
                category="Tools",
                from_tier="none",
                to_tier="emerging",
                affinity=0.1,
                time=self.now_ms,
                evidence=Visits(visits=3),
                cause=source,
            )
            self.last[user] = self.last.get(user, new) if what == "again" else new
            decider.change(ChangeInput(source, self.now_ms, self.last[user]))
        for decision in decider.decisions:
            self.timers.take_in(len(self.journal), decision.entry)
            self.journal.append(decision.entry)
        self.states = decider.states


def run(policy: PushPolicy, script: list[tuple[int, str, object]]) -> Run:
    made = Run(policy)
    for step in script:
        made.step(*step)
    return made


@given(policies, steps)
@settings(deadline=None)
def test_no_cap_gap_or_quiet_hour_is_ever_exceeded(policy: PushPolicy, script: list) -> None:
    journal = run(policy, script).journal
    for user in USERS:
        asked, sends = UserSettings(user_id="u", push_enabled=True), []
        for entry in (entry for entry in journal if entry.user_id == user):
            asked = entry.setting or asked
            if entry.kind == "sent":
                cap = min(policy.cap_per_day, 100 if asked.cap_per_day is None else asked.cap_per_day)
                assert sum(at > entry.now - DAY_MS for at in sends) < cap
                assert not sends or entry.now - sends[-1] >= policy.gap_s * 1000
                assert quiet_until(entry.now, asked.quiet_hours) is None
                assert asked.push_enabled
                sends.append(entry.now)


@given(policies, steps)
@settings(deadline=None)
def test_every_cause_has_one_last_word(policy: PushPolicy, script: list) -> None:
    made = run(policy, script)
    words: dict[str, list[str]] = {}
    for entry in made.journal:
        if entry.cause is not None and entry.kind != "deferred" and entry.reason is not HoldReason.DUPLICATE:
            words.setdefault(entry.cause.id, []).append(entry.kind)
    assert all(len(kinds) == 1 for kinds in words.values())
    waiting = {state.deferral.causes[0].id for state in made.states.values() if state.deferral is not None}
    assert {e.cause.id for e in made.journal if e.cause is not None} == set(words) | waiting


@given(policies, steps)
@settings(deadline=None)
def test_a_crash_changes_nothing(policy: PushPolicy, script: list) -> None:
    calm = run(policy, [(pause, user, "nothing" if what == CRASH else what) for pause, user, what in script])
    shaken = run(policy, script)
    assert calm.journal == shaken.journal
    assert {u: s.encode() for u, s in shaken.states.items()} == {u: s.encode() for u, s in calm.states.items()}


@given(policies, steps, st.lists(st.integers(0, 80), max_size=4))
@settings(deadline=None)
def test_the_journal_gives_the_same_bytes_in_any_portions(policy: PushPolicy, script: list, cuts: list[int]) -> None:
    made = run(policy, script)
    stored: dict[str, bytes] = {}
    timers, position = Timers(), JournalPosition(topic_id="t", partition=0, partitions=1)
    edges = sorted({0, *(min(cut, len(made.journal)) for cut in cuts), len(made.journal)})
    for low, high in pairwise(edges):
        portion = made.journal[low:high]
        for offset, entry in enumerate(portion, low):
            timers.take_in(offset, entry)
        states = {user: decode_push(data) for user, data in stored.items()}
        stored |= {user: state.encode() for user, state in fold(states, portion).items()}
        position = decode_position(position.after(high - 1, portion, timers).encode())
    assert stored == {user: state.encode() for user, state in made.states.items() if user in stored}
    assert position.offset == len(made.journal)
    assert timers.due(1 << 60, 10) == made.timers.due(1 << 60, 10)
    again = Timers()  # what a worker reads that starts at the position
    for offset, entry in enumerate(made.journal[position.timers_from :], position.timers_from):
        again.take_in(offset, entry)
    assert again.due(1 << 60, 10) == timers.due(1 << 60, 10)


def test_folding_does_not_change_its_input() -> None:
    before = PushState()
    setting = UserSettings(user_id="u", push_enabled=False)
    entry = PushDecision(kind="setting", user_id="u", now=START, source=Coordinates("t", 0, 0), setting=setting)
    assert fold({"u": before}, [entry])["u"].opted_out
    assert before == PushState()


def test_states_are_bounded_and_stay_below_4_kib() -> None:
    big = (1 << 64) - 1
    state = PushState(
        sends=(big,) * 100,
        last_sent_ms=big,
        sent_items=(big,) * 256,
        sent_causes=(big,) * 64,
        causes=(big,) * 64,
        feedback=tuple((f"action-{k}", 1 << 31) for k in range(6)),
    )
    assert len(state.encode()) < 5000
    assert decode_push(state.encode()) == state
    assert msgspec.structs.asdict(state)

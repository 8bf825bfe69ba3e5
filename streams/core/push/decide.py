"""One run of input of one partition to journal entries, each judged on the state its predecessors left."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from schemas.coordinates import Coordinates
from schemas.feedback import Feedback
from schemas.interest_change import InterestChange
from schemas.push_decision import DecisionCause, DecisionKind, PushDecision
from schemas.reasons import HoldReason
from schemas.user_settings import UserSettings
from streams.core.push.candidates import Candidate
from streams.core.push.journal import apply
from streams.core.push.policy import Defer, Hold, Merge, Proceed, PushPolicy, Verdict, judge, judge_due
from streams.core.push.state import NEW, Deferral, PushState, notification_id


class ChangeInput(msgspec.Struct, frozen=True):
    """An interest change. `timestamp_ms` is its record's Kafka timestamp."""

    source: Coordinates
    timestamp_ms: int
    change: InterestChange

    @property
    def user_id(self) -> str:
        return self.change.user_id

    @property
    def cause(self) -> DecisionCause:
        """The change as far as a later decision needs it."""
        change = self.change
        return DecisionCause(
            id=change.id,
            offset=self.source.offset,
            category=change.category,
            time=change.time,
            generation=change.generation,
            visits=change.evidence.visits,
        )


class SettingInput(msgspec.Struct, frozen=True):
    """What a user asks for from now on; None: the defaults."""

    source: Coordinates
    user_id: str
    setting: UserSettings | None


class FeedbackInput(msgspec.Struct, frozen=True):
    """What a user did with a notification."""

    source: Coordinates
    feedback: Feedback

    @property
    def user_id(self) -> str:
        return self.feedback.user_id


class Choice(msgspec.Struct, frozen=True):
    """What a notification would say: items with their evidence, best first, and the titles known for ids."""

    chosen: tuple[Candidate, ...]
    titles: Mapping[str, str]


Choose = Callable[[str, Sequence[DecisionCause], PushState], Choice | HoldReason]
"""Looks for candidates: (user id, causes of the serving generation, state) -> what to say, or why there is nothing."""


class Decided(msgspec.Struct, frozen=True):
    """A journal entry and what only explains it.

    causes   all causes of a digest; the one cause otherwise
    choice   what was found to say, also when it is held in shadow mode
    """

    entry: PushDecision
    causes: tuple[DecisionCause, ...] = ()
    choice: Choice | None = None


class Place(msgspec.Struct, frozen=True):
    """A partition of a topic (full name)."""

    topic: str
    partition: int


class Decider:
    """Decides one run; `states` holds what the run made of its users so far.

    changes topic and partition of interest-changes.v1
    states  of every user of the run; one that is missing is new
    due     (due_ms, user) of deferrals, those that come due during the run at least
    now_ms  the moment of the decisions, epoch ms; moved on by `advance`
    wall_ms wall clock, to see how long a change waited
    """

    def __init__(
        self,
        changes: Place,
        states: Mapping[str, PushState],
        policy: PushPolicy,
        choose: Choose,
        due: Iterable[tuple[int, str]] = (),
        *,
        now_ms: int,
        wall_ms: int,
        serving: int,
    ) -> None:
        self.states = dict(states)
        self.decisions: list[Decided] = []
        self._changes = changes
        self._policy = policy
        self._choose = choose
        self._waiting = sorted(due)  # a sorted list is a heap
        self._now_ms = now_ms
        self._wall_ms = wall_ms
        self._serving = serving

    def take_in(self, inputs: Iterable[SettingInput | FeedbackInput]) -> None:
        """Settings and feedback. They come before the changes of a run: a user who opted out is not notified."""
        for given in inputs:
            feedback = given.feedback if isinstance(given, FeedbackInput) else None
            self._add(
                Decided(
                    PushDecision(
                        kind="setting" if feedback is None else "feedback",
                        user_id=given.user_id,
                        now=self._now_ms,
                        source=given.source,
                        notification_id=None if feedback is None else feedback.notification_id,
                        action=None if feedback is None else feedback.action,
                        setting=given.setting if isinstance(given, SettingInput) else None,
                    )
                )
            )

    def advance(self, now_ms: int) -> None:
        """Let time pass, never backwards: each deferral on the way is decided when it is due."""
        while self._waiting and self._waiting[0][0] <= now_ms:
            due_ms, user_id = heapq.heappop(self._waiting)
            waiting = self.states.get(user_id, NEW).deferral
            if waiting is not None and waiting.due_ms == due_ms:
                self._now_ms = max(self._now_ms, due_ms)
                self._due(user_id, waiting)
        self._now_ms = max(self._now_ms, now_ms)

    def change(self, given: ChangeInput) -> None:
        """One interest change."""
        state = self.states.get(given.user_id, NEW)
        lag_s = max(0.0, (self._wall_ms - given.timestamp_ms) / 1000)
        cause, rises = given.cause, given.change.kind == "rise"
        verdict = judge(
            cause, state, self._policy, rises=rises, now_ms=self._now_ms, lag_s=lag_s, serving=self._serving
        )
        self._conclude(given.user_id, (cause,), given.source, verdict, lag_s)

    def _due(self, user_id: str, waiting: Deferral) -> None:
        verdict = judge_due(waiting, self.states[user_id], self._policy, now_ms=self._now_ms, serving=self._serving)
        source = Coordinates(self._changes.topic, self._changes.partition, waiting.causes[0].offset)
        self._conclude(user_id, waiting.causes, source, verdict, None)

    def _conclude(
        self,
        user_id: str,
        causes: tuple[DecisionCause, ...],
        source: Coordinates,
        verdict: Verdict,
        lag_s: float | None,
    ) -> None:
        choice: Choice | None = None
        if isinstance(verdict, Proceed):
            serve = [cause for cause in causes if cause.generation == self._serving]
            found = self._choose(user_id, serve, self.states.get(user_id, NEW))
            if isinstance(found, HoldReason):
                verdict = Hold(found)
            else:
                choice = found
                verdict = Hold(HoldReason.SHADOW) if self._policy.shadow else verdict
        kind, names = _outcome(verdict, causes[0])
        entry = PushDecision(
            kind=kind,
            user_id=user_id,
            now=self._now_ms,
            source=source,
            cause=causes[0],
            reason=verdict.reason if isinstance(verdict, Hold) else None,
            due=verdict.due_ms if isinstance(verdict, Defer) else None,
            notification_id=notification_id(user_id, names) if names else None,
            item_ids=() if choice is None else tuple(candidate.item_id for candidate in choice.chosen),
            lag_s=lag_s,
        )
        self._add(Decided(entry, causes, choice))

    def _add(self, decided: Decided) -> None:
        entry = decided.entry
        self.states[entry.user_id] = apply(self.states.get(entry.user_id, NEW), entry)
        self.decisions.append(decided)
        if entry.kind == "deferred":
            heapq.heappush(self._waiting, (entry.due or 0, entry.user_id))


def _outcome(verdict: Verdict, cause: DecisionCause) -> tuple[DecisionKind, str]:
    """What the journal calls it, and the id of the cause that names the notification ("" if there will be none)."""
    match verdict:
        case Hold():
            return "held", ""
        case Defer():
            return "deferred", cause.id
        case Merge(into):
            return "merged", into
        case Proceed():
            return "sent", cause.id

"""The oracle of the journal and the product's fold agree; and the oracle sees what is broken."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import push_decision
from schemas.coordinates import Coordinates
from schemas.push_decision import DecisionCause, PushDecision
from schemas.reasons import HoldReason
from schemas.user_settings import QuietHours, UserSettings
from streams.core.push.journal import fold
from streams.core.push.state import PushState, notification_id
from tests.chaos import journal_oracle

NOW = 1_772_000_000_000


def entry(kind: str, number: int, at_s: int, name: int, reason: HoldReason) -> PushDecision:
    """An entry of any kind; only few causes, so that they meet again."""
    cause = DecisionCause(id=f"c{name}", offset=name, category="Tools", time=NOW, visits=3)
    more: dict[str, Any] = {
        "sent": {"notification_id": notification_id("u", cause.id), "item_ids": (f"i{name}", "j"), "cause": cause},
        "held": {"cause": cause, "reason": reason},
        "deferred": {"cause": cause, "due": NOW + 1000 * at_s},
        "merged": {"cause": cause},
        "feedback": {"notification_id": "n", "action": "opened"},
        "setting": {
            "setting": UserSettings(
                user_id="u", push_enabled=name > 2, quiet_hours=QuietHours("22:00", "08:00", "UTC"), cap_per_day=1
            )
        },
    }[kind]
    place = Coordinates("interest-changes.v1", 0, number)
    return PushDecision(kind=kind, user_id="u", now=NOW + 1000 * at_s, source=place, **more)


entries = st.lists(
    st.tuples(
        st.sampled_from(("sent", "held", "deferred", "merged", "feedback", "setting")),
        st.integers(0, 3 * 86_400),
        st.integers(0, 5) | st.integers(0, 500),
        st.sampled_from((HoldReason.CAP, HoldReason.DUPLICATE, HoldReason.OTHER_GENERATION)),
    ),
    max_size=200,
)


def plain(state: PushState) -> dict[str, Any]:
    """A state in the oracle's words."""
    waiting = state.deferral
    return {
        "sends": list(state.sends),
        "last_sent_ms": state.last_sent_ms,
        "sent_items": list(state.sent_items),
        "sent_causes": list(state.sent_causes),
        "causes": list(state.causes),
        "setting": None if state.setting is None else msgspec.to_builtins(state.setting),
        "deferral": None if waiting is None else (waiting.due_ms, [cause.id for cause in waiting.causes]),
        "feedback": dict(state.feedback),
    }


@given(entries)
@settings(deadline=None)
def test_the_fold_is_what_the_page_says(drawn: list) -> None:
    journal = [entry(kind, number, at_s, name, reason) for number, (kind, at_s, name, reason) in enumerate(drawn)]
    as_json = [json.loads(push_decision.encode(made)) for made in journal]
    expected = journal_oracle.fold(as_json)
    assert {user: plain(state) for user, state in fold({}, journal).items()} == expected


def test_the_oracle_sees_every_broken_promise() -> None:
    sends = [entry("sent", 0, 0, 1, HoldReason.CAP), entry("sent", 1, 60, 2, HoldReason.CAP)]
    journal = [json.loads(push_decision.encode(made)) for made in (*sends, sends[0])]
    named = [{"id": made["notification_id"], "items": [{"item_id": "other"}]} for made in journal[:1]]
    found = " ".join(journal_oracle.faults(journal, [*named, *named, {"id": "x", "items": []}], 1, 3600.0))
    for part in (
        "more than 1",
        "less than",
        "was sent before",
        "2 last words",
        "written 2 times",
        "not in the",
        "alone",
    ):
        assert part in found
    assert "other items" in found
    assert (
        journal_oracle.faults(journal[:1], [{**named[0], "items": [{"item_id": "i1"}, {"item_id": "j"}]}], 1, 1.0) == []
    )

"""What the journal says, as a person would tell it (`driftline why`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from schemas.notification import Notification, RecommendedItem
from schemas.push_decision import PushDecision
from schemas.reasons import HoldReason
from schemas.times import rfc3339
from streams.core.push.state import DAY_MS, PushState
from streams.core.push.texts import did, joined

_HOUR_MS = 3_600_000
_MINUTE_MS = 60_000


class Story(msgspec.Struct, frozen=True):
    """One entry of the journal with what went before.

    earlier       `now` of the user's earlier notifications that the journal's read part holds, oldest first
    notification  as it was sent, if notifications.v1 still has it
    """

    entry: PushDecision
    earlier: tuple[int, ...] = ()
    notification: Notification | None = None


def stories(entries: Sequence[PushDecision], notifications: dict[str, Notification]) -> list[Story]:
    """Entries of one user in the order of the journal, each with what went before it."""
    told: list[Story] = []
    sends: list[int] = []
    for entry in entries:
        found = notifications.get(entry.notification_id or "") if entry.kind == "sent" else None
        told.append(Story(entry, tuple(sends), found))
        if entry.kind == "sent":
            sends.append(entry.now)
    return told


def tell(story: Story) -> Iterator[str]:
    """A headline, then the details, one line each."""
    entry = story.entry
    yield f"{rfc3339(entry.now)}  {_headline(entry)}"
    if entry.cause is not None:
        cause = entry.cause
        visits = "1 visit" if cause.visits == 1 else f"{cause.visits} visits"
        yield f"cause: {cause.category}, {visits}, at {rfc3339(cause.time)} (change {cause.id})"
        yield f"limits: {_limits(story)}"
    if story.notification is not None:
        yield f"said: {story.notification.title}. {story.notification.text}"
        for item in story.notification.items:
            yield f"  {_item(item)}"
    elif entry.item_ids:
        yield f"items: {joined(entry.item_ids)}"
    if entry.notification_id is not None:
        yield f"notification: {entry.notification_id}"
    lag = "" if entry.lag_s is None else f", {entry.lag_s:.1f} s behind"
    yield f"input: {entry.source}{lag}"


def _headline(entry: PushDecision) -> str:
    match entry:
        case PushDecision(kind="held", reason=HoldReason() as reason):
            return f"{entry.user_id}: held, {reason.value}: {reason.meaning}"
        case PushDecision(kind="deferred", due=int() as due):
            return f"{entry.user_id}: deferred to {rfc3339(due)}, the end of the quiet hours"
        case PushDecision(kind="merged"):
            return f"{entry.user_id}: merged into a notification that waits for the end of the quiet hours"
        case PushDecision(kind="feedback"):
            return f"{entry.user_id}: {entry.action}"
        case PushDecision(kind="setting", setting=None):
            return f"{entry.user_id}: settings went back to the defaults"
        case PushDecision(kind="setting"):
            return f"{entry.user_id}: {_setting(entry)}"
        case _:
            return f"{entry.user_id}: notified"


def _setting(entry: PushDecision) -> str:
    setting = entry.setting
    assert setting is not None
    parts = ["wants notifications" if setting.push_enabled else "wants no notifications"]
    if setting.quiet_hours is not None:
        hours = setting.quiet_hours
        parts.append(f"quiet from {hours.start} to {hours.end} ({hours.time_zone})")
    if setting.cap_per_day is not None:
        parts.append(f"at most {setting.cap_per_day} in 24 hours")
    return ", ".join(parts)


def _limits(story: Story) -> str:
    now = story.entry.now
    recent = sum(now - DAY_MS < at <= now for at in story.earlier)
    count = "1 notification" if recent == 1 else f"{recent} notifications"
    last = f", the last one {_span(now - story.earlier[-1])} earlier" if story.earlier else ""
    return f"{count} in the 24 hours before{last}"


def _item(item: RecommendedItem) -> str:
    named = f"{item.title} ({item.item_id})" if item.title else item.item_id
    because = joined([f"{did(e.type, e.title or e.item_id)} (similarity {e.similarity:.3f})" for e in item.evidence])
    return f"{named}, score {item.score:.3f}, because they {because}"


def _span(ms: int) -> str:
    hours, rest = divmod(ms, _HOUR_MS)
    return f"{hours} h {rest // _MINUTE_MS} min" if hours else f"{rest // _MINUTE_MS} min"


def tell_state(state: PushState) -> Iterator[str]:
    """What Redis holds of the user."""
    yield f"notifications in 24 hours before the newest: {len(state.sends)}"
    yield f"newest: {rfc3339(state.last_sent_ms) if state.last_sent_ms else 'none yet'}"
    if state.deferral is not None:
        categories = joined([cause.category for cause in state.deferral.causes])
        yield f"waits until {rfc3339(state.deferral.due_ms)}: {categories}"
    if state.opted_out:
        yield "wants no notifications"
    if state.quiet_hours is not None:
        hours = state.quiet_hours
        yield f"quiet from {hours.start} to {hours.end} ({hours.time_zone})"
    if state.feedback:
        yield "feedback: " + ", ".join(f"{action} {count}" for action, count in state.feedback)

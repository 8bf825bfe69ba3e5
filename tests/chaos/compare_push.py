"""Push against its oracle: Redis is the fold of the journal, no promise is broken, every input has its last word."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace as Plain
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from confluent_kafka import TopicPartition

from schemas.feedback import decode_feedback
from schemas.reasons import Rejection
from schemas.user_settings import decode_user_settings
from streams import kafka_clients
from streams.broker import Broker
from streams.core.push.journal import decode_position
from streams.core.push.state import PushState, decode_push
from streams.settings import Settings
from streams.topics import (
    INTEREST_CHANGES,
    NOTIFICATION_FEEDBACK,
    NOTIFICATIONS,
    PUSH_DECISIONS,
    USER_SETTINGS,
    full_name,
)
from tests.chaos import journal_oracle
from tests.chaos.compare import Stages, World
from tests.chaos.findings import Findings

INPUTS = (INTEREST_CHANGES, USER_SETTINGS, NOTIFICATION_FEEDBACK)
Entry = Mapping[str, Any]


def lag(settings: Settings) -> int:
    """Input records that no committed transaction has taken in yet."""
    reader, broker, behind = kafka_clients.consumer(settings, "push"), Broker(settings), 0
    try:
        for topic in INPUTS:
            name = full_name(settings.namespace, topic)
            places = [TopicPartition(name, p) for p in range(settings.user_partitions)]
            ends = broker.log_ranges(name, range(settings.user_partitions))
            for place in reader.committed(places, timeout=10):
                behind += ends[place.partition].end - max(0, place.offset)
    finally:
        reader.close()
    return behind


def compare_push(world: World, findings: Findings, stage1: Stages) -> None:
    """The journal, its fold, the notifications, and what was taken in."""
    settings = world.settings
    journals, notifications = world.log(PUSH_DECISIONS), world.log(NOTIFICATIONS)
    position_id = Broker(settings).topics([world.name(PUSH_DECISIONS)])[world.name(PUSH_DECISIONS)].id
    contents: dict[str, set[bytes]] = defaultdict(set)
    for partition in range(settings.user_partitions):
        entries: list[Entry] = [json.loads(m.value()) for m in journals[partition]]
        sent: list[Entry] = [json.loads(m.value()) for m in notifications[partition]]
        for record in notifications[partition]:
            contents[json.loads(record.value())["id"]].add(record.value())
        faults = journal_oracle.faults(entries, sent, settings.push_cap_per_day, settings.push_gap_s)
        findings.compared["journal entries"] += len(entries)
        findings.compared["notifications"] += len(sent)
        for fault in [*faults, *quiet_faults(entries)]:
            findings.differ("promises of push", fault)
        shard = world.keys.push(partition)
        raw = world.state(shard.checkpoint)
        end = int(journals[partition][-1].offset() or 0) + 1 if entries else 0
        found = raw and decode_position(raw)
        expected = (position_id, partition, settings.user_partitions, end, max((e["now"] for e in entries), default=0))
        findings.equal(
            "push positions", shard.checkpoint,
            found and (found.topic_id, found.partition, found.partitions, found.offset, found.now_ms), expected,
        )  # fmt: skip
        users = journal_oracle.fold(entries)
        for user_id, user in users.items():
            raw = world.state(shard.push(user_id))
            findings.equal("push states", user_id, raw and told(decode_push(raw)), user)
        _last_words(findings, entries, users, stage1[partition])
        _taken_in(world, findings, partition, entries)
    for name, versions in contents.items():
        findings.equal("notification contents", name, len(versions), 1)
    findings.require("journal entries", "notifications", "push states", "last words", "push inputs")


def told(state: PushState) -> dict[str, Any]:
    """A push state in the oracle's terms."""
    waiting = state.deferral
    return {
        "sends": list(state.sends),
        "last_sent_ms": state.last_sent_ms,
        "sent_items": list(state.sent_items),
        "sent_causes": list(state.sent_causes),
        "causes": list(state.causes),
        "setting": msgspec.to_builtins(state.setting),
        "deferral": waiting and (waiting.due_ms, [cause.id for cause in waiting.causes]),
        "feedback": dict(state.feedback),
    }


def quiet_faults(entries: list[Entry]) -> list[str]:
    """Notifications sent inside the quiet hours the user had asked for by then."""
    asked: dict[str, Entry] = {}
    found = []
    for entry in entries:
        if entry["kind"] == "setting":
            asked[entry["user_id"]] = (entry.get("setting") or {}).get("quiet_hours")
        hours = asked.get(entry["user_id"])
        if entry["kind"] != "sent" or not hours:
            continue
        local = datetime.fromtimestamp(entry["now"] / 1000, UTC).astimezone(ZoneInfo(hours["time_zone"]))
        clock, start, end = local.strftime("%H:%M"), hours["start"], hours["end"]
        if (start <= clock < end) if start < end else (clock >= start or clock < end):
            found.append(f"{entry['user_id']} at {entry['now']}: in the quiet hours {start} to {end}")
    return found


def _last_words(findings: Findings, entries: list[Entry], users: Mapping[str, Any], stage: Plain) -> None:
    """Every interest change the oracle knows of: one last word, or it still waits; and no word on any other."""
    words = Counter(
        entry["cause"]["id"]
        for entry in entries
        if entry["kind"] in ("sent", "held", "merged") and entry.get("reason") != "duplicate"
    )
    waiting = {user["deferral"][1][0] for user in users.values() if user["deferral"]}
    for change in stage.changes:
        count = words[change.id] + (change.id in waiting)
        findings.holds("last words", f"{change.id}: {count} of them{_story(entries, change)}", fine=count == 1)
    known = {change.id for change in stage.changes}
    for extra in (words.keys() | waiting) - known:
        findings.differ("last words", f"{extra}: nobody made this change")


def _taken_in(world: World, findings: Findings, partition: int, entries: list[Entry]) -> None:
    """Every input record is in the journal once, a deferred one once more; a refused one is a reject."""
    kinds: dict[tuple[str, int, int], list[str]] = defaultdict(list)
    for entry in entries:
        source = entry["source"]
        kinds[source["topic"], source["partition"], source["offset"]].append(entry["kind"])
    for topic in INPUTS:
        for message in world.inputs(topic)[partition]:
            place = (world.name(topic), partition, int(message.offset() or 0))
            refused: Any = None
            if topic is NOTIFICATION_FEEDBACK:
                refused = decode_feedback(message.value(), max_bytes=65_536)
            elif topic is USER_SETTINGS and message.value() is not None:
                refused = decode_user_settings(message.value(), max_bytes=65_536)
            if isinstance(refused, Rejection):
                world.rejects.add((*place, str(refused.reason)))
                findings.equal("push inputs", f"{place}", kinds.pop(place, []), [])
                continue
            found = kinds.pop(place, [])
            once = len(found) - found[:-1].count("deferred") == 1
            findings.holds("push inputs", f"{place}: journalled as {found}", fine=once)
    for place in kinds:
        findings.differ("push inputs", f"{place}: in the journal, but not in the log")


def _story(entries: list[Entry], change: Any) -> str:
    """What the journal says of one change, for a failure's message; made only when it is read."""
    theirs = [e for e in entries if e["user_id"] == change.user_id and "cause" in e]
    told = [
        (n, e["kind"], e.get("reason"), e["source"]["offset"])
        for n, e in enumerate(theirs)
        if e["cause"]["id"] == change.id
    ]
    return f", (the user's n-th decision, kind, reason, offset of its input): {told}"

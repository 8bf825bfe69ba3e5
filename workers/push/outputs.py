"""From decisions to records: the journal, the notifications, and what was refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from schemas import notification, push_decision
from schemas.behaviour import BehaviourType
from schemas.cloudevents import cloudevents_headers
from schemas.dead_letter import MAX_BYTES, dead_letter_headers
from schemas.notification import ItemEvidence, Notification, NotificationReason, RecommendedItem
from schemas.times import rfc3339
from streams.core.push import texts
from streams.core.push.candidates import Candidate
from streams.core.push.decide import Choice, Decided
from workers.push.inputs import Refused
from workers.push.topology import Topology
from workers.push.transaction import Outgoing

SIMILAR = "similar"


def outgoing(
    decisions: Iterable[Decided], refused: Iterable[Refused], topology: Topology, partition: int, expiry_s: float
) -> list[Outgoing]:
    """Everything one transaction writes, the journal in the order of the decisions."""
    records = [record for decided in decisions for record in _of(decided, topology, partition, expiry_s)]
    return records + [_dead_letter(record, topology) for record in refused]


def _of(decided: Decided, topology: Topology, partition: int, expiry_s: float) -> Iterator[Outgoing]:
    entry, key = decided.entry, decided.entry.user_id.encode()
    yield Outgoing(topology.journal, partition, key, push_decision.encode(entry))
    if entry.kind == "sent" and decided.choice is not None and entry.notification_id is not None:
        made = notification_of(decided, decided.choice, entry.notification_id, expiry_s)
        headers = cloudevents_headers(
            id=made.id, type=notification.CE_TYPE, subject=made.user_id, time=rfc3339(made.created)
        )
        yield Outgoing(topology.notifications, partition, key, notification.encode(made), headers)


def notification_of(decided: Decided, choice: Choice, made_id: str, expiry_s: float) -> Notification:
    """The notification a decision comes to."""
    entry, causes = decided.entry, decided.causes
    return Notification(
        id=made_id,
        user_id=entry.user_id,
        title=texts.title(causes),
        text=texts.text(choice.chosen, choice.titles),
        items=tuple(_item(candidate, choice.titles) for candidate in choice.chosen),
        reason=NotificationReason(kind="rise", category=causes[0].category, explanation=texts.explanation(causes)),
        created=entry.now,
        send_after=entry.now,
        expires=entry.now + int(expiry_s * 1000),
        cause_ids=tuple(cause.id for cause in causes),
    )


def _item(candidate: Candidate, titles: Mapping[str, str]) -> RecommendedItem:
    evidence = tuple(
        ItemEvidence(
            item_id=seen.item_id,
            title=titles.get(seen.item_id),
            type=cast("BehaviourType", seen.type),
            similarity=min(1.0, seen.similarity),
        )
        for seen in candidate.evidence
    )
    return RecommendedItem(
        item_id=candidate.item_id,
        title=titles.get(candidate.item_id),
        score=candidate.score,
        source=SIMILAR,
        evidence=evidence,
    )


def _dead_letter(refused: Refused, topology: Topology) -> Outgoing:
    headers = dead_letter_headers(
        refused.rejection,
        refused.source,
        timestamp=refused.timestamp_ms,
        key=refused.key,
        value=refused.value,
    )
    value = None if refused.value is None else refused.value[:MAX_BYTES]
    return Outgoing(topology.dead_letters, 0, None, value, headers)

"""Every Kafka topic Driftline reads or writes, on one screen.

| topic                    | partitions      | key      | written by        | read by                  | kept          |
|--------------------------|-----------------|----------|-------------------|--------------------------|---------------|
| behaviour-events.v1      | users           | user_id  | upstream services | profiles                 | 7 days        |
| item-links.v1 (internal) | items           | none     | profiles          | neighbours               | >= behaviour  |
| interest-changes.v1      | users           | user_id  | profiles          | push, other services     | 7 days        |
| catalogue.v1             | catalogue       | item_id  | catalogue service | catalogue                | compacted     |
| user-settings.v1         | users           | user_id  | account service   | push                     | compacted     |
| notification-feedback.v1 | users           | user_id  | notifier          | push                     | 7 days        |
| notifications.v1         | users           | user_id  | push              | notifier                 | 7 days        |
| push-decisions.v1        | users           | user_id  | push (journal)    | push                     | for ever      |
| dead-letters.v1          | 1               | none     | all               | operators                | 30 days       |

"users", "items" and "catalogue" are the partition counts of the settings. Topics that share a user must have equal
counts: the push worker owns partition p of all of them at once (docs/architecture.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DAY_MS = 86_400_000

Keyed = Literal["users", "items", "catalogue", "one"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: its name without namespace, what its partition count follows, and its configuration.

    name           `behaviour-events.v1`; the full name is `<namespace>.<name>` (see `full_name`)
    partitioned_by which partition count of the settings applies
    retention_ms   -1 keeps records for ever
    compacted      the newest record of a key is kept
    internal       no service outside Driftline may write or read it
    """

    name: str
    partitioned_by: Keyed
    retention_ms: int
    compacted: bool = False
    internal: bool = False


BEHAVIOUR_EVENTS = Topic("behaviour-events.v1", "users", 7 * DAY_MS)
ITEM_LINKS = Topic("item-links.v1", "items", 8 * DAY_MS, internal=True)
INTEREST_CHANGES = Topic("interest-changes.v1", "users", 7 * DAY_MS)
CATALOGUE = Topic("catalogue.v1", "catalogue", -1, compacted=True)
USER_SETTINGS = Topic("user-settings.v1", "users", -1, compacted=True)
NOTIFICATION_FEEDBACK = Topic("notification-feedback.v1", "users", 7 * DAY_MS)
NOTIFICATIONS = Topic("notifications.v1", "users", 7 * DAY_MS)
PUSH_DECISIONS = Topic("push-decisions.v1", "users", -1)
DEAD_LETTERS = Topic("dead-letters.v1", "one", 30 * DAY_MS)

TOPICS = (
    BEHAVIOUR_EVENTS,
    ITEM_LINKS,
    INTEREST_CHANGES,
    CATALOGUE,
    USER_SETTINGS,
    NOTIFICATION_FEEDBACK,
    NOTIFICATIONS,
    PUSH_DECISIONS,
    DEAD_LETTERS,
)


def full_name(namespace: str, topic: Topic) -> str:
    """The topic's name on the broker.

    >>> full_name("driftline", BEHAVIOUR_EVENTS)
    'driftline.behaviour-events.v1'
    """
    return f"{namespace}.{topic.name}"

"""The topics of the push worker by their full names, and whether they are as they must be."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicCollection

from streams import kafka_clients, topics
from streams.settings import Settings
from workers.push.errors import PushError

_CALL_S = 15.0


@dataclass(frozen=True, slots=True)
class Topology:
    """Full names, and the journal's incarnation."""

    changes: str
    settings: str
    feedback: str
    notifications: str
    journal: str
    dead_letters: str
    journal_id: str
    partitions: int

    @property
    def inputs(self) -> tuple[str, str, str]:
        """What the consumer group reads; equal partition counts."""
        return self.changes, self.settings, self.feedback


def look_up(settings: Settings) -> Topology:
    """Ask the brokers.

    Raises PushError for a topic that is missing or has another number of partitions than `user_partitions`.
    """
    by_user = (
        topics.INTEREST_CHANGES,
        topics.USER_SETTINGS,
        topics.NOTIFICATION_FEEDBACK,
        topics.NOTIFICATIONS,
        topics.PUSH_DECISIONS,
    )
    names = [topics.full_name(settings.namespace, topic) for topic in by_user]
    admin = kafka_clients.admin(settings)  # in a variable: it must outlive its futures
    described = admin.describe_topics(TopicCollection(names), request_timeout=_CALL_S)
    ids = []
    for name in names:
        try:
            found = described[name].result()
        except KafkaException as error:
            raise PushError(f"topic {name}: {error.args[0].str()}; `driftline topics create` creates it") from error
        if len(found.partitions) != settings.user_partitions:
            raise PushError(
                f"topic {name} has {len(found.partitions)} partitions, DRIFTLINE_USER_PARTITIONS is "
                f"{settings.user_partitions}: they must be equal, and so must those of all topics keyed by user"
            )
        ids.append(str(found.topic_id))
    dead_letters = topics.full_name(settings.namespace, topics.DEAD_LETTERS)
    changes, settings_, feedback, notifications, journal = names
    return Topology(
        changes, settings_, feedback, notifications, journal, dead_letters, ids[-1], settings.user_partitions
    )

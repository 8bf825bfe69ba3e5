"""Reads along what the pipeline writes, so that the demo can show it."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from schemas.interest_change import InterestChange, decode_interest_change
from schemas.notification import Notification, decode_notification
from schemas.push_decision import decode_push_decision
from schemas.reasons import Rejection
from streams import kafka_clients
from streams.settings import Settings
from streams.topics import BEHAVIOUR_EVENTS, INTEREST_CHANGES, NOTIFICATIONS, PUSH_DECISIONS, full_name


class Watch(threading.Thread):
    """Follows four topics from their beginning; every attribute may be read at any time.

    changes        interest changes by user, in order
    notifications  in order, each with the seconds from its causing purchase's record to its own
    held           reasons of held decisions
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="watch", daemon=True)
        self.changes: dict[str, list[InterestChange]] = defaultdict(list)
        self.kinds: Counter[str] = Counter()
        self.notifications: list[tuple[Notification, float]] = []
        self.held: Counter[str] = Counter()
        self.decisions = 0
        self._sent_at: dict[
            tuple[int, int], int
        ] = {}  # (partition, offset) of a behaviour event -> its record's time, ms
        self._cause: dict[str, tuple[int, int]] = {}
        self._names = {
            full_name(settings.namespace, topic): take
            for topic, take in (
                (BEHAVIOUR_EVENTS, self._take_event),
                (INTEREST_CHANGES, self._take_change),
                (NOTIFICATIONS, self._take_notification),
                (PUSH_DECISIONS, self._take_decision),
            )
        }
        self._partitions = settings.user_partitions
        self._consumer: Consumer = kafka_clients.consumer(settings, "demo")
        self._stopping = threading.Event()

    def run(self) -> None:
        everything = [
            TopicPartition(name, p, OFFSET_BEGINNING) for name in self._names for p in range(self._partitions)
        ]
        self._consumer.assign(everything)
        while not self._stopping.is_set():
            for message in self._consumer.consume(2000, 0.1):
                if message.error() is None:
                    self._names[str(message.topic())](message)
        self._consumer.close()

    def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        self.join(10)

    def _take_event(self, message: Message) -> None:
        self._sent_at[_place(message)] = message.timestamp()[1]

    def _take_change(self, message: Message) -> None:
        change = decode_interest_change(message.value())
        if not isinstance(change, Rejection):
            self.changes[change.user_id].append(change)
            self.kinds[change.kind] += 1
            self._cause[change.id] = (change.cause.partition, change.cause.offset)

    def _take_notification(self, message: Message) -> None:
        notification = decode_notification(message.value())
        if not isinstance(notification, Rejection):
            sent_at = self._sent_at.get(self._cause.get(notification.cause_ids[0], (-1, -1)), message.timestamp()[1])
            self.notifications.append((notification, (message.timestamp()[1] - sent_at) / 1000))

    def _take_decision(self, message: Message) -> None:
        decision = decode_push_decision(message.value())
        if not isinstance(decision, Rejection):
            self.decisions += 1
            if decision.kind == "held" and decision.reason is not None:
                self.held[str(decision.reason)] += 1


def _place(message: Message) -> tuple[int, int]:
    return message.partition() or 0, message.offset() or 0

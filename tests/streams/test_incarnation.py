"""Verifying while others still work: what the chaos suite found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streams.broker import LogRange, TopicFacts
from streams.core.checkpoint import Checkpoint
from streams.incarnation import Place, keyspace, verify
from streams.settings import Settings
from streams.store.memory import MemoryStore
from streams.topics import BEHAVIOUR_EVENTS, full_name


def test_events_that_come_and_are_applied_meanwhile_are_no_reason_to_refuse() -> None:
    settings = Settings()
    keys, store = keyspace(settings, 1), MemoryStore()
    topic, shard = full_name(settings.namespace, BEHAVIOUR_EVENTS), keys.users(0)

    def checkpoint(watermark: int) -> bytes:
        fields: dict[str, Any] = {"generation": 1, "topic_id": "id", "source_id": "", "partition": 0}
        counts = {"partitions": settings.user_partitions, "item_partitions": settings.item_partitions}
        return Checkpoint(**fields, **counts, settings_hash=settings.fold_hash, watermark=watermark).encode()

    class BusyBroker:
        """Right after each look at the log, another worker applies three more events."""

        end = 100

        def topics(self, names: Iterable[str]) -> dict[str, TopicFacts]:
            counts = {"users": settings.user_partitions, "items": settings.item_partitions}
            counts["catalogue"] = settings.catalogue_partitions
            found = {"behaviour-events.v1": "users", "item-links.v1": "items", "catalogue.v1": "catalogue"}
            return {name: TopicFacts("id", counts[found[name.partition(".")[2]]], 1) for name in names}

        def log_ranges(self, topic: str, partitions: Iterable[int]) -> dict[int, LogRange]:
            seen = {p: LogRange(0, self.end) for p in partitions}
            self.end += 3
            store.values[shard.checkpoint] = checkpoint(self.end)
            return seen

    store.values[shard.checkpoint] = checkpoint(100)
    broker: Any = BusyBroker()
    place = Place(topic, 0)
    assert verify(settings, keys, store, broker, [place])[place].watermark == 100
    assert verify(settings, keys, store, broker, [place])[place].watermark == 103

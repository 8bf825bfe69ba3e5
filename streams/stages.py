"""The three stages as the lanes see them: states in memory, keys, and messages out. The rules are in streams/core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from schemas import dead_letter, interest_change
from schemas.behaviour import BehaviourEvent
from schemas.cloudevents import cloudevents_headers
from schemas.coordinates import Coordinates
from schemas.interest_change import CE_TYPE, Evidence, InterestChange
from schemas.reasons import Rejection
from schemas.times import rfc3339
from streams import metrics
from streams.agents import Decision
from streams.core import catalogue, neighbours, profiles
from streams.core.checkpoint import Checkpoint
from streams.core.item_arena import ItemArena
from streams.core.links import encode_links
from streams.core.policy import LearningPolicy
from streams.core.profiles import InterestChanged
from streams.core.records import Rejected, SourceRecord
from streams.core.user_state import Tier, UserState, decode_user
from streams.emit import Message
from streams.store.keys import Shard

TIER_NAMES: dict[Tier, interest_change.Tier] = {
    Tier.NONE: "none",
    Tier.EMERGING: "emerging",
    Tier.ACTIVE: "active",
    Tier.CORE: "core",
    Tier.FADING: "fading",
    Tier.DORMANT: "dormant",
}


class Names(msgspec.Struct, frozen=True):
    """Full names of the topics the stages write to."""

    behaviour_events: str
    item_links: str
    interest_changes: str
    catalogue: str
    dead_letters: str


class RecentlyUsed:
    """A bounded dict that forgets what was not used for about `most` / 2 other keys."""

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._young: dict[str, UserState] = {}
        self._old: dict[str, UserState] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, key: str) -> bool:
        return key in self._young or key in self._old

    def use(self, key: str) -> UserState | None:
        state = self._young.get(key)
        if state is None:
            state = self._old.pop(key, None)
            if state is not None:
                self._young[key] = state
        return state

    def put(self, key: str, state: UserState) -> None:
        self._young[key] = state

    def shrink(self) -> None:
        if len(self._young) > self._half:
            self._young, self._old = {}, self._young

    def clear(self) -> None:
        self._young, self._old = {}, {}


def dead_letters(rejects: Sequence[Rejected], topic: str, partition: int, to: str) -> list[Message]:
    """The refused records as messages to the dead-letter topic: their bytes, why, and where they came from."""
    found = []
    for reject in rejects:
        record = reject.record
        raw = record.value if isinstance(record.value, bytes) else None
        headers = dead_letter.dead_letter_headers(
            reject.rejection,
            Coordinates(topic, partition, record.offset),
            timestamp=record.timestamp,
            key=record.key,
            value=raw,
        )
        found.append(Message(to, 0, None, raw and raw[: dead_letter.MAX_BYTES], headers))
    return found


def _count(stage: str, decision: Decision) -> None:
    for outcome, count in decision.outcomes.items():
        metrics.RECORDS.labels(stage, outcome).inc(count)
    for reject in decision.rejects:
        metrics.REJECTS.labels(stage, reject.rejection.reason).inc()


class ProfilesStage:
    """Stage 1: behaviour events of one user partition."""

    name = "profiles"

    def __init__(
        self, shard: Shard, policy: LearningPolicy, names: Names, *, max_event_bytes: int, cached_users: int
    ) -> None:
        self.shard = shard
        self._policy = policy
        self._names = names
        self._max_event_bytes = max_event_bytes
        self._users = RecentlyUsed(cached_users)
        self._absent: set[str] = set()  # users without a state, as of the checkpoint in memory
        self._last: profiles.ProfilesDecision | None = None

    def decode(self, records: Sequence[SourceRecord]) -> list[profiles.Decoded]:
        return profiles.decode(records, self._max_event_bytes)

    def missing(self, work: list[profiles.Decoded], checkpoint: Checkpoint) -> list[str]:
        users = {event.user_id for _, event in work if isinstance(event, BehaviourEvent)}
        return [user for user in users if user not in self._users and user not in self._absent]

    def key(self, state_id: str) -> str:
        return self.shard.user(state_id)

    def put(self, state_id: str, data: bytes | None) -> None:
        if data is None:
            self._absent.add(state_id)
        else:
            self._users.put(state_id, decode_user(data))

    def decide(self, work: list[profiles.Decoded], checkpoint: Checkpoint) -> Decision:
        states: dict[str, UserState] = {}
        for _, event in work:
            if isinstance(event, BehaviourEvent) and event.user_id not in states:
                known = self._users.use(event.user_id)
                if known is not None:
                    states[event.user_id] = known
        folded = self._last = profiles.fold(checkpoint, work, states, self._policy)
        for user in folded.dirty:
            self._users.put(user, states[user])
        partition = checkpoint.partition
        messages = [
            Message(self._names.item_links, target, None, value)
            for target, value in encode_links(
                folded.links,
                generation=checkpoint.generation,
                topic_id=checkpoint.topic_id,
                source=partition,
                item_partitions=checkpoint.item_partitions,
            )
        ]
        messages += [self._interest_change(change, checkpoint) for change in folded.changes]
        messages += dead_letters(folded.rejects, self._names.behaviour_events, partition, self._names.dead_letters)
        return Decision(
            checkpoint=folded.checkpoint,
            writes={self.shard.user(user): states[user].encode() for user in folded.dirty},
            messages=messages,
            rejects=folded.rejects,
            views=list(folded.dirty),
            outcomes={
                "accepted": folded.checkpoint.accepted - checkpoint.accepted,
                "duplicate": folded.duplicates,
                "rejected": len(folded.rejects),
            },
        )

    def _interest_change(self, changed: InterestChanged, checkpoint: Checkpoint) -> Message:
        change = changed.change
        record = InterestChange(
            id=changed.id,
            user_id=changed.user_id,
            kind=change.kind,
            category=change.category,
            from_tier=TIER_NAMES[change.from_tier],
            to_tier=TIER_NAMES[change.to_tier],
            affinity=change.share,
            time=changed.time_ms,
            evidence=Evidence(visits=change.visits, items=changed.items, event_ids=(changed.event_id,)),
            cause=Coordinates(self._names.behaviour_events, checkpoint.partition, changed.offset),
            generation=checkpoint.generation,
        )
        headers = cloudevents_headers(
            id=changed.id,
            type=CE_TYPE,
            subject=changed.user_id,
            time=rfc3339(changed.time_ms),
        )
        topic = self._names.interest_changes
        return Message(topic, checkpoint.partition, changed.user_id.encode(), interest_change.encode(record), headers)

    def committed(self, decision: Decision) -> None:
        _count(self.name, decision)
        assert self._last is not None
        for kind, count in self._last.types.items():
            metrics.EVENTS.labels(kind).inc(count)
        for changed in self._last.changes:
            metrics.INTEREST_CHANGES.labels(changed.change.kind).inc()
        self._users.shrink()
        self._absent.clear()
        metrics.CACHED_STATES.labels(self.name).set(len(self._users))

    def forget(self) -> None:
        self._users.clear()
        self._absent.clear()


class NeighboursStage:
    """Stage 2: link messages of one item partition."""

    name = "neighbours"

    def __init__(self, shard: Shard, policy: LearningPolicy, names: Names, *, cached_items: int) -> None:
        self.shard = shard
        self._policy = policy
        self._names = names
        self._cached_items = cached_items
        self._arena = ItemArena(policy)

    def decode(self, records: Sequence[SourceRecord]) -> list[neighbours.Decoded]:
        return neighbours.decode(records)

    def missing(self, work: list[neighbours.Decoded], checkpoint: Checkpoint) -> list[int]:
        wanted: dict[int, None] = {}
        for _, message in work:
            if not isinstance(message, Rejection) and neighbours.counts_here(message, checkpoint):
                wanted.update(dict.fromkeys(neighbours.owned_items(message, checkpoint).values()))
        return self._arena.missing(wanted)

    def key(self, state_id: int) -> str:
        return self.shard.item(state_id)

    def put(self, state_id: int, data: bytes | None) -> None:
        self._arena.put(state_id, data)

    def decide(self, work: list[neighbours.Decoded], checkpoint: Checkpoint) -> Decision:
        folded = neighbours.fold(checkpoint, work, self._arena)
        packed = self._arena.pack(folded.dirty)
        letters = dead_letters(folded.rejects, self._names.item_links, checkpoint.partition, self._names.dead_letters)
        return Decision(
            checkpoint=folded.checkpoint,
            writes={self.shard.item(item): data for item, data in zip(folded.dirty, packed, strict=True)},
            messages=letters,
            rejects=folded.rejects,
            views=self._arena.grown(folded.dirty) if folded.dirty else [],
            outcomes={"accepted": folded.applied, "duplicate": folded.dropped, "rejected": len(folded.rejects)},
        )

    def committed(self, decision: Decision) -> None:
        _count(self.name, decision)
        self._arena.shrink(self._cached_items)
        metrics.CACHED_STATES.labels(self.name).set(len(self._arena))

    def forget(self) -> None:
        self._arena = ItemArena(self._policy)


class CatalogueStage:
    """Item metadata of one catalogue partition; needs no state to go on."""

    name = "catalogue"

    def __init__(self, shard: Shard, names: Names) -> None:
        self.shard = shard
        self._names = names

    def decode(self, records: Sequence[SourceRecord]) -> Sequence[SourceRecord]:
        return records

    def missing(self, work: Any, checkpoint: Checkpoint) -> list[str]:
        return []

    def key(self, state_id: str) -> str:
        return self.shard.meta(state_id)

    def put(self, state_id: str, data: bytes | None) -> None:
        return None

    def decide(self, work: Sequence[SourceRecord], checkpoint: Checkpoint) -> Decision:
        folded = catalogue.fold(checkpoint, work)
        letters = dead_letters(folded.rejects, self._names.catalogue, checkpoint.partition, self._names.dead_letters)
        return Decision(
            checkpoint=folded.checkpoint,
            writes={self.shard.meta(item): data for item, data in folded.metadata.items()},
            messages=letters,
            rejects=folded.rejects,
            views=(),
            outcomes={"accepted": len(work) - len(folded.rejects), "rejected": len(folded.rejects)},
        )

    def committed(self, decision: Decision) -> None:
        _count(self.name, decision)

    def forget(self) -> None:
        return None

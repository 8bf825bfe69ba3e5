"""The system's outcome against the oracle's: every key, link, change and reject.

The logs are read anew, by a plain consumer, and folded by the oracle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace as Plain
from typing import Any

import msgspec
from confluent_kafka import Message

from schemas.catalogue import CatalogueItem, decode_catalogue
from schemas.dead_letter import read_dead_letter
from schemas.interest_change import decode_interest_change
from schemas.reasons import Rejection
from streams.broker import Broker
from streams.core.checkpoint import Checkpoint, decode_checkpoint
from streams.core.item_state import decode_item
from streams.core.user_state import Consent, Interest, RecentItem, Tier, UserState, decode_user
from streams.kafka_clients import read_to_end
from streams.settings import Settings
from streams.store.keys import Keyspace, Shard
from streams.topics import BEHAVIOUR_EVENTS, CATALOGUE, DEAD_LETTERS, INTEREST_CHANGES, ITEM_LINKS, Topic, full_name
from tests.chaos import oracle
from tests.chaos.findings import Findings
from tests.chaos.put_back import Valkeys

Log = dict[int, list[Message]]
Stages = Mapping[int, Plain]


class World:
    """Everything there is to compare: logs by partition, keys with their values, facts of topics."""

    def __init__(self, settings: Settings, keys: Keyspace, valkeys: Valkeys) -> None:
        self.settings, self.keys, self.valkeys = settings, keys, valkeys
        broker = Broker(settings)
        names = [self.name(topic) for topic in (BEHAVIOUR_EVENTS, ITEM_LINKS, CATALOGUE)]
        self.facts = broker.topics(names)
        self.ends = {
            name: {p: r.end for p, r in broker.log_ranges(name, range(self.facts[name].partitions)).items()}
            for name in names
        }
        self.types = valkeys.everything()
        self.strings = valkeys.values([name for name, kind in self.types.items() if kind == "string"])
        self.accounted: set[str] = {Keyspace.serving(settings.namespace)}
        self._logs: dict[Topic, Log] = {}
        self.events = self.log(BEHAVIOUR_EVENTS)
        self.rejects: set[tuple[str, int, int, str]] = set()  # topic, partition, offset, reason

    def name(self, topic: Topic) -> str:
        return full_name(self.settings.namespace, topic)

    def log(self, topic: Topic) -> Log:
        found: Log = defaultdict(list)
        for message in read_to_end(self.settings, self.name(topic)):
            found[message.partition() or 0].append(message)
        return found

    def inputs(self, topic: Topic) -> Log:
        """A log that more than one comparison reads."""
        if topic not in self._logs:
            self._logs[topic] = self.log(topic)
        return self._logs[topic]

    def state(self, key: str) -> bytes | None:
        self.accounted.add(key)
        return self.strings.get(key)


def compare_streams(world: World, findings: Findings) -> tuple[Stages, Stages]:
    """Both stages and the catalogue; the oracle's stages 1 and 2, by partition."""
    settings = world.settings
    users, items = settings.user_partitions, settings.item_partitions
    policy, source = settings.learning, world.facts[world.name(BEHAVIOUR_EVENTS)].id
    events, links = world.events, world.log(ITEM_LINKS)
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        told = {p: [(m.offset(), m.timestamp()[1], m.key(), m.value()) for m in events[p]] for p in range(users)}
        heard = {p: [(m.offset(), m.value()) for m in links[p]] for p in range(items)}
        first = {p: pool.submit(oracle.fold_behaviour, told[p], (p, users), items, policy, source) for p in told}
        second = {p: pool.submit(oracle.fold_links, heard[p], (p, items), policy, 1, source) for p in heard}
        stage1 = {p: fold.result() for p, fold in first.items()}
        stage2 = {p: fold.result() for p, fold in second.items()}
    for p, stage in stage1.items():
        _users(world, findings, p, stage)
    for p, stage in stage2.items():
        _items(world, findings, p, stage)
        _links(findings, p, stage, stage1, links[p])
    _interest_changes(world, findings, stage1)
    _catalogue(world, findings)
    return stage1, stage2


def _checkpoint(world: World, findings: Findings, shard: Shard, topic: Topic, partition: int, **fields: Any) -> None:
    facts, links = world.facts[world.name(topic)], world.facts[world.name(ITEM_LINKS)]
    raw = world.state(shard.checkpoint)
    expected = Checkpoint(
        generation=1,
        topic_id=facts.id,
        source_id=world.facts[world.name(BEHAVIOUR_EVENTS)].id if topic is ITEM_LINKS else "",
        partition=partition,
        partitions=facts.partitions,
        item_partitions=0 if topic is CATALOGUE else links.partitions,
        settings_hash=world.settings.fold_hash,
        watermark=world.ends[world.name(topic)][partition],
        **fields,
    )
    findings.equal("checkpoints", shard.checkpoint, raw and decode_checkpoint(raw), expected)


def _users(world: World, findings: Findings, partition: int, stage: Plain) -> None:
    shard, verdicts = world.keys.users(partition), [verdict for _, verdict in stage.verdicts]
    accepted, duplicates = verdicts.count("accepted"), verdicts.count("duplicate")
    rejected = len(verdicts) - accepted - duplicates
    _checkpoint(
        world, findings, shard, BEHAVIOUR_EVENTS, partition,
        newest_ms=stage.newest_ms, accepted=accepted, duplicates=duplicates, rejected=rejected,
    )  # fmt: skip
    topic = world.name(BEHAVIOUR_EVENTS)
    world.rejects |= {
        (topic, partition, at, verdict) for at, verdict in stage.verdicts if verdict not in ("accepted", "duplicate")
    }
    for user_id, user in stage.users.items():
        raw, expected = world.state(shard.user(user_id)), user_state(user)
        findings.equal("users", user_id, raw and decode_user(raw), expected)
        findings.equal("users (bytes)", user_id, raw, expected.encode())


def user_state(user: Plain) -> UserState:
    """The oracle's user in the packed layout's terms."""
    return UserState(
        last_ms=user.last_ms,
        consent=Consent[user.consent.upper()],
        sessions=user.sessions,
        session_key=0 if user.session_id is None else oracle.h(user.session_id),
        since=user.since,
        epoch=user.epoch,
        seen_ids=[seen for seen, _ in user.ids],
        seen_content=[content for _, content in user.ids],
        session_items=[oracle.h(item) for item in user.items],
        interests=[
            Interest(
                name, c.affinity, c.visits, c.session, c.history, c.last_ms, Tier[c.tier.upper()], c.risen, c.declared
            )
            for name, c in user.categories.items()
        ],
        recent=[RecentItem(*seen) for seen in user.recent],
        bought=[oracle.h(item) for item in user.bought],
        dismissed=[oracle.h(item) for item in user.dismissed],
    )


def _items(world: World, findings: Findings, partition: int, stage: Plain) -> None:
    shard, sources = world.keys.items(partition), world.settings.user_partitions
    _checkpoint(
        world, findings, shard, ITEM_LINKS, partition,
        newest_ms=stage.newest_ms, accepted=len(stage.rows), rejected=len(stage.rejects),
        applied=tuple(stage.applied.get(p, -1) for p in range(sources)),
    )  # fmt: skip
    world.rejects |= {(world.name(ITEM_LINKS), partition, at, "bad-links") for at in stage.rejects}
    for item, state in stage.items.items():
        raw = world.state(shard.item(item))
        expected = (
            (state.epoch, state.events, state.repeats, state.last, state.D, state.Dr, state.oF1, state.oF, state.oB),
            stage.names.get(item, ""),
            [(x, row.F1, row.F, row.B, row.R, row.ts) for x, row in state.rows.items()],
        )
        findings.equal("items", f"{item:016x}", raw and _item(raw), expected)


def _item(raw: bytes) -> Any:
    state = decode_item(raw)
    head = msgspec.structs.astuple(state.head)
    return (*head[1:5], *head[6:]), state.name, [tuple(row) for row in state.rows.tolist()]


def _links(findings: Findings, target: int, stage: Plain, stage1: Stages, log: list[Message]) -> None:
    """The rows that stage 2 applied, by source: exactly those the oracle's stage 1 made, in its order."""
    unread = set(stage.rejects)
    findings.noted["link rows written"] += sum(
        len(oracle.decode_links(m.value())[2]) for m in log if m.offset() not in unread
    )
    for source, made in stage1.items():
        found = [row for origin, row in stage.rows if origin == source]
        expected = [row for row, targets in made.rows if target in targets]
        findings.compared["link rows"] += len(expected)
        if found != expected:
            offsets = [row.offset for row in found], [row.offset for row in expected]
            lost, extra = sorted(set(offsets[1]) - set(offsets[0])), sorted(set(offsets[0]) - set(offsets[1]))
            wrong = [pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]][:1]
            findings.differ(
                "link rows",
                f"source {source} to target {target}: {len(lost)} lost {lost[:5]}, {len(extra)} extra {extra[:5]}, "
                f"the first pair that differs {wrong}",
            )


def _interest_changes(world: World, findings: Findings, stage1: Stages) -> None:
    """Every id the oracle has and no other; the same content each time an id is written."""
    contents: dict[str, set[bytes]] = defaultdict(set)
    for partition, log in world.inputs(INTEREST_CHANGES).items():
        findings.noted["interest changes written"] += len(log)
        for message in log:
            change = decode_interest_change(message.value(), max_bytes=1 << 20)
            assert not isinstance(change, Rejection), change
            contents[change.id].add(message.value())
            findings.equal(
                "interest changes",
                change.id,
                (partition, message.key()),
                (change.cause.partition, change.user_id.encode()),
            )
    expected = {change.id: change for stage in stage1.values() for change in stage.changes}
    findings.same("interest changes", set(contents), set(expected))
    for change_id in contents.keys() & expected.keys():
        values, told = contents[change_id], expected[change_id]
        findings.equal("interest changes", f"{change_id}: contents", len(values), 1)
        change = decode_interest_change(next(iter(values)), max_bytes=1 << 20)
        assert not isinstance(change, Rejection), change
        found = oracle.Change(
            change.id, change.user_id, change.category, change.kind, change.from_tier, change.to_tier, change.affinity,
            change.evidence.visits, list(change.evidence.items), change.evidence.event_ids[0], change.time,
        )  # fmt: skip
        findings.equal("interest changes", change_id, found, told)


def _catalogue(world: World, findings: Findings) -> None:
    topic = world.name(CATALOGUE)
    logs = world.log(CATALOGUE)
    for partition in range(world.settings.catalogue_partitions):
        shard, newest, rejected, expected = world.keys.catalogue(partition), 0, 0, {}
        for message in logs[partition]:
            newest = max(newest, message.timestamp()[1])
            entry: Any = decode_catalogue(message.key(), message.value())
            reason = (
                str(entry.reason)
                if isinstance(entry, Rejection)
                else ""
                if message.key() == entry.item_id.encode()
                else "key-mismatch"
            )
            if reason:
                rejected += 1
                world.rejects.add((topic, partition, int(message.offset() or 0), reason))
            else:
                expected[entry.item_id] = entry if isinstance(entry, CatalogueItem) else None
        accepted = len(logs[partition]) - rejected
        _checkpoint(
            world, findings, shard, CATALOGUE, partition, newest_ms=newest, accepted=accepted, rejected=rejected
        )
        for item_id, item in expected.items():
            raw = world.state(shard.meta(item_id))
            findings.equal("catalogue", item_id, raw and msgspec.json.decode(raw, type=CatalogueItem), item or b"")


def compare_rejects(world: World, findings: Findings) -> None:
    """Every reject of every log is a dead letter with its reason and place, nothing else is. Call it last."""
    findings.compared["rejects"] += len(world.rejects)
    letters = [read_dead_letter(m.value(), m.headers() or []) for log in world.log(DEAD_LETTERS).values() for m in log]
    findings.noted["dead letters written"] += len(letters)
    found = {(letter.came.topic, letter.came.partition, letter.came.offset, letter.reason) for letter in letters}
    findings.same("dead letters", found, world.rejects)


def compare_keys(world: World, findings: Findings) -> None:
    """No key that nobody expects, none missing. Call it when everything has accounted for its keys."""
    findings.same("keys", set(world.types), world.accounted)

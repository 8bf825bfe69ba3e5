"""Does a checkpoint belong to the world it finds? Held against topics, logs and settings before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from streams.broker import Broker, LogRange, TopicFacts
from streams.core.checkpoint import Checkpoint, UnknownVersionError, decode_checkpoint
from streams.settings import Settings
from streams.store.keys import Keyspace, Shard
from streams.store.protocol import Store
from streams.topics import BEHAVIOUR_EVENTS, CATALOGUE, ITEM_LINKS, Topic, full_name

STAGE_TOPICS = (BEHAVIOUR_EVENTS, ITEM_LINKS, CATALOGUE)


class RefusedError(Exception):
    """A worker must not run here; the message says what is wrong and what to do. Nothing was written."""


class Place(msgspec.Struct, frozen=True):
    """One partition of one input topic, by full name."""

    topic: str
    partition: int


def keyspace(settings: Settings, generation: int) -> Keyspace:
    """The keys of one generation under these settings."""
    return Keyspace(
        settings.namespace,
        generation,
        settings.user_partitions,
        settings.item_partitions,
        settings.catalogue_partitions,
    )


def group_of(settings: Settings, generation: int) -> str:
    """The stream workers' consumer group: one a generation."""
    return f"{settings.namespace}.streams.g{generation}"


def serving_generation(settings: Settings, store: Store) -> int:
    """The generation that serves. Raises RefusedError if there is none yet."""
    (value,) = store.read([Keyspace.serving(settings.namespace)])
    if value is None:
        raise RefusedError(
            f"nothing is initialised in namespace {settings.namespace!r}: "
            "run `driftline init --from earliest` (or latest, or a time)"
        )
    return int(value)


def shard_of(keys: Keyspace, settings: Settings, place: Place) -> Shard:
    """The shard a partition's state lives in."""
    if place.topic == full_name(settings.namespace, BEHAVIOUR_EVENTS):
        return keys.users(place.partition)
    if place.topic == full_name(settings.namespace, ITEM_LINKS):
        return keys.items(place.partition)
    return keys.catalogue(place.partition)


def partition_count(settings: Settings, topic: Topic) -> int:
    """How many partitions a topic must have."""
    counts = {
        "users": settings.user_partitions,
        "items": settings.item_partitions,
        "catalogue": settings.catalogue_partitions,
        "one": 1,
    }
    return counts[topic.partitioned_by]


def input_topics(settings: Settings, broker: Broker) -> dict[str, TopicFacts]:
    """Facts of the stages' input topics. Raises RefusedError if one is missing or has another partition count."""
    wanted = {full_name(settings.namespace, topic): topic for topic in STAGE_TOPICS}
    found = broker.topics(wanted)
    for name, topic in wanted.items():
        if name not in found:
            raise RefusedError(f"topic {name} does not exist: run `driftline topics create`")
        right = partition_count(settings, topic)
        if found[name].partitions != right:
            raise RefusedError(
                f"topic {name} has {found[name].partitions} partitions, the settings say {right} "
                f"(DRIFTLINE_{topic.partitioned_by.upper().rstrip('S')}_PARTITIONS). "
                "State is bound to its partition count: restore the count, or set it and run `driftline rebuild`"
            )
    return found


def verify(
    settings: Settings, keys: Keyspace, store: Store, broker: Broker, places: Iterable[Place]
) -> dict[Place, Checkpoint]:
    """The checkpoints of some partitions, each held against topic incarnation, partition counts, settings and log.

    Raises RefusedError with what is wrong and how many events are affected.
    """
    facts = input_topics(settings, broker)
    by_topic: dict[str, list[int]] = {}
    for place in places:
        by_topic.setdefault(place.topic, []).append(place.partition)
    found = {}
    for topic, partitions in by_topic.items():
        shards = [shard_of(keys, settings, Place(topic, p)) for p in partitions]
        stored = store.read([shard.checkpoint for shard in shards])
        logs = broker.log_ranges(topic, partitions)  # after the checkpoints: whoever still works on them moves both
        for partition, shard, data in zip(partitions, shards, stored, strict=True):
            checkpoint = _decoded(shard, data)
            _hold_against(settings, keys, facts, topic, checkpoint, logs[partition])
            found[Place(topic, partition)] = checkpoint
    return found


def _decoded(shard: Shard, data: bytes | None) -> Checkpoint:
    if data is None:
        raise RefusedError(
            f"{shard.checkpoint}: there is no checkpoint. A worker never creates one: "
            "`driftline init` on a new system, `driftline rebuild` if Redis lost its data"
        )
    try:
        return decode_checkpoint(data)
    except UnknownVersionError as error:
        raise RefusedError(
            f"{shard.checkpoint}: {error}; run the release that wrote it, or `driftline rebuild`"
        ) from error


def _hold_against(
    settings: Settings,
    keys: Keyspace,
    facts: Mapping[str, TopicFacts],
    topic: str,
    checkpoint: Checkpoint,
    log: LogRange,
) -> None:
    where = f"{topic}[{checkpoint.partition}]"
    source = full_name(settings.namespace, BEHAVIOUR_EVENTS)
    links = full_name(settings.namespace, ITEM_LINKS)
    if checkpoint.generation != keys.generation:
        raise RefusedError(f"{where}: the checkpoint is of generation {checkpoint.generation}, not {keys.generation}")
    if checkpoint.topic_id != facts[topic].id:
        raise RefusedError(
            f"{where}: the topic was created again (id {facts[topic].id}, the checkpoint's is {checkpoint.topic_id}): "
            f"its offsets mean other events, {log.end - log.start} are in it now. "
            "Run `driftline rebuild` to start a new generation from it"
        )
    if topic == links and checkpoint.source_id != facts[source].id:
        raise RefusedError(
            f"{where}: {source} was created again; the links' source offsets mean other events. Run `driftline rebuild`"
        )
    if (checkpoint.partitions, checkpoint.item_partitions) != (
        facts[topic].partitions,
        facts[links].partitions if topic != full_name(settings.namespace, CATALOGUE) else 0,
    ):
        raise RefusedError(
            f"{where}: the checkpoint was made for {checkpoint.partitions} partitions "
            f"({checkpoint.item_partitions} of item-links), "
            f"now there are {facts[topic].partitions} ({facts[links].partitions}): every key would move. "
            "Run `driftline rebuild`"
        )
    if checkpoint.settings_hash != settings.fold_hash:
        raise RefusedError(
            f"{where}: computed with learning settings {checkpoint.settings_hash.hex()}, "
            f"this process has {settings.fold_hash.hex()}. "
            "Restore DRIFTLINE_LEARNING, or run `driftline rebuild` to compute everything anew with the new ones"
        )
    if checkpoint.watermark < log.start:
        raise RefusedError(
            f"{where}: the log starts at {log.start}, the watermark is {checkpoint.watermark}: "
            f"{log.start - checkpoint.watermark} events were deleted before they were applied "
            "(retention, or Redis was put back too far). "
            "`driftline rebuild` starts over from what Kafka still holds; nothing else can be exact"
        )
    if checkpoint.watermark > log.end:
        raise RefusedError(
            f"{where}: the watermark {checkpoint.watermark} lies {checkpoint.watermark - log.end} events "
            f"past the log's end {log.end}: "
            "Kafka lost its tail (unclean election?). `driftline rebuild` starts over from what is there"
        )

"""`driftline init|rebuild|switch|drop`: the only commands that create checkpoints (a worker never does).

A generation is one computation of all state from the events. It is part of key prefix, consumer group and every link,
so two can run beside each other: `rebuild` begins the next one, the old one serves until `switch`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from schemas.times import rfc3339
from streams.app import places_of
from streams.broker import Broker
from streams.core.checkpoint import Checkpoint, decode_checkpoint
from streams.incarnation import (
    RefusedError,
    group_of,
    input_topics,
    keyspace,
    serving_generation,
    shard_of,
)
from streams.settings import Settings
from streams.store.keys import Keyspace
from streams.store.protocol import Store
from streams.store.redis import connect
from streams.topics import BEHAVIOUR_EVENTS, CATALOGUE, ITEM_LINKS, full_name
from workers.commands import command_settings, errors_as_messages


class Start(click.ParamType):
    """earliest, latest, or an RFC 3339 time."""

    name = "earliest|latest|TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str | datetime:
        if value in ("earliest", "latest"):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not `earliest`, `latest` or a time such as 2026-03-01T12:00:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


START = click.option(
    "--from", "start", type=Start(), default="earliest", show_default=True, help="First behaviour event to apply."
)


@click.command()
@START
@errors_as_messages
def init(start: str | datetime) -> None:
    """Write the first checkpoints: once per namespace, before the first worker.

    \b
    Examples:
      driftline init --from earliest
      driftline init --from latest
      driftline init --from 2026-03-01T00:00:00Z
    """
    settings, store, broker = _servers()
    begin(settings, store, broker, 1, start)
    if not store.create(Keyspace.serving(settings.namespace), b"1"):
        raise RefusedError(
            f"namespace {settings.namespace!r} is initialised already: "
            "`driftline rebuild` computes everything anew beside it"
        )
    click.echo(f"generation 1 of {settings.namespace!r} begins at {_shown(start)}; start `driftline worker`")


@click.command()
@START
@errors_as_messages
def rebuild(start: str | datetime) -> None:
    """Begin the next generation: all state computed anew from the events, beside the one that serves.

    Needed after a change of learning settings or partition counts, after a topic was created again, or when Redis lost
    more than Kafka still holds.

    \b
    Examples:
      driftline rebuild
      driftline worker --generation 2     # as many as you like, until it has caught up
      driftline switch
    """
    settings, store, broker = _servers()
    generation = serving_generation(settings, store) + 1
    begin(settings, store, broker, generation, start)
    click.echo(
        f"generation {generation} of {settings.namespace!r} begins at {_shown(start)}.\n"
        f"Start `driftline worker --generation {generation}`; when it has caught up, `driftline switch`"
    )


@click.command()
@click.option("--lag", default=1000, show_default=True, help="Events the new generation may still be behind, in all.")
@errors_as_messages
def switch(lag: int) -> None:
    """Let the next generation serve, once it has caught up.

    \b
    Example:
      driftline switch --lag 100
    """
    settings, store, broker = _servers()
    old = serving_generation(settings, store)
    behind = lag_of(settings, store, broker, old + 1)
    if behind > lag:
        raise RefusedError(
            f"generation {old + 1} is {behind} records behind, {lag} are allowed: "
            "wait, start more workers, or raise --lag"
        )
    if not store.replace(Keyspace.serving(settings.namespace), str(old).encode(), str(old + 1).encode()):
        raise RefusedError("another switch came first: look with `driftline switch` again")
    click.echo(f"generation {old + 1} serves. Stop the workers of generation {old}, then `driftline drop {old}`")


@click.command()
@click.argument("generation", type=click.IntRange(1))
@errors_as_messages
def drop(generation: int) -> None:
    """Delete the state of a generation that does not serve.

    \b
    Example:
      driftline drop 1
    """
    settings, store, broker = _servers()
    if generation == serving_generation(settings, store):
        raise RefusedError(f"generation {generation} serves: `driftline switch` first")
    members = broker.members(group_of(settings, generation))
    if members:
        raise RefusedError(f"{members} workers still compute generation {generation}: stop them first")
    gone = store.delete_prefix(f"{settings.namespace}:v1:g{generation}:")
    click.echo(f"generation {generation}: {gone} keys deleted")


def begin(settings: Settings, store: Store, broker: Broker, generation: int, start: str | datetime) -> None:
    """Write the checkpoints of a generation and position its consumer group.

    Links of this generation do not exist yet, so stage 2 starts at the end of item-links.v1; the catalogue always
    starts at its beginning.

    Raises RefusedError if one of them exists with other content.
    """
    keys = keyspace(settings, generation)
    facts = input_topics(settings, broker)
    names = {topic: full_name(settings.namespace, topic) for topic in (BEHAVIOUR_EVENTS, ITEM_LINKS, CATALOGUE)}
    counts = {name: facts[name].partitions for name in names.values()}
    ranges = {name: broker.log_ranges(name, range(count)) for name, count in counts.items()}
    events = names[BEHAVIOUR_EVENTS]
    at = {p: (r.start if start == "earliest" else r.end) for p, r in ranges[events].items()}
    if isinstance(start, datetime):
        at = broker.offsets_at(events, range(counts[events]), int(start.timestamp() * 1000))
    offsets: dict[tuple[str, int], int] = {}
    for place in places_of(settings):
        links = place.topic == names[ITEM_LINKS]
        catalogue = place.topic == names[CATALOGUE]
        log = ranges[place.topic][place.partition]
        checkpoint = Checkpoint(
            generation=generation,
            topic_id=facts[place.topic].id,
            source_id=facts[events].id if links else "",
            partition=place.partition,
            partitions=counts[place.topic],
            item_partitions=0 if catalogue else counts[names[ITEM_LINKS]],
            settings_hash=settings.fold_hash,
            watermark=log.end if links else log.start if catalogue else at[place.partition],
            applied=(-1,) * counts[events] if links else (),
        )
        _write(store, shard_of(keys, settings, place).checkpoint, checkpoint)
        offsets[place.topic, place.partition] = checkpoint.watermark
    if broker.members(group_of(settings, generation)) == 0:
        broker.commit(group_of(settings, generation), offsets)


def _write(store: Store, key: str, checkpoint: Checkpoint) -> None:
    if store.create(key, checkpoint.encode()):
        return
    (data,) = store.read([key])
    if data is None or decode_checkpoint(data) != checkpoint:
        raise RefusedError(
            f"{key} exists: generation {checkpoint.generation} was begun before. Continue it with "
            f"`driftline worker --generation {checkpoint.generation}`, "
            f"or delete it with `driftline drop {checkpoint.generation}`"
        )


def lag_of(settings: Settings, store: Store, broker: Broker, generation: int) -> int:
    """Records a generation has still to apply, over all partitions. Raises RefusedError if it was never begun."""
    keys = keyspace(settings, generation)
    places = places_of(settings)
    found = store.read([shard_of(keys, settings, place).checkpoint for place in places])
    ends = {
        topic: broker.log_ranges(topic, [place.partition for place in places if place.topic == topic])
        for topic in {place.topic for place in places}
    }
    behind = 0
    for place, data in zip(places, found, strict=True):
        if data is None:
            raise RefusedError(f"generation {generation} was not begun: `driftline rebuild` first")
        behind += max(0, ends[place.topic][place.partition].end - decode_checkpoint(data).watermark)
    return behind


def _servers() -> tuple[Settings, Store, Broker]:
    settings = command_settings()
    store = connect(settings.redis.get_secret_value())
    broker = Broker(settings)
    broker.ping()
    return settings, store, broker


def _shown(start: str | datetime) -> str:
    return start if isinstance(start, str) else rfc3339(int(start.timestamp() * 1000))

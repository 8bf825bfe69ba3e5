"""`driftline topics create|check`: the topics as streams/topics.py declares them; do the brokers have them so?"""

from __future__ import annotations

import sys

import click
from confluent_kafka.admin import NewTopic
from rich.console import Console
from rich.table import Table

from streams.broker import Broker, TopicFacts
from streams.emit import MESSAGE_MAX_BYTES
from streams.incarnation import partition_count
from streams.settings import Settings
from streams.topics import BEHAVIOUR_EVENTS, ITEM_LINKS, TOPICS, Topic, full_name
from workers.commands import command_settings, errors_as_messages


@click.group()
def topics() -> None:
    """Create Driftline's topics, or check them.

    \b
    Examples:
      driftline topics create
      DRIFTLINE_REPLICATION_FACTOR=3 DRIFTLINE_MIN_INSYNC_REPLICAS=2 driftline topics create
      driftline topics check
    """


@topics.command()
@errors_as_messages
def create() -> None:
    """Create the topics that are missing; existing ones stay as they are and are checked."""
    settings = command_settings()
    broker = Broker(settings)
    broker.ping()
    wanted = {full_name(settings.namespace, topic): topic for topic in TOPICS}
    existing = broker.topics(wanted)
    missing = {name: topic for name, topic in wanted.items() if name not in existing}
    broker.create([_new(settings, name, topic) for name, topic in missing.items()])
    for name in missing:
        click.echo(f"created {name} with {partition_count(settings, wanted[name])} partitions")
    if existing:
        _report(settings, broker)


@topics.command()
@errors_as_messages
def check() -> None:
    """Hold every topic against what Driftline needs; exit 1 if one falls short."""
    settings = command_settings()
    broker = Broker(settings)
    broker.ping()
    _report(settings, broker)


def config_of(settings: Settings, topic: Topic) -> dict[str, str]:
    """The configuration a topic is created with."""
    config = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "retention.ms": str(topic.retention_ms),
        "min.insync.replicas": str(settings.min_insync_replicas),
        "unclean.leader.election.enable": "false",
    }
    if topic is ITEM_LINKS:
        config["max.message.bytes"] = str(MESSAGE_MAX_BYTES)
    return config


def _new(settings: Settings, name: str, topic: Topic) -> NewTopic:
    return NewTopic(
        name,
        num_partitions=partition_count(settings, topic),
        replication_factor=settings.replication_factor,
        config=config_of(settings, topic),
    )


def _report(settings: Settings, broker: Broker) -> None:
    wanted = {full_name(settings.namespace, topic): topic for topic in TOPICS}
    found = broker.topics(wanted)
    configs = broker.configs(found)
    table = Table("topic", "partitions", "replicas", "verdict")
    good = True
    for name, topic in wanted.items():
        problems = ["missing: `driftline topics create`"]
        if name in found:
            problems = problems_of(settings, topic, found[name], configs[name], configs)
        good = good and not problems
        facts = found.get(name)
        shown = ("-", "-") if facts is None else (str(facts.partitions), str(facts.replicas))
        table.add_row(name, *shown, "[green]ok" if not problems else "[red]" + "; ".join(problems))
    Console().print(table)
    if not good:
        sys.exit(1)


def problems_of(
    settings: Settings, topic: Topic, facts: TopicFacts, config: dict[str, str], configs: dict[str, dict[str, str]]
) -> list[str]:
    """What is wrong with an existing topic, one phrase each."""
    problems = []
    right = partition_count(settings, topic)
    if facts.partitions != right:
        problems.append(
            f"{facts.partitions} partitions, the settings say {right}; partition counts cannot be changed under state"
        )
    if facts.replicas < settings.replication_factor:
        problems.append(f"{facts.replicas} replicas, {settings.replication_factor} wanted")
    if int(config["min.insync.replicas"]) < settings.min_insync_replicas:
        problems.append(f"min.insync.replicas={config['min.insync.replicas']}, {settings.min_insync_replicas} wanted")
    if config["unclean.leader.election.enable"] != "false":
        problems.append("unclean.leader.election.enable=true: acknowledged events could vanish; set it to false")
    if ("compact" in config["cleanup.policy"]) != topic.compacted:
        problems.append(
            f"cleanup.policy={config['cleanup.policy']}, {'compact' if topic.compacted else 'delete'} wanted"
        )
    if topic is ITEM_LINKS:
        problems += _links_outlive_events(settings, config, configs)
    if not topic.compacted and topic.retention_ms < 0 <= int(config["retention.ms"]):
        problems.append(f"retention.ms={config['retention.ms']}: this topic is a journal, keep it for ever (-1)")
    return problems


def _links_outlive_events(settings: Settings, config: dict[str, str], configs: dict[str, dict[str, str]]) -> list[str]:
    events = configs.get(full_name(settings.namespace, BEHAVIOUR_EVENTS))
    if events is None:
        return []
    links_ms, events_ms = int(config["retention.ms"]), int(events["retention.ms"])
    if links_ms < 0 or 0 <= events_ms <= links_ms:
        return []
    return [
        (
            f"retention.ms={links_ms} is shorter than that of {BEHAVIOUR_EVENTS.name} ({events_ms}): "
            "links must outlive events"
        )
    ]

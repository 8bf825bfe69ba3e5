"""`driftline why`: what was decided for a user, or about a notification, as a person would tell it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from workers.commands import command_settings

if TYPE_CHECKING:
    from confluent_kafka import Message

    from schemas.notification import Notification
    from schemas.push_decision import PushDecision
    from streams.core.push.state import PushState
    from streams.settings import Settings
    from streams.topics import Topic
    from workers.push.story import Story

_NOTIFICATION = re.compile(r"[0-9a-f]{32}")
_CHUNK = 2000


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("subject", metavar="USER|NOTIFICATION")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=5, show_default=True, help="The newest decisions to tell."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: the user's state, and the journal's records.")
def why(subject: str, limit: int, *, as_json: bool) -> None:
    """Why a user was notified, or not; or why a notification went out.

    Reads the journal (push-decisions.v1) from its newest record backwards, and the user's push state from Redis.

    \b
    Examples:
      driftline why user-42
      driftline why user-42 --limit 20 --json
      driftline why 3f0e6c5b9a1d4e7f8a2b3c4d5e6f7a8b
    """
    from confluent_kafka import KafkaException

    from streams.store.protocol import StoreUnavailableError
    from workers.push.errors import AbortedError, PushError

    settings = command_settings()
    try:
        found = _of_notification(settings, subject) if _NOTIFICATION.fullmatch(subject) else []
        found = found or _of_user(settings, subject, limit)
        state = _state(settings, found[0].entry.user_id if found else subject)
    except (KafkaException, AbortedError, PushError, StoreUnavailableError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(_plain(found, state)))
    else:
        _print(subject, found, state)
    if not found:
        sys.exit(1)


def _of_user(settings: Settings, user_id: str, limit: int) -> list[Story]:
    """The newest decisions about one user, oldest first: reads that user's partition backwards.

    Reads on for a day before the oldest one told, so that its limits can be told as well.
    """
    from streams.core.hashing import user_partition
    from streams.core.push.state import DAY_MS

    partition = user_partition(user_id.encode(), settings.user_partitions)
    found: list[PushDecision] = []
    for _, entry in _backwards(settings, [partition]):
        if len(found) >= limit and entry.now < found[limit - 1].now - DAY_MS:
            break
        if entry.user_id == user_id:
            found.append(entry)
    return _told(settings, partition, found[::-1])[-limit:]


def _of_notification(settings: Settings, notification_id: str) -> list[Story]:
    """The decision that sent a notification, in whichever partition it is."""
    for partition, entry in _backwards(settings, range(settings.user_partitions)):
        if entry.notification_id == notification_id and entry.kind == "sent":
            return _told(settings, partition, [entry])
    return []


def _told(settings: Settings, partition: int, entries: Sequence[PushDecision]) -> list[Story]:
    """With the notifications, as far as notifications.v1 still holds them."""
    from schemas.notification import decode_notification
    from schemas.reasons import Rejection
    from streams.topics import NOTIFICATIONS
    from workers.push.story import stories

    wanted = {entry.notification_id for entry in entries if entry.kind == "sent"}
    notifications: dict[str, Notification] = {}
    for message in _records(settings, NOTIFICATIONS, [partition]) if wanted else ():
        made = decode_notification(message.value())
        if not isinstance(made, Rejection) and made.id in wanted:
            notifications[made.id] = made
            if len(notifications) == len(wanted):
                break
    return stories(entries, notifications)


def _backwards(settings: Settings, partitions: Sequence[int]) -> Iterator[tuple[int, PushDecision]]:
    from streams.topics import PUSH_DECISIONS
    from workers.push.journal_reader import decode_entry

    for message in _records(settings, PUSH_DECISIONS, partitions):
        yield message.partition() or 0, decode_entry(message)


def _records(settings: Settings, topic: Topic, partitions: Sequence[int]) -> Iterator[Message]:
    """Records of a topic, the newest of each partition first, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from streams.topics import full_name
    from workers.push.journal_reader import JournalReader, end_of

    name = full_name(settings.namespace, topic)
    ends = {partition: end_of(settings, name, partition) for partition in partitions}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"reading {topic.name}", total=sum(high - low for low, high in ends.values()))
        for partition, (low, high) in ends.items():
            for end in range(high, low, -_CHUNK):
                start = max(low, end - _CHUNK)
                reader = JournalReader(settings, name, partition, start, end)
                messages: list[Message] = []
                while not reader.done:
                    messages += reader.read(1.0)
                reader.close()
                yield from reversed(messages)
                progress.advance(task, end - start)


def _state(settings: Settings, user_id: str) -> PushState | None:
    from streams.core.hashing import user_partition
    from streams.core.push.state import decode_push
    from streams.store.keys import Keyspace
    from streams.store.redis import connect

    s = settings
    keys = Keyspace(s.namespace, s.generation, s.user_partitions, s.item_partitions, s.catalogue_partitions)
    store = connect(s.redis.get_secret_value())
    try:
        (data,) = store.read([keys.push(user_partition(user_id.encode(), s.user_partitions)).push(user_id)])
    finally:
        store.close()
    return None if data is None else decode_push(data)


def _plain(found: Sequence[Story], state: PushState | None) -> dict[str, Any]:
    import msgspec

    def fields(struct: msgspec.Struct | None) -> Any:
        return (
            None if struct is None else {f: msgspec.to_builtins(getattr(struct, f)) for f in struct.__struct_fields__}
        )

    decisions = [{**msgspec.to_builtins(s.entry), "notification": msgspec.to_builtins(s.notification)} for s in found]
    return {"state": fields(state), "decisions": decisions}


def _print(subject: str, found: Sequence[Story], state: PushState | None) -> None:
    from rich.console import Console
    from rich.text import Text

    from workers.push.story import tell, tell_state

    console = Console(soft_wrap=True, highlight=False)
    if not found:
        console.print(Text(f"Nothing was decided about {subject}: no such user or notification in the journal."))
    for story in reversed(found):
        headline, *details = tell(story)
        console.print(Text(headline, style="bold"))
        for line in details:
            console.print(Text(f"  {line}"))
    if state is not None:
        console.print(Text("now", style="bold"))
        for line in tell_state(state):
            console.print(Text(f"  {line}"))

"""`driftline dead-letters`: look at refused records, and send them again once the cause is mended.

The log itself remembers what was sent again: in the same Kafka transaction as the records, a *note* for each letter is
added to dead-letters.v1: no value, header `driftline-resent` = "partition/offset" of the letter. So it is kept as long
as the letters, is seen by every operator, and cannot disagree with what was sent; the transactional id fences off a
second replay.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from schemas.times import rfc3339
from streams import kafka_clients
from streams.settings import Settings
from streams.topics import BEHAVIOUR_EVENTS, CATALOGUE, DEAD_LETTERS, NOTIFICATION_FEEDBACK, USER_SETTINGS, full_name
from workers.dead_letter_log import RESENT, Letter, Note, Place, Selection, read
from workers.durations import Duration

if TYPE_CHECKING:
    from confluent_kafka import Producer

UPSTREAM: Final = (BEHAVIOUR_EVENTS, CATALOGUE, USER_SETTINGS, NOTIFICATION_FEEDBACK)
"""Topics that take a record again. The others are Driftline's own: their offsets and partitions mean something."""
TRANSACTION_LETTERS: Final = 500
_TRANSACTION_S: Final = 60.0


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose letters."""
    for option in (
        click.option("--limit", type=click.IntRange(1), help="That many letters at most."),
        click.option("--since", type=Duration(), help="Only letters written in the last 90s, 15m, 2h, 7d."),
        click.option("--source", metavar="TOPIC[/PARTITION[/OFFSET]]", help="Only records that came from there."),
        click.option("--reason", "reasons", multiple=True, metavar="CODE", help="Only this reason; repeat for more."),
    ):
        command = option(command)
    return command


@click.group("dead-letters", context_settings={"help_option_names": ["-h", "--help"]})
def dead_letters() -> None:
    """Records that were refused: what they are, and sending them again.

    \b
    Examples:
      driftline dead-letters list --reason bad-time --limit 20
      driftline dead-letters list --since 2h --json | jq .detail
      driftline dead-letters replay --reason too-large --dry-run
    """


@dead_letters.command("list")
@selecting
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter and line; no table, no count.")
def list_letters(*, as_json: bool, limit: int | None, **choice: Any) -> None:
    """Show the newest letters that match, and a count by reason over all that match.

    \b
    Examples:
      driftline dead-letters list
      driftline dead-letters list --source behaviour-events.v1/3 --since 1d
    """
    settings, selection = _chosen(**choice)
    newest: deque[Letter] = deque(maxlen=limit or 50)
    by_reason: Counter[str] = Counter()
    resent: set[Place] = set()
    for entry in _entries(settings):
        if isinstance(entry, Note):
            resent.add(entry.letter)
        elif selection.takes(entry):
            by_reason[entry.record.reason] += 1
            newest.append(entry)
    if as_json:
        for letter in newest:
            click.echo(json.dumps({**letter.as_dict(), "resent": letter.place in resent}))
        return
    _print_table(newest, resent, by_reason)


@dead_letters.command("replay")
@selecting
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--again", is_flag=True, help="Also letters that were sent again before.")
def replay_letters(*, dry_run: bool, yes: bool, again: bool, limit: int | None, **choice: Any) -> None:
    """Send the original bytes and key of letters to the topic they came from, each letter once.

    What cannot be sent is counted with the reason: letters that hold only a prefix of the record, ranges of unreadable
    batches, rows of replayed files, and records of Driftline's internal topics.

    \b
    Examples:
      driftline dead-letters replay --reason too-large --dry-run
      driftline dead-letters replay --source behaviour-events.v1/3/1042 --yes
    """
    from confluent_kafka import KafkaException

    settings, selection = _chosen(**choice)
    try:
        producer = None if dry_run else _fenced_producer(settings)
        places, skipped = _sendable(settings, selection, again=again)
        places = places[:limit]
        for why, count in sorted(skipped.items()):
            click.echo(f"left out    {count:,} letters: {why}")
        if producer is None or not places:
            click.echo(f"{'would send' if dry_run else 'sent       '} {len(places):,} letters")
            return
        if not yes:
            click.confirm(f"Send {len(places):,} letters to the topics they came from?", abort=True)
        sent = _send(producer, settings, places)
    except KafkaException as error:
        raise click.ClickException(
            f"Kafka: {error.args[0].str()}\nLetters are sent and noted together; repeat the command to send the rest."
        ) from None
    click.echo(f"sent        {sent:,} letters")


def _chosen(reasons: Sequence[str], source: str | None, since: int | None) -> tuple[Settings, Selection]:
    from streams.settings import SettingsError, from_env

    try:
        settings = from_env()
        since_ms = None if since is None else int(time.time() * 1000) - since
        return settings, Selection.of(reasons, source, since_ms, settings.namespace)
    except (SettingsError, ValueError) as error:
        raise click.UsageError(str(error)) from None


def _entries(settings: Settings) -> Iterator[Letter | Note]:
    try:
        yield from read(settings)
    except LookupError as error:
        raise click.ClickException(str(error)) from None


def _sendable(settings: Settings, selection: Selection, *, again: bool) -> tuple[list[Place], Counter[str]]:
    """Places of the letters to send, oldest first, and how many others match, by why they stay."""
    targets = {full_name(settings.namespace, topic) for topic in UPSTREAM}
    places: list[Place] = []
    resent: set[Place] = set()
    skipped: Counter[str] = Counter()
    for entry in _entries(settings):
        if isinstance(entry, Note):
            resent.add(entry.letter)
        elif selection.takes(entry):
            why = entry.unsendable(targets)
            if why:
                skipped[why] += 1
            else:
                places.append(entry.place)
    fresh = places if again else [place for place in places if place not in resent]
    if len(fresh) < len(places):
        skipped["sent again before; --again sends them once more"] = len(places) - len(fresh)
    return fresh, skipped


def _fenced_producer(settings: Settings) -> Producer:
    """A transactional producer. Once it is ready no earlier one can commit, so the notes read after are complete."""
    producer = kafka_clients.producer(settings, {"transactional.id": f"{settings.namespace}.dead-letters-replay"})
    producer.init_transactions(_TRANSACTION_S)
    return producer


def _send(producer: Producer, settings: Settings, places: Sequence[Place]) -> int:
    from rich.console import Console
    from rich.progress import track

    letters = _at(settings, places)
    sent = 0
    progress = track(range(0, len(places), TRANSACTION_LETTERS), "sending", console=Console(stderr=True))
    for _ in progress:
        batch = list(islice(letters, TRANSACTION_LETTERS))
        producer.begin_transaction()
        for letter in batch:
            producer.produce(letter.record.came.topic, letter.record.value, letter.record.key)
            producer.produce(
                full_name(settings.namespace, DEAD_LETTERS),
                partition=letter.place[0],
                headers=[(RESENT, f"{letter.place[0]}/{letter.place[1]}".encode())],
            )
        producer.commit_transaction(_TRANSACTION_S)
        sent += len(batch)
    return sent


def _at(settings: Settings, places: Iterable[Place]) -> Iterator[Letter]:
    wanted = set(places)
    first: dict[int, int] = {}
    for partition, offset in wanted:
        first[partition] = min(offset, first.get(partition, offset))
    for entry in read(settings, begin=first):
        if isinstance(entry, Letter) and entry.place in wanted:
            yield entry


def _print_table(letters: Iterable[Letter], resent: set[Place], by_reason: Counter[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=False)
    for heading in ("letter", "time", "reason", "from", "key", "bytes", "detail", "begins with"):
        table.add_column(heading, justify="right" if heading == "bytes" else "left", overflow="fold")
    for letter in letters:
        mark = " (sent again)" if letter.place in resent else ""
        cells = (
            f"{letter.place[0]}/{letter.place[1]}{mark}",
            rfc3339(letter.time_ms),
            letter.record.reason,
            str(letter.record.came),
            letter.shown_key(),
            f"{letter.record.size:,}",
            letter.record.detail,
            letter.beginning(),
        )
        table.add_row(*map(Text, cells))
    console = Console()
    console.print(table)
    for reason, count in by_reason.most_common():
        console.print(Text(f"{count:>9,}  {reason}"))
    console.print(Text(f"{by_reason.total():>9,}  letters"))

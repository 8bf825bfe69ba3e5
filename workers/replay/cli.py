"""`driftline replay`: recorded behaviour onto Kafka, in event-time order, at a chosen pace."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workers.durations import Duration

if TYPE_CHECKING:
    from streams.settings import Settings
    from workers.replay.job import Outcome, Source
    from workers.replay.rows import Contract, LeftOut, Row

_INTERRUPTED = 130


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format", "format_name", required=True, type=click.Choice(["taobao", "completejourney", "csv", "jsonl"]),
    help="taobao: UserBehavior.csv. completejourney: needs no FILE. csv: any delimited text, see --map. "
    "jsonl: one behaviour event a line.",
)  # fmt: skip
@click.option("--map", "mapping", metavar="FIELD=COLUMN,…", help="csv: columns of fields; FIELD:=TEXT for a constant.")
@click.option("--types", metavar="TEXT=TYPE,…", default="", help="csv: event types; TEXT= leaves such rows out.")
@click.option("--time-unit", default="s", show_default=True, help="csv: s, ms, rfc3339, or format:%Y-%m-%d … (UTC).")
@click.option("--time-shift", type=Duration(), default="0s", help="csv: added to every time, such as 1826d.")
@click.option("--delimiter", default=",", show_default=True, help=r"csv: one character; \t for a tab.")
@click.option("--no-header", is_flag=True, help="csv: the first line is data; columns in --map are numbers from 0.")
@click.option("--category-separator", default="", help="csv: what separates a category's levels in its cell.")
@click.option("--member", default="", help="Which file of a zip archive.")
@click.option(
    "--speed", type=click.FloatRange(0, min_open=True), help="Event time runs this much faster than the clock."
)
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Events a second at most.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N rows in event-time order.")
@click.option(
    "--sample-users", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Share of users, by hash."
)
@click.option("--in-order", is_flag=True, help="The file is in time order: send as it is read; stop where it is not.")
@click.option(
    "--on-error", type=click.Choice(["stop", "dead-letter", "skip"]), default="stop", show_default=True,
    help="A broken row: stop before anything is sent, keep it in dead-letters.v1, or count it.",
)  # fmt: skip
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="Where to remember how far it came.")
@click.option("--resume", is_flag=True, help="Go on after the last acknowledged row of the same replay.")
@click.option("--catalogue", is_flag=True, help="completejourney: publish its products to catalogue.v1 first.")
@click.option("--quiet", is_flag=True, help="No progress, only the summary.")
def replay(file: Path | None, format_name: str, *, catalogue: bool, quiet: bool, **options: Any) -> None:
    """Replay recorded behaviour from FILE (plain, .gz or .zip; - for standard input).

    Rows go out in event-time order, each checked against the contract first. Event ids follow from the file's
    content: a second replay of a file is a replay of the same events. Column maps of public data sets: docs/replay.md.

    \b
    Examples:
      driftline replay UserBehavior.csv.gz --format taobao --on-error skip
      driftline replay --format completejourney --catalogue --limit 100000
      driftline replay events.csv --format csv --time-unit ms \\
          --map user_id=visitorid,item_id=itemid,type=event,time=timestamp \\
          --types view=view,addtocart=cart,transaction=purchase
      driftline replay events.jsonl --format jsonl --speed 60     an hour of data in a minute
      driftline replay events.jsonl --format jsonl --resume       after Ctrl-C

    \b
    Exit codes: 0 done, or stopped by SIGTERM; 1 Kafka; 2 a broken row or a wrong option; 130 stopped by Ctrl-C.
    """
    from confluent_kafka import KafkaException

    from streams.settings import SettingsError, from_env
    from workers.replay import job, order, state, target
    from workers.replay.columns import MapError
    from workers.replay.files import FileError
    from workers.replay.meter import meter
    from workers.replay.reading import BrokenRowError
    from workers.replay.send import SendError

    of_job = ("on_error", "sample_users", "limit", "speed", "rate", "in_order", "state", "resume")
    plan = job.Options(**{name: options.pop(name) for name in of_job})
    try:
        settings = from_env()
        source = _source(file, format_name, settings, **options)
        if source.identity is None and (plan.resume or plan.state):
            raise click.UsageError("standard input cannot be resumed; replay a file, or leave out --resume and --state")
        if catalogue:
            if format_name != "completejourney":
                raise click.UsageError("--catalogue goes with --format completejourney, which knows its products")
            _publish_catalogue(settings)
        with meter(quiet=quiet) as shown:
            outcome = job.run(source, settings, plan, shown, job.Signals())
    except (FileError, MapError, BrokenRowError, order.OutOfOrderError, state.StateError, SettingsError) as error:
        raise _failure(str(error), 2) from None
    except (SendError, target.TopicError) as error:
        hint = "\nWhat was acknowledged is remembered: repeat the command with --resume." if file != Path("-") else ""
        raise _failure(f"{error}{hint if isinstance(error, SendError) else ''}", 1) from None
    except KafkaException as error:
        raise _failure(f"Kafka at {settings.kafka}: {error.args[0].str()}", 1) from None
    _report(outcome, plan.on_error)


def _report(outcome: Outcome, on_error: str) -> None:
    from workers.replay.meter import summary

    click.echo(summary(outcome.progress, outcome.tally, outcome.seconds, on_error))
    if outcome.signal:
        how = "repeat the command with --resume to go on" if outcome.state else "standard input cannot be resumed"
        click.echo(f"stopped     {outcome.progress.position:,} rows done and acknowledged; {how}")
        raise SystemExit(_INTERRUPTED if outcome.signal == signal.SIGINT else 0)


def _source(
    file: Path | None, format_name: str, settings: Settings, *, mapping: str | None, member: str, **table: Any
) -> Source:
    """The rows to replay, and what identifies them."""
    import time

    from workers.replay import completejourney, files
    from workers.replay.job import Source
    from workers.replay.rows import Contract

    latest_ms = int((time.time() + settings.learning.future_limit_s) * 1000)
    contract = Contract(latest_ms=latest_ms, max_bytes=settings.max_event_bytes)
    if format_name == "completejourney":
        if file is not None:
            raise click.UsageError("--format completejourney reads the installed package; leave out FILE")
        identity: dict[str, object] = {"data": completejourney.version()}
        read = partial(completejourney.completejourney_events, contract)
        return Source(completejourney.NAME, read, identity, in_order=True)
    if file is None:
        raise click.UsageError(f"--format {format_name} needs a FILE; - reads standard input")
    if (mapping is None) == (format_name == "csv"):
        raise click.UsageError("--map goes with --format csv, and --format csv needs it; docs/replay.md has examples")
    how = {"format": format_name, "member": member, "map": mapping, **table}
    parse = _parser(format_name, mapping or "", contract, **table)
    identity = {"file": files.fingerprint(file), **how} if file != files.STDIN else {}
    return Source(file.name, lambda: parse(files.lines(file, member)), identity or None)


def _parser(
    format_name: str,
    mapping: str,
    contract: Contract,
    *,
    types: str,
    time_unit: str,
    time_shift: int,
    delimiter: str,
    no_header: bool,
    category_separator: str,
) -> Callable[[Iterator[tuple[int, bytes]]], Iterator[Row | LeftOut]]:
    from workers.replay import columns, formats

    if format_name == "jsonl":
        return lambda lines: formats.from_jsonl(lines, contract)
    if format_name == "taobao":
        return lambda lines: formats.from_columns(lines, formats.TAOBAO, contract, "taobao")
    places, constants = columns.parse_map(mapping)
    table = columns.ColumnMap(
        columns=places,
        constants=constants,
        types=columns.parse_types(types),
        time_unit=time_unit,
        shift_ms=time_shift,
        delimiter="\t" if delimiter == r"\t" else delimiter,
        has_header=not no_header,
        category_separator=category_separator,
    )
    columns.check(table)
    return lambda lines: formats.from_columns(lines, table, contract)


def _publish_catalogue(settings: Settings) -> None:
    from workers.replay.catalogue import completejourney_catalogue, publish

    count = publish(completejourney_catalogue(), settings)
    click.echo(f"catalogue   {count:,} products")


def _failure(message: str, code: int) -> click.ClickException:
    error = click.ClickException(message)
    error.exit_code = code
    return error

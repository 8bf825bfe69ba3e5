"""One replay from beginning to end: read, order, find where to start, send, remember."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType

from streams import kafka_clients
from streams.settings import Settings
from streams.topics import BEHAVIOUR_EVENTS, DEAD_LETTERS, full_name
from workers.replay import order, target
from workers.replay.dead_letter import written
from workers.replay.meter import Meter
from workers.replay.pace import Pace
from workers.replay.reading import OnError, Tally, taking_part
from workers.replay.rows import LeftOut, Row
from workers.replay.send import Progress, replay
from workers.replay.state import State, default_path, key_of, load


@dataclass(frozen=True, slots=True)
class Source:
    """What is replayed.

    name      of the file, for messages and dead letters
    open      starts over from the first row
    identity  everything that decides which rows come, in which order; None: cannot be resumed (standard input)
    in_order  the rows are known to come in event-time order: they are sent as they are read
    """

    name: str
    open: Callable[[], Iterator[Row | LeftOut]]
    identity: dict[str, object] | None = None
    in_order: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How it is replayed; the fields are the command's options."""

    on_error: OnError = "stop"
    sample_users: float = 1.0
    limit: int | None = None
    speed: float | None = None
    rate: float | None = None
    in_order: bool = False
    state: Path | None = None
    resume: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of it; `signal` is the one that stopped it, 0 for none."""

    progress: Progress = field(default_factory=Progress)
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    signal: int = 0
    state: Path | None = None


class Signals:
    """Hears SIGTERM and SIGINT once and lets the work end in good order; a second one acts as usual."""

    def __init__(self) -> None:
        self.received = 0

    def __call__(self) -> bool:
        return self.received != 0

    @contextmanager
    def heard(self) -> Iterator[None]:
        """While the context is open."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def hear(number: int, _frame: FrameType | None) -> None:
            self.received = number
            for each, handler in before.items():
                signal.signal(each, handler)

        for number in before:
            signal.signal(number, hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(source: Source, settings: Settings, options: Options, meter: Meter, signals: Signals) -> Outcome:
    """Replays a source onto behaviour-events.v1 until its end, its limit, or a signal.

    Raises FileError, MapError, BrokenRowError, OutOfOrderError, TopicError, StateError or SendError; after a SendError
    the state holds what was acknowledged.
    """
    producer = kafka_clients.producer(settings)
    topic = full_name(settings.namespace, BEHAVIOUR_EVENTS)
    cluster = target.check_topic(producer, settings, BEHAVIOUR_EVENTS)
    letters = None
    if options.on_error == "dead-letter":
        target.check_topic(producer, settings, DEAD_LETTERS)
        letters = (full_name(settings.namespace, DEAD_LETTERS), written(source.name))

    key, path = _place(source, options, topic, cluster)
    start = load(path, key) if options.resume and path else State(key=key, position=0, offsets={}, clean=True)
    offsets = start.offsets or target.ends(settings, topic, settings.user_partitions)
    known = set() if start.clean else target.values_since(settings, topic, offsets)
    sink = target.KafkaSink(producer, topic, next_offset=offsets, dead_letter=letters)
    outcome = Outcome(state=path)

    def remember(progress: Progress, *, clean: bool = False) -> None:
        if path:
            State(key=key, position=progress.position, offsets=sink.next_offset, clean=clean).save(path)

    def acknowledged(progress: Progress) -> None:
        remember(progress)
        meter.sending(progress, total)

    with ExitStack() as stack:
        stack.enter_context(signals.heard())
        rows = stack.enter_context(_ordered(source, options, meter, signals, outcome))
        read = outcome.tally.rows  # 0: they are sent as they are read
        total = min(read, options.limit or read) or options.limit
        remember(Progress(position=start.position))
        began = time.monotonic()
        outcome.progress = replay(
            islice(rows, start.position, options.limit),
            sink,
            pace=Pace(speed=options.speed, rate=options.rate),
            position=start.position,
            known=known,
            on_ack=acknowledged,
            stopped=signals,
        )
        outcome.seconds = time.monotonic() - began
    remember(outcome.progress, clean=True)
    outcome.signal = 0 if outcome.progress.finished else signals.received
    return outcome


def _place(source: Source, options: Options, topic: str, cluster: str) -> tuple[str, Path | None]:
    """The replay's key and its state file."""
    if source.identity is None:
        return "", None
    parts = {**source.identity, "sample_users": options.sample_users, "topic": topic, "cluster": cluster}
    key = key_of(parts)
    return key, options.state or default_path(key)


@contextmanager
def _ordered(
    source: Source, options: Options, meter: Meter, signals: Signals, outcome: Outcome
) -> Iterator[Iterator[Row]]:
    ordered = False

    def read() -> Iterator[Row]:
        tally = outcome.tally = Tally()
        rows = taking_part(
            source.open(),
            name=source.name,
            tally=tally,
            on_error=options.on_error,
            sample_users=options.sample_users,
            stopped=signals,
        )
        for row in rows:
            if tally.rows % 1000 == 0 and not ordered:
                meter.reading(tally)
            yield row

    if options.in_order or source.in_order:
        ordered = True
        yield order.asserted(read())
        return
    with order.by_time(read, twice=source.identity is not None) as rows:
        ordered = True
        yield rows

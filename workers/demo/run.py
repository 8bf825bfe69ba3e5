"""The demo's main job: catalogue, a year of purchases, the last of them live, and the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from xxhash import xxh3_64_intdigest

from streams import kafka_clients
from streams.app import places_of
from streams.broker import Broker
from streams.core.checkpoint import decode_checkpoint
from streams.incarnation import group_of, keyspace, shard_of
from streams.settings import Settings
from streams.store.reader import Reader
from streams.store.redis import connect
from streams.topics import BEHAVIOUR_EVENTS, full_name
from workers.demo import report
from workers.demo.watch import Watch
from workers.replay import catalogue, completejourney, send
from workers.replay.pace import Pace
from workers.replay.rows import Contract, Event
from workers.replay.target import KafkaSink

CATCH_UP_S = 120.0


@dataclass
class Shown:
    """What the report rests on."""

    rises: int
    pushes: int
    hold_reasons: int
    commands: list[str] = field(default_factory=list)

    def missing(self, hold_reasons: int) -> list[str]:
        """What did not occur that must."""
        wanted = [
            (self.rises > 0, "no interest rose"),
            (self.pushes > 0, "no notification went out"),
            (
                self.hold_reasons >= hold_reasons,
                f"only {self.hold_reasons} hold reasons occurred, {hold_reasons} wanted",
            ),
        ]
        return [text for occurred, text in wanted if not occurred]


def run_demo(console: Console, settings: Settings, *, purchases: int, live: int, rate: int) -> Shown:
    """Everything between the servers' start and their stop."""
    console.print("[bold]2  data[/]: a year of purchases of real households (completejourney)", highlight=False)
    events, households = load(purchases)
    products = {event.item for event in events}
    items = (item for item in catalogue.completejourney_catalogue() if item.item_id in products)
    count = catalogue.publish(items, settings)
    console.print(
        f"   {len(events):,} purchases of {len(households)} households, {count:,} products with names", highlight=False
    )
    watch = Watch(settings)
    watch.start()
    store = connect(settings.redis.get_secret_value())
    reader = Reader(store, keyspace(settings, 1))
    console.print("[bold]3  the stream[/]: purchases in, interests and notifications out", highlight=False)
    history, last = events[: len(events) - live], events[len(events) - live :]
    with Progress(
        TextColumn("   {task.description:<8}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[live]}"),
        console=console,
    ) as progress:
        backfill_s = _pour(progress, "history", settings, reader, watch, history, None, 0)
        watched_before = len(watch.notifications)
        live_s = _pour(progress, "live", settings, reader, watch, last, rate, len(history))
        _until(lambda: watch.decisions >= sum(watch.kinds.values()), CATCH_UP_S, "the push worker to decide everything")
    time.sleep(settings.view_interval_s + 1.0)
    latencies = [seconds for _, seconds in watch.notifications[watched_before:]]
    report.similar_items(console, reader)
    users = report.interests_over_time(console, watch)
    report.drifts(console, watch)
    report.pushes(console, watch)
    report.holds(console, watch)
    report.speed(console, len(history), backfill_s, len(last), live_s, latencies)
    watch.stop()
    store.close()
    first = watch.notifications[0][0] if watch.notifications else None
    commands = [f"driftline inspect user {user}" for user in users[:1]] + [
        f"driftline inspect item {i}" for i in reader_items(first)
    ]
    commands += [f"driftline why {first.user_id}", f"driftline why {first.id}"] if first else []
    return Shown(
        watch.kinds["rise"], len(watch.notifications), len(watch.held), [*commands, "driftline dead-letters list"]
    )


def wait_for_workers(settings: Settings, count: int) -> None:
    """Until so many stream workers are in their group: starting up is not part of the speed."""
    broker = Broker(settings)
    _until(lambda: broker.members(group_of(settings, 1)) >= count, CATCH_UP_S, "the workers to start; see their logs")


def reader_items(notification: object) -> list[str]:
    """The first recommended item, for a command to try."""
    items = getattr(notification, "items", ())
    return [items[0].item_id] if items else []


@dataclass(frozen=True, slots=True)
class Purchase:
    """An event with the item it is about."""

    event: Event
    item: str


def load(purchases: int) -> tuple[list[Purchase], list[int]]:
    """All purchases of just enough households (a fixed random sample) to make `purchases`, in time order."""
    import msgspec

    table = completejourney.table("transactions")
    sizes = table[table["quantity"] > 0].groupby("household_id").size()
    households: list[int] = []
    total = 0
    for household in sorted(sizes.index.tolist(), key=lambda h: xxh3_64_intdigest(f"demo {h}".encode())):
        if total >= purchases:
            break
        households.append(household)
        total += int(sizes[household])
    latest_ms = int((time.time() + 3600) * 1000)
    rows = completejourney.completejourney_events(Contract(latest_ms=latest_ms), households)
    item_of = msgspec.json.Decoder(dict)
    return [Purchase(row, item_of.decode(row.value)["item_id"]) for row in rows if isinstance(row, Event)], households


def _pour(
    progress: Progress,
    name: str,
    settings: Settings,
    reader: Reader,
    watch: Watch,
    purchases: list[Purchase],
    rate: int | None,
    before: int,
) -> float:
    """Send and wait until every event is applied by both stages; the seconds it took."""
    task = progress.add_task(name, total=len(purchases), live="")
    started = time.perf_counter()
    shown_at = 0.0

    def show(*, force: bool = False) -> int:
        nonlocal shown_at
        now = time.perf_counter()
        if not force and now - shown_at < 0.3:
            return -1
        shown_at = now
        users, items = applied(settings, reader)
        live = f"{watch.kinds['rise']:,} rose · {len(watch.notifications):,} pushed"
        progress.update(task, completed=min(users, items) - before, live=live)
        return min(users, items)

    sink = KafkaSink(kafka_clients.producer(settings), full_name(settings.namespace, BEHAVIOUR_EVENTS))
    rows: Iterator[Event] = (purchase.event for purchase in purchases)
    send.replay(rows, sink, pace=Pace(rate=rate), on_ack=lambda _: show())
    _until(lambda: show(force=True) >= before + len(purchases), CATCH_UP_S, f"the workers to apply the {name}")
    return time.perf_counter() - started


def applied(settings: Settings, reader: Reader) -> tuple[int, int]:
    """Events in the state of users, and of items (each event makes one row in its item's partition)."""
    keys, places = reader.keys, places_of(settings)
    events = full_name(settings.namespace, BEHAVIOUR_EVENTS)
    shards = [shard_of(keys, settings, place) for place in places]
    found = [decode_checkpoint(data) for data in reader.store.read([s.checkpoint for s in shards]) if data]
    users = [c for c, place in zip(found, places, strict=True) if place.topic == events]
    marks = {c.partition: c.watermark for c in users}
    items = [c for c in found if c.applied]
    done = [min((c.applied[p] + 1 for c in items), default=0) for p in marks]
    accepted = sum(c.accepted for c in users)
    behind = sum(max(0, mark - reached) for mark, reached in zip(marks.values(), done, strict=True))
    return accepted, accepted if behind <= 64 * len(marks) else max(0, accepted - behind)


def _until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.1)

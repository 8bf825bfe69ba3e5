"""The Faust topology on one screen: three topics, three agents, one lane a partition.

behaviour-events.v1 -> profiles -> item-links.v1 -> neighbours; catalogue.v1 -> catalogue. An agent only hands batches
to the lane of their partition; the lane does the work (agents.py). What fails for good stops the process: a restart
from the store is always right.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from faust.types import TP

from streams import kafka_clients, metrics
from streams.agents import Lane, Stage
from streams.broker import Broker
from streams.coordinator import coordinate_patiently
from streams.emit import Emitter
from streams.incarnation import Place, group_of, shard_of, verify
from streams.settings import Settings
from streams.stages import CatalogueStage, Names, NeighboursStage, ProfilesStage
from streams.store.keys import Keyspace
from streams.store.protocol import Store
from streams.topics import BEHAVIOUR_EVENTS, CATALOGUE, DEAD_LETTERS, INTEREST_CHANGES, ITEM_LINKS, full_name
from streams.transport import BatchApp, BatchSchema, FetchLimits, tolerate_unreadable_batches
from streams.views import Views

log = structlog.get_logger()

WAITING_MOST = 8  # batches that may wait for a lane before its partition is paused
LINGER_S = 0.25  # while events wait, links may gather: an item that is written once for many events costs less
LINKS_MOST = 64  # link messages in one flush, about; each holds one flush's rows of one source partition
Fatal = Callable[[Exception], None]


class Pipeline:
    """The lanes of this process and what they share. `on_fatal` is told of the first failure that needs a restart."""

    def __init__(self, settings: Settings, keys: Keyspace, store: Store, on_fatal: Fatal) -> None:
        self.settings, self.keys, self.store = settings, keys, store
        self.fail = on_fatal
        self._broker = Broker(settings)
        self._emitter = Emitter(settings)
        self.names = names_of(settings)
        self.views = Views(
            store,
            keys,
            settings.learning,
            budget=lambda: settings.view_budget if self._waiting_since else settings.view_budget_idle,
            interval_s=settings.view_interval_s,
            ttl_s=settings.state_ttl_s,
        )
        self.lanes: dict[TP, Lane] = {}
        self._queues: dict[TP, asyncio.Queue[Any]] = {}
        self._tasks: dict[TP, asyncio.Task[None]] = {}
        self.ready = False
        self._waiting_since: dict[TP, float] = {}

    def start(self) -> None:
        """Start deriving views."""
        self.views.start()

    async def stop(self) -> None:
        """Stop all lanes where they are: what is not committed will be folded again."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.to_thread(self.views.stop)
        await asyncio.to_thread(self._emitter.close)
        self.store.close()

    async def watermarks(self, assigned: set[TP]) -> Mapping[TP, int]:
        """Where to position each assigned partition; lanes for exactly these exist afterwards."""
        places = [Place(tp.topic, tp.partition) for tp in assigned]
        try:
            found = await asyncio.to_thread(verify, self.settings, self.keys, self.store, self._broker, places)
        except Exception as error:
            self.fail(error)
            raise
        for tp in set(self.lanes) - assigned:
            await self._let_go(tp)
        for tp in assigned:
            self._queues[tp] = asyncio.Queue()
            if tp not in self.lanes:
                self.lanes[tp] = self._new_lane(tp)
            if tp in self._tasks:
                self._tasks[tp].cancel()
            self._tasks[tp] = asyncio.create_task(self._run(tp, self._queues[tp]), name=f"{tp.topic}[{tp.partition}]")
        self.ready = True
        log.info("assigned", partitions={f"{p.topic}[{p.partition}]": c.watermark for p, c in found.items()})
        return {TP(place.topic, place.partition): checkpoint.watermark for place, checkpoint in found.items()}

    async def submit(self, event: Any, consumer: Any) -> None:
        """Hand a Faust event (one RecordBatch) to its lane; pause the partition while too much waits for it."""
        batch = event.value
        tp = TP(batch.topic, batch.partition)
        queue = self._queues.get(tp)
        if queue is None or event.message.generation_id != self.app.consumer_generation_id:
            return  # fetched before a rebalance: it will be fetched again from the watermark
        queue.put_nowait(event)
        self._waiting_since.setdefault(tp, time.monotonic())
        if queue.qsize() >= WAITING_MOST:
            consumer.on_buffer_full(tp)
            if queue.qsize() < WAITING_MOST:
                consumer.on_buffer_drop(tp)

    async def _run(self, tp: TP, queue: asyncio.Queue[Any]) -> None:
        lane = self.lanes[tp]
        most = LINKS_MOST if tp.topic == self.names.item_links else self.settings.batch_max_records
        try:
            while True:
                events = [await queue.get()]
                if tp.topic == self.names.item_links and len(self._waiting_since) > 1:
                    await asyncio.sleep(LINGER_S)
                batch = events[0].value
                while len(batch.records) < most // 2 and not queue.empty():
                    events.append(queue.get_nowait())
                    batch = batch.joined(events[-1].value)
                if queue.qsize() < WAITING_MOST:
                    self.app.consumer.on_buffer_drop(tp)
                await lane.process(batch, acknowledge=_acknowledge(events))
                if queue.empty():
                    self._waiting_since.pop(tp, None)
                else:
                    self._waiting_since[tp] = time.monotonic()
        except Exception as error:  # noqa: BLE001  # whatever it is, this partition must not go on
            self.fail(error)

    async def check_idle(self) -> None:
        """Compare idle partitions with the store, and refresh the lag gauges."""
        try:
            for tp, lane in list(self.lanes.items()):
                await lane.check()
                end = self.app.monitor.tp_end_offsets.get(tp)
                labels = (lane.stage.name, str(tp.partition))
                if lane.watermark >= 0:
                    metrics.WATERMARK.labels(*labels).set(lane.watermark)
                    metrics.LAG_RECORDS.labels(*labels).set(max(0, (end or 0) - lane.watermark))
                since = self._waiting_since.get(tp)
                metrics.LAG_SECONDS.labels(*labels).set(0.0 if since is None else time.monotonic() - since)
        except Exception as error:  # noqa: BLE001  # a store that lost its tail is fatal wherever it is noticed
            self.fail(error)

    def stalled_s(self) -> float:
        """For how long input has waited without any progress in some partition; 0 if none waits."""
        now = time.monotonic()
        waits = [
            min(now - since, now - self.lanes[tp].progress_at)
            for tp, since in self._waiting_since.items()
            if tp in self.lanes
        ]
        return max(waits, default=0.0)

    app: BatchApp

    async def _let_go(self, tp: TP) -> None:
        self.lanes.pop(tp)
        self._queues.pop(tp)
        self._waiting_since.pop(tp, None)
        self._tasks.pop(tp).cancel()

    def _new_lane(self, tp: TP) -> Lane:
        shard = shard_of(self.keys, self.settings, Place(tp.topic, tp.partition))
        settings, names = self.settings, self.names
        stage: Stage
        if tp.topic == names.behaviour_events:
            stage = ProfilesStage(
                shard,
                settings.learning,
                names,
                max_event_bytes=settings.max_event_bytes,
                cached_users=settings.cached_users // max(1, settings.user_partitions),
            )
        elif tp.topic == names.item_links:
            cached = settings.cached_items // max(1, settings.item_partitions)
            stage = NeighboursStage(shard, settings.learning, names, cached_items=cached)
        else:
            stage = CatalogueStage(shard, names)
        return Lane(stage, self.store, self._emitter.emit, self.views.note, settings.state_ttl_s)


def _acknowledge(events: Sequence[Any]) -> Callable[[], Awaitable[None]]:
    async def acknowledge() -> None:
        for event in events:
            event.ack()

    return acknowledge


def names_of(settings: Settings) -> Names:
    """Full topic names."""
    return Names(
        behaviour_events=full_name(settings.namespace, BEHAVIOUR_EVENTS),
        item_links=full_name(settings.namespace, ITEM_LINKS),
        interest_changes=full_name(settings.namespace, INTEREST_CHANGES),
        catalogue=full_name(settings.namespace, CATALOGUE),
        dead_letters=full_name(settings.namespace, DEAD_LETTERS),
    )


def create_app(settings: Settings, pipeline: Pipeline) -> BatchApp:
    """The Faust app of one generation: explicit names everywhere, nothing that Faust creates by itself."""
    tolerate_unreadable_batches()
    coordinate_patiently(pipeline.fail)
    names = pipeline.names
    app = BatchApp(
        group_of(settings, pipeline.keys.generation),
        broker=f"kafka://{settings.kafka.replace(',', ';kafka://')}",
        fetch_limits=FetchLimits(settings.batch_max_records, settings.fetch_min_bytes, settings.fetch_max_wait_ms),
        watermarks=pipeline.watermarks,
        autodiscover=False,
        consumer_group_instance_id=settings.instance_id or None,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=max(0.3, settings.session_timeout_ms / 10_000),
        broker_rebalance_timeout=30,
        broker_request_timeout=max(40.0, settings.session_timeout_ms / 1000),
        broker_commit_interval=1.0,
        broker_client_id=kafka_clients.connection(settings)["client.id"],
        stream_buffer_maxsize=64,
        stream_wait_empty=False,
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    pipeline.app = app

    def consume(name: str, topic: str) -> None:
        source = app.topic(topic, schema=BatchSchema(), internal=False, allow_empty=True)

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                await pipeline.submit(event, app.consumer)

        app.agent(source, name=name)(agent)

    consume("profiles", names.behaviour_events)
    consume("neighbours", names.item_links)
    consume("catalogue", names.catalogue)

    async def compare_idle_partitions() -> None:
        await pipeline.check_idle()

    app.timer(interval=settings.idle_check_s)(compare_idle_partitions)
    return app


def places_of(settings: Settings) -> Sequence[Place]:
    """Every partition of every input topic of the stages."""
    names = names_of(settings)
    counts = {
        names.behaviour_events: settings.user_partitions,
        names.item_links: settings.item_partitions,
        names.catalogue: settings.catalogue_partitions,
    }
    return [Place(topic, partition) for topic, count in counts.items() for partition in range(count)]

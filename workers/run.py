"""`driftline worker`: the stream workers' process, from checks to clean stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import click
import structlog

from streams.settings import Settings, SettingsError, from_env

if TYPE_CHECKING:  # imported when they are needed: `driftline --help` stays fast
    from streams.app import Fatal
    from streams.store.keys import Keyspace
    from streams.store.protocol import Store

log = structlog.get_logger()

EXIT_REFUSED = 3  # the world does not fit the checkpoints: a person must act, restarting does not help
EXIT_RESTART = 4  # start again: the store or Kafka answered in a way that only a fresh start repairs
EXIT_HUNG = 5  # a clean stop took too long
STOP_WITHIN_S = 20.0


@click.command(epilog="Exit codes: 0 stopped, 2 settings, 3 refused (act), 4 restart me, 5 a clean stop took too long.")
@click.option("--generation", type=click.IntRange(1), help="Compute this generation instead of the one that serves.")
@click.option(
    "--web-port", type=click.IntRange(0, 65535), help="Port of /metrics, /healthz and /readyz; 0: a free one."
)
def worker(generation: int | None, web_port: int | None) -> None:
    """Keep profiles, co-occurrences and the catalogue up to date, event by event.

    Start as many as there are cores; up to one a partition adds throughput.

    \b
    Examples:
      driftline worker
      DRIFTLINE_INSTANCE_ID=worker-1 driftline worker --web-port 6067
      driftline worker --generation 2        # computes what `driftline rebuild` began
    """
    override: dict[str, object] = {}
    if generation is not None:
        override["generation"] = generation
    if web_port is not None:
        override["web_port"] = web_port
    try:
        settings = from_env(**override)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    sys.exit(run(settings))


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the process's exit code."""
    import uvloop

    from streams.broker import BrokerError
    from streams.incarnation import RefusedError
    from streams.store.protocol import StoreUnavailableError
    from workers.logs import configure

    configure()
    try:
        keys, store = _checked(settings)
    except RefusedError as error:
        log.critical("refused", reason=str(error))
        return EXIT_REFUSED
    except (StoreUnavailableError, BrokerError) as error:
        log.critical("no server", reason=str(error))
        return EXIT_RESTART
    _compile()
    return uvloop.run(_serve(settings, keys, store))


def _checked(settings: Settings) -> tuple[Keyspace, Store]:
    """Keys and store of the generation to compute, once servers, topics and checkpoints are found to fit."""
    from streams.app import places_of
    from streams.broker import Broker
    from streams.incarnation import RefusedError, keyspace, serving_generation, verify
    from streams.store.redis import connect

    store = connect(settings.redis.get_secret_value())
    unfit = store.check()
    if unfit:
        raise RefusedError(f"Redis: {'; '.join(unfit)}")
    broker = Broker(settings)
    broker.ping()
    generation = settings.generation or serving_generation(settings, store)
    keys = keyspace(settings, generation)
    verify(settings, keys, store, broker, places_of(settings))
    return keys, store


def _compile() -> None:
    """Load the compiled kernel before joining the group, so that the first flush is not the slow one."""
    from streams.core.item_arena import ItemArena
    from streams.core.links import LinkRow, decode_links, encode_links
    from streams.core.policy import LearningPolicy

    rows = [
        LinkRow(0, 0, 1, 1.0, repeat=False, item=1, neighbours=(), name="a"),
        LinkRow(1, 0, 1, 1.0, repeat=False, item=2, neighbours=(1,), name="b"),
    ]
    ((_, data),) = encode_links(rows, generation=0, topic_id="", source=0, item_partitions=1)
    message = decode_links(data)
    arena = ItemArena(LearningPolicy())
    arena.put(1, None)
    arena.put(2, None)
    arena.apply(message, -1, {0: 1, 1: 2})
    arena.pack([1, 2])


async def _serve(settings: Settings, keys: Keyspace, store: Store) -> int:
    from streams.app import Pipeline, create_app
    from streams.incarnation import RefusedError
    from workers.web import WebServer

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    outcome = [0]

    def on_fatal(error: Exception) -> None:
        if stop.is_set():
            return
        refused = isinstance(error, RefusedError)
        outcome[0] = EXIT_REFUSED if refused else EXIT_RESTART
        log.critical("refused" if refused else "must restart", reason=str(error), kind=type(error).__name__)
        loop.call_soon_threadsafe(stop.set)

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    pipeline = Pipeline(settings, keys, store, on_fatal)
    app = create_app(settings, pipeline)
    loop.set_exception_handler(lambda _, context: _unhandled(context, on_fatal))

    def healthy() -> str | None:
        stalled_s = pipeline.stalled_s()
        return f"input has waited {stalled_s:.0f} s without progress" if stalled_s > settings.stall_after_s else None

    def ready() -> str | None:
        return None if pipeline.ready and not app.rebalancing else "no partitions assigned yet"

    web = WebServer(settings.web_host, settings.web_port, healthy, ready).start()
    pipeline.start()
    started = asyncio.create_task(app.start())
    started.add_done_callback(lambda task: _started(task, on_fatal))
    log.info("worker started", generation=pipeline.keys.generation, web=f"http://{settings.web_host}:{web.port}")
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)  # states are many and have no cycles: walking them finds nothing
    sys.setswitchinterval(0.001)  # threads that wait for Redis and Kafka get their turn while another lane computes
    await stop.wait()
    _exit_later(outcome)
    log.info("stopping")
    await app.stop()
    await pipeline.stop()
    web.close()
    log.info("stopped")
    return outcome[0]


def _started(task: asyncio.Task[None], on_fatal: Fatal) -> None:
    if not task.cancelled() and task.exception() is not None:
        on_fatal(task.exception())  # type: ignore[arg-type]  # not None: just asked; whatever it is, it is fatal


def _unhandled(context: dict[str, object], on_fatal: Fatal) -> None:
    error = context.get("exception")
    log.error("unhandled", message=str(context.get("message")), error=repr(error))
    if isinstance(error, Exception):
        on_fatal(error)


def _exit_later(outcome: list[int]) -> None:
    """A stop that hangs helps nobody: every commit is atomic, so the process may go at any time."""

    def exit_now() -> None:
        time.sleep(STOP_WITHIN_S)
        log.critical("a clean stop took too long", seconds=STOP_WITHIN_S)
        os._exit(outcome[0] or EXIT_HUNG)

    threading.Thread(target=exit_now, daemon=True).start()

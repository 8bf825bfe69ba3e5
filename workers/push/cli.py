"""`driftline push`: run the push worker until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import sys

import click

from streams.settings import Settings
from workers.commands import command_settings


@click.command()
@click.option(
    "--port", type=int, help="Port of /metrics, /healthz and /readyz (DRIFTLINE_WEB_PORT; 0 picks a free one)."
)
@click.option("--shadow", is_flag=True, help="Decide and journal, send nothing (DRIFTLINE_PUSH_SHADOW).")
def push(port: int | None, *, shadow: bool) -> None:
    """Turn interest changes into at most a few explained notifications.

    Settings come from the environment (DRIFTLINE_*); docs/push.md tells what is decided and what is guaranteed.
    """
    override: dict[str, object] = {} if port is None else {"web_port": port}
    if shadow:
        override["push_shadow"] = True
    _run(command_settings(**override))


def _run(settings: Settings) -> None:
    from confluent_kafka import KafkaException

    from streams.store.protocol import StoreUnavailableError
    from streams.store.redis import connect
    from workers import logs
    from workers.push.errors import PushError
    from workers.push.worker import PushWorker
    from workers.web import WebServer

    logs.configure()
    try:
        store = connect(settings.redis.get_secret_value())
        unfit = store.check()
        if unfit:
            raise click.ClickException("; ".join(unfit))
        worker = PushWorker(settings, store)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        with WebServer(settings.web_host, settings.web_port, worker.stalled, worker.unready) as web:
            click.echo(f"push: metrics and health on http://{settings.web_host}:{web.port}", err=True)
            worker.run()
    except (PushError, StoreUnavailableError, KafkaException) as error:
        click.echo(f"push: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        raise click.ClickException(
            f"{settings.web_host}:{settings.web_port}: {error}; set DRIFTLINE_WEB_PORT"
        ) from None

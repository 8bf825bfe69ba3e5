"""`driftline local`: real servers for first steps on one machine."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from workers.local.kafka import Kafka
from workers.local.process import LocalServerError, is_free
from workers.local.state import Running, State, state_folder
from workers.local.valkey import Valkey

_KAFKA_PORT, _REDIS_PORT = 9092, 6379
_NAMES = ("kafka", "valkey")

_data = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=state_folder,
    show_default="~/.local/state/driftline/local",
    help="Folder of the servers' data and state.",
)


def _port(option: str, default: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        option,
        type=click.IntRange(1, 65_535),
        default=None,
        help=f"Port on 127.0.0.1. Default: the one of last time, else {default}, else a free one.",
    )


@contextmanager
def _clean_errors() -> Iterator[None]:
    try:
        yield
    except LocalServerError as error:
        raise click.ClickException(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def local() -> None:
    """Real Kafka and Valkey on this machine, from pip alone.

    \b
    Examples:
      driftline local up                  start both; they stay when the terminal closes
      eval "$(driftline local up)"        the same, and point this shell at them
      driftline local status              exit code 1 when one is down
      driftline local down                stop both, keep their data
      driftline local down --wipe         stop both, remove their data
    """


@local.command()
@_data
@_port("--kafka-port", _KAFKA_PORT)
@_port("--redis-port", _REDIS_PORT)
@click.option("--foreground", is_flag=True, help="Stay attached; Ctrl-C stops the servers.")
def up(data: Path, kafka_port: int | None, redis_port: int | None, *, foreground: bool) -> None:
    """Start Kafka and Valkey, unless they run, and print the settings that point Driftline at them.

    The settings go to stdout, everything else to stderr, so that a shell can evaluate them.

    \b
    Examples:
      eval "$(driftline local up)"
      driftline local up --data ./servers --kafka-port 19092 --redis-port 16379
      driftline local up --foreground
    """
    with _clean_errors(), ExitStack() as stack:
        state = State(data)
        with state.locked():
            running = {name: server for name, server in state.read().items() if server.alive}
            if foreground and running:
                raise LocalServerError("already running; `driftline local down` first, or leave out --foreground")
            if len(running) == len(_NAMES):
                _say("already running")
            if "valkey" not in running:
                port = _choose(redis_port, _REDIS_PORT, state.folder / "valkey" / "port.json", "Valkey")
                valkey = Valkey(state.folder / "valkey", port=port, appendonly=True, detached=not foreground)
                stack.enter_context(valkey)
                state.record(_running("valkey", valkey.address, valkey.pid, valkey.version, valkey.data))
                _say(f"{valkey.version} at {valkey.address}")
            if "kafka" not in running:
                _say("starting Kafka ...")
                port = _choose(kafka_port, _KAFKA_PORT, state.folder / "kafka" / "ports.json", "Kafka")
                kafka = Kafka(state.folder / "kafka", port=port, detached=not foreground)
                stack.enter_context(kafka)
                version = f"Apache Kafka {kafka.version}"
                state.record(_running("kafka", kafka.bootstrap, kafka.pid, version, kafka.data))
                _say(f"{version} at {kafka.bootstrap}")
        servers = state.read()
        click.echo(f"export DRIFTLINE_KAFKA={servers['kafka'].address}")
        click.echo(f"export DRIFTLINE_REDIS=redis://{servers['valkey'].address}/0")
        if foreground:
            _stay(state)


@local.command()
@_data
def status(data: Path) -> None:
    """Show the servers; exit code 1 when one is down.

    \b
    Example:
      driftline local status || driftline local up
    """
    from rich.console import Console
    from rich.table import Table

    with _clean_errors():
        servers = State(data).read()
    table = Table("server", "state", "address", "pid", "version", "up since", "data", box=None)
    everything_up = True
    for name in _NAMES:
        server = servers.get(name)
        if server is not None and server.up:
            since = server.since.astimezone().isoformat(" ", "seconds")
            table.add_row(name, "up", server.address, str(server.pid), server.version, since, server.data)
        else:
            everything_up = False
            table.add_row(name, "down", *([server.address] if server else []))
    console = Console(width=None if sys.stdout.isatty() else 240)
    console.print(table)
    if not everything_up:
        _say("start them with `driftline local up`")
        sys.exit(1)


@local.command()
@_data
@click.option("--wipe", is_flag=True, help="Remove the servers' data as well.")
def down(data: Path, *, wipe: bool) -> None:
    """Stop Kafka and Valkey; their data stays for the next `up`, unless --wipe.

    \b
    Examples:
      driftline local down
      driftline local down --wipe
    """
    with _clean_errors():
        state = State(data)
        with state.locked():
            servers = state.read()
            state.forget()
            for server in servers.values():
                was_alive = server.alive
                server.stop()
                _say(f"{server.name} {'stopped' if was_alive else 'was not running'}")
            if not servers:
                _say("nothing was running")
            if wipe:
                for name in _NAMES:
                    shutil.rmtree(state.folder / name, ignore_errors=True)
                _say(f"data removed from {state.folder}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _choose(asked: int | None, default: int, record: Path, name: str) -> int | None:
    """The port to insist on; None: the recorded one or any free one."""
    if asked is not None:
        if not is_free(asked):
            raise LocalServerError(f"port {asked} is taken; give {name} another one, or none to have a free one chosen")
        return asked
    if record.exists():
        return None
    if is_free(default):
        return default
    _say(f"port {default} is taken: {name} gets another one")
    return None


def _running(name: str, address: str, pid: int | None, version: str, data: Path) -> Running:
    assert pid is not None
    return Running.of(name=name, address=address, pid=pid, version=version, data=data)


def _stay(state: State) -> None:
    """Wait for Ctrl-C, SIGTERM, `driftline local down`, or a server's end (LocalServerError)."""
    asked = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: asked.set())
    _say("running; Ctrl-C stops both")
    while not asked.wait(0.5):
        servers = state.read()
        if not servers:
            return
        for server in servers.values():
            if not server.alive:
                raise LocalServerError(f"{server.name} ended; its log is in {server.data}")
    state.forget()

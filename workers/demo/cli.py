"""The command: options, servers, processes, exit code."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.console import Console

from streams.settings import from_env

STREAM_WORKERS = 2
HOLD_REASONS_AT_LEAST = 3


@click.command()
@click.option("--purchases", default=100_000, show_default=True, type=click.IntRange(1000), help="How many, at least.")
@click.option(
    "--live",
    default=6_000,
    show_default=True,
    type=click.IntRange(0),
    help="The last of them come in as in a shop, at --rate.",
)
@click.option("--rate", default=600, show_default=True, type=click.IntRange(1), help="Live purchases a second.")
@click.option("--stay", is_flag=True, help="Keep everything running afterwards, to look around; Ctrl-C ends it.")
def demo(purchases: int, live: int, rate: int, *, stay: bool) -> None:
    """Real Kafka, real Valkey, a year of real grocery baskets; drifts, pushes and why.

    Servers are started from pip unless DRIFTLINE_KAFKA and DRIFTLINE_REDIS name running ones. Exits 1 unless interests
    rose, notifications went out and at least three reasons to hold one occurred.

    \b
    Examples:
      driftline demo
      driftline demo --purchases 300000 --stay
    """
    from workers.demo.run import Shown, run_demo, wait_for_workers
    from workers.local.launcher import Servers
    from workers.local.process import LocalServerError

    console = Console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="driftline-demo-")))
        console.print("[bold]1  servers[/]: Kafka and Valkey", highlight=False)
        try:
            servers = stack.enter_context(Servers(env_prefix="DRIFTLINE_"))
        except LocalServerError as error:
            raise click.ClickException(str(error)) from None
        environment = {
            "DRIFTLINE_KAFKA": servers.kafka,
            "DRIFTLINE_REDIS": servers.redis,
            "DRIFTLINE_NAMESPACE": f"demo-{secrets.token_hex(3)}",
            "DRIFTLINE_PUSH_CLOCK": "event",
            "DRIFTLINE_PUSH_CAP_PER_DAY": "1",
            "DRIFTLINE_PUSH_GAP_S": "172800",  # two days: households shop about twice a week
            "DRIFTLINE_PUSH_MIN_SCORE": "0.1",
            "DRIFTLINE_VIEW_BUDGET": "0.5",  # a year in seconds: similarities must keep up
            "DRIFTLINE_VIEW_INTERVAL_S": "0.2",
        }
        settings = from_env(environment)
        console.print(
            f"   Kafka {servers.kafka}, Redis {servers.redis}, namespace {settings.namespace}", highlight=False
        )
        for arguments in (["topics", "create"], ["init", "--from", "earliest"]):
            _command(arguments, environment)
        stack.enter_context(_processes(environment, folder))
        wait_for_workers(settings, STREAM_WORKERS)
        shown: Shown = run_demo(console, settings, purchases=purchases, live=live, rate=rate)
        _how_to_look_further(console, environment, folder, shown, stay=stay)
        if stay:
            _wait_for_interrupt(console)
        console.print("stopping ...")
    missing = shown.missing(HOLD_REASONS_AT_LEAST)
    if missing:
        console.print(f"[bold red]the demo fell short[/]: {'; '.join(missing)}")
        sys.exit(1)


def _command(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "workers", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"driftline {' '.join(arguments)}: {done.stderr.strip()}")


@contextmanager
def _processes(environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    """The workers as an operator runs them; stopped cleanly at the end."""
    wanted = [(f"worker-{n + 1}", ["worker"]) for n in range(STREAM_WORKERS)] + [("push-1", ["push"])]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, arguments in wanted:
            env = {**os.environ, **environment, "DRIFTLINE_INSTANCE_ID": name, "DRIFTLINE_WEB_PORT": "0"}
            with (folder / f"{name}.log").open("wb") as log:
                command = [sys.executable, "-m", "workers", *arguments]
                started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))  # noqa: S603  # our own command
        yield
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _how_to_look_further(
    console: Console, environment: Mapping[str, str], folder: Path, shown: object, *, stay: bool
) -> None:
    console.rule("how to look further")
    if stay:
        exports = " ".join(f"{name}={value}" for name, value in environment.items())
        console.print(f"export {exports}", highlight=False, soft_wrap=True)
        console.print(f"logs: {folder}", highlight=False)
    else:
        console.print("`make demo ARGS=--stay` keeps everything running; then, in another shell:")
    for line in getattr(shown, "commands", ()):
        console.print(f"  {line}", highlight=False)


def _wait_for_interrupt(console: Console) -> None:
    console.print("[bold]running[/]; Ctrl-C stops everything")
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)
    while not stopped:
        time.sleep(0.2)

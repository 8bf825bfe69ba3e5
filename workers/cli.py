"""The `driftline` command: one group, each command loaded only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

# name -> "module:attribute". A command's module is imported when it runs, so that `driftline --help` answers at once.
COMMANDS: Mapping[str, str] = {
    "local": "workers.local.cli:local",
    "topics": "workers.topics:topics",
    "init": "workers.generations:init",
    "rebuild": "workers.generations:rebuild",
    "switch": "workers.generations:switch",
    "drop": "workers.generations:drop",
    "worker": "workers.run:worker",
    "push": "workers.push.cli:push",
    "replay": "workers.replay.cli:replay",
    "inspect": "workers.inspect:inspect",
    "why": "workers.why:why",
    "dead-letters": "workers.dead_letters:dead_letters",
    "settings": "workers.show_settings:settings",
    "demo": "workers.demo.cli:demo",
}


class LazyGroup(click.Group):
    """A click group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings come from the environment (DRIFTLINE_*); docs/operations.md lists them.",
)
@click.version_option(package_name="driftline")
def main() -> None:
    """Driftline: streaming recommendations for shops that already run Kafka.

    \b
    First steps on one machine, with real servers from pip:
      driftline local up
      driftline topics create
      driftline init --from earliest
      driftline worker
      driftline push
    """

"""What every command shares: settings from the environment, and errors as one clear line instead of a traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from streams.settings import Settings, SettingsError, from_env

P = ParamSpec("P")
T = TypeVar("T")


def command_settings(**override: object) -> Settings:
    """The settings, or a usage error that names the variable."""
    try:
        return from_env(**override)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


def errors_as_messages(command: Callable[P, T]) -> Callable[P, T]:
    """Known failures of servers and checks become `Error: ...` and exit code 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        from streams.broker import BrokerError
        from streams.incarnation import RefusedError
        from streams.store.protocol import StoreUnavailableError

        try:
            return command(*args, **kwargs)
        except (BrokerError, RefusedError, StoreUnavailableError) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)

    return run

"""Servers: a Kafka and a Redis to work with, found or started.

For each of the two, in this order: an address in the environment; a Docker container, only when asked for; else the
embedded server from pip.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from workers.local.kafka import Kafka
from workers.local.process import LocalServerError
from workers.local.valkey import Valkey

_HOW = "DRIFTLINE_TEST_SERVERS"


class Servers:
    """A context manager that gives `kafka` (bootstrap servers) and `redis` (URL).

    data        folder for the embedded servers' data, kept; None: temporary ones
    env_prefix  PREFIX + "KAFKA" and PREFIX + "REDIS" in the environment give addresses of running servers
    environ     instead of os.environ

    DRIFTLINE_TEST_SERVERS is "embedded" (default) or "containers". The embedded Valkey has an append-only file with
    fsync every second, so that a restart keeps its data.

    Raises LocalServerError: an address does not answer, no Docker engine answers, the extra is missing, or a server
    does not start.

        with Servers() as servers:
            print(servers.kafka, servers.redis)   # 127.0.0.1:14817 redis://127.0.0.1:19034/0
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        env_prefix: str = "DRIFTLINE_TEST_",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._data = data
        self._prefix = env_prefix
        self._env = os.environ if environ is None else environ
        self._stack = ExitStack()
        self._kafka: str | None = None
        self._redis: str | None = None
        self.kafka_server: Kafka | None = None
        """The embedded broker (restart, kill), None when it is not ours."""
        self.valkey: Valkey | None = None
        """The embedded Valkey (restart, kill), None when it is not ours."""

    @property
    def kafka(self) -> str:
        """Bootstrap servers, host:port[,host:port]. Raises LocalServerError before `start`."""
        return _started(self._kafka, "Kafka")

    @property
    def redis(self) -> str:
        """URL of a Redis or Valkey. Raises LocalServerError before `start`."""
        return _started(self._redis, "Redis")

    def start(self) -> Self:
        """Find or start both servers and return when they are ready."""
        try:
            self.start_redis()
            self.start_kafka()
        except BaseException:
            self.close()
            raise
        return self

    def start_redis(self) -> str:
        """Find or start Redis alone, unless that is done; returns its URL."""
        if self._redis is None:
            self._redis = self._given("REDIS", "redis") or self._launch_redis()
        return self._redis

    def start_kafka(self) -> str:
        """Find or start Kafka alone, unless that is done; returns its bootstrap servers."""
        if self._kafka is None:
            self._kafka = self._given("KAFKA", "kafka") or self._launch_kafka()
        return self._kafka

    def close(self) -> None:
        """Stop what was started here."""
        self._stack.close()
        self._kafka = self._redis = None
        self.kafka_server = self.valkey = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _given(self, name: str, scheme: str) -> str | None:
        """The address in the environment, after a look whether something listens there."""
        variable = self._prefix + name
        address = self._env.get(variable, "")
        if not address:
            return None
        url = urlsplit(address if "://" in address else f"{scheme}://{address.split(',')[0]}")
        try:
            host, port = url.hostname or "127.0.0.1", url.port or (9092 if scheme == "kafka" else 6379)
            with socket.create_connection((host, port), timeout=5):
                return address
        except ValueError:
            raise LocalServerError(f"{variable}: not an address of the form host:port; correct or unset it") from None
        except OSError as error:
            raise LocalServerError(
                f"{variable}: nothing answers at {host}:{port} ({error.strerror or error}); start that server, correct "
                "the variable, or unset it to use the embedded one"
            ) from None

    def _launch_redis(self) -> str:
        if self._containers():
            from workers.local.containers import start_valkey

            return self._stack.enter_context(start_valkey())
        self.valkey = self._stack.enter_context(Valkey(self._folder("valkey"), appendonly=True))
        return self.valkey.url

    def _launch_kafka(self) -> str:
        if self._containers():
            from workers.local.containers import start_kafka

            return self._stack.enter_context(start_kafka())
        self.kafka_server = self._stack.enter_context(Kafka(self._folder("kafka")))
        return self.kafka_server.bootstrap

    def _folder(self, name: str) -> Path | None:
        return None if self._data is None else self._data / name

    def _containers(self) -> bool:
        how = self._env.get(_HOW) or "embedded"
        if how not in {"embedded", "containers"}:
            raise LocalServerError(f"{_HOW}={how!r}: it takes embedded or containers")
        return how == "containers"


def _started(address: str | None, name: str) -> str:
    if address is None:
        raise LocalServerError(f"{name} is not started: use `with Servers() as servers:`")
    return address

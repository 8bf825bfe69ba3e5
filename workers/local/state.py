"""What `driftline local` remembers of the servers it started: a JSON file in their data folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from workers.local.process import LocalServerError, accepts

_SAME_START_S = 2.0  # a pid is reused long after; the clock that dates process starts may drift a little


class Running(msgspec.Struct, frozen=True):
    """One started server."""

    name: str
    address: str
    """host:port"""
    pid: int
    created: float
    """The process's start, seconds since 1970: tells it from a later process with the same pid."""
    version: str
    data: str

    @classmethod
    def of(cls, *, name: str, address: str, pid: int, version: str, data: Path) -> Running:
        """The record of a server that runs now."""
        return cls(name, address, pid, psutil.Process(pid).create_time(), version, str(data))

    @property
    def since(self) -> datetime:
        """When it was started, UTC."""
        return datetime.fromtimestamp(self.created, UTC)

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return bool(
                process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.created) < _SAME_START_S
            )
        except psutil.NoSuchProcess:
            return False

    @property
    def up(self) -> bool:
        """Whether it runs and accepts connections."""
        return self.alive and accepts(int(self.address.rpartition(":")[2]))

    def stop(self, grace_s: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after `grace_s` seconds."""
        for signum, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            if not self.alive:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)
            deadline = time.monotonic() + wait_s
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.05)


def state_folder(environ: Mapping[str, str] | None = None) -> Path:
    """XDG_STATE_HOME/driftline/local, else ~/.local/state/driftline/local."""
    env = os.environ if environ is None else environ
    return Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state").expanduser() / "driftline" / "local"


class State:
    """The servers recorded in a folder, by name ("kafka", "valkey").

    Raises LocalServerError when the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self._file = self.folder / "state.json"

    def read(self) -> dict[str, Running]:
        """The recorded servers, dead ones included; none when nothing was started."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, Running])
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            raise LocalServerError(f"{self._file}: {error}; stop the servers by hand and remove the file") from None

    def record(self, server: Running) -> None:
        """Add or replace one server."""
        part = self._file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode({**self.read(), server.name: server}))
        part.replace(self._file)

    def forget(self) -> None:
        """Remove the record of all servers."""
        self._file.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` at a time in this folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / "lock").open("w")
        except OSError as error:
            raise LocalServerError(f"{self.folder}: {error.strerror}; choose another folder with --data") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

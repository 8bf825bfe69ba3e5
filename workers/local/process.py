"""One child process: its own session, a log file, and never an orphan unless it is meant to outlive us."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import IO

HOST = "127.0.0.1"
# Below the range the kernel hands to outgoing connections (else a client that reconnects to a stopped server can
# connect to itself and hold the port), and low enough for a Cluster bus at port + 10000.
PORTS = range(10_000, 22_000)

# The kernel kills the child when we die. A trampoline, because code between fork and exec is unsafe under threads.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
# Elsewhere (macOS; a thread that may end before the process): a shell waits for our end of a pipe to close.
_WATCHER = 'read -r _; kill -KILL "-$1" 2>/dev/null'


class LocalServerError(Exception):
    """A local server cannot start, or stopped; the message says what to do."""


class PortTakenError(LocalServerError):
    """Another process took the port between the choice and the bind."""


def require(module: str) -> ModuleType:
    """Import a module of the extra `driftline[local]`.

    Raises LocalServerError naming the pip command when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise LocalServerError(
            f"{error.name} is not installed; local servers need an extra: pip install 'driftline[local]'"
        ) from None


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(*, bus: bool = False) -> int:
    """A free TCP port of PORTS, drawn at random; with `bus`, port + 10000 is free as well.

    Raises LocalServerError when 200 draws find none.
    """
    for port in random.sample(PORTS, 200):
        if is_free(port) and (not bus or is_free(port + 10_000)):
            return port
    raise LocalServerError(f"no free port on {HOST} between {PORTS.start} and {PORTS.stop}; stop some servers")


def accepts(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:port."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


class Process:
    """A running child.

    command   absolute path of the program and its arguments
    log       file its output is appended to
    detached  True: it outlives this process (`driftline local up`); False: it dies with it, even by SIGKILL

    Raises LocalServerError when the program cannot be executed.
    """

    def __init__(self, command: Sequence[str | Path], *, log: Path, cwd: Path, detached: bool = False) -> None:
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        self._owner = os.getpid()
        self._watcher: subprocess.Popen[bytes] | None = None
        argv = [str(part) for part in command]
        by_kernel = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
        if not detached and by_kernel:
            argv = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(self._owner), *argv]
        with log.open("ab") as out:
            self._child = _spawn(argv, cwd=cwd, out=out)
        if detached:
            # Popen's finaliser would complain about a child that still runs; we mean it to.
            self._child.returncode = 0
        elif not by_kernel:
            self._watcher = _spawn(["/bin/sh", "-c", _WATCHER, "watcher", str(self.pid)], cwd=cwd, pipe=True)
        self._detached = detached

    @property
    def pid(self) -> int:
        """Process id; of its group as well."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it runs now."""
        if not self._detached:
            return self._child.poll() is None
        try:
            return os.waitpid(self.pid, os.WNOHANG) == (0, 0)
        except ChildProcessError:
            return False

    def output(self) -> str:
        """What this process wrote to its log so far."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def tail(self, lines: int = 12) -> str:
        """The last lines of its output, for an error message."""
        return "\n".join(f"  | {line}" for line in self.output().splitlines()[-lines:])

    def stop(self, grace_s: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after `grace_s` seconds. Does nothing in a fork of the process that started it."""
        self._end(signal.SIGTERM, grace_s)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._end(signal.SIGKILL, 10.0)

    def _end(self, signum: signal.Signals, grace_s: float) -> None:
        if os.getpid() != self._owner:
            return
        if self._detached:
            self._child.returncode = None  # ours again, to wait for
            self._detached = False
        self._signal(signum)
        try:
            self._child.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._child.wait()
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None

    def _signal(self, signum: signal.Signals) -> None:
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signum)


def _spawn(argv: list[str], *, cwd: Path, out: IO[bytes] | None = None, pipe: bool = False) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603  # our own commands
            argv,
            cwd=cwd,
            stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
            stdout=out or subprocess.DEVNULL,
            stderr=subprocess.STDOUT if out else subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone: we stop the servers in order
        )
    except OSError as error:
        raise LocalServerError(f"cannot run {argv[0]}: {error.strerror}") from None

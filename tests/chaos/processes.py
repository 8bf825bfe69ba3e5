"""Driftline's processes as the suite runs them: real ones, forked from a warm parent so that restarts are cheap.

The parent (multiprocessing's fork server) has imported everything and compiled the kernel; it holds no connection and
no state. A child is `driftline ARGUMENTS` in its own process with its own environment and log.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    paths = os.environ.get("PYTHONPATH", "")
    if str(ROOT) not in paths.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), paths)))
    context.set_forkserver_preload(["tests.chaos.warm"])
    return context


def run(arguments: Sequence[str], environment: Mapping[str, str], log: str, mutant: str) -> None:
    """The child: from here on it is `driftline ARGUMENTS`."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    from streams import failpoints

    failpoints._ODDS.update(failpoints._parse(environment.get("DRIFTLINE_FAILPOINTS", "")))
    if mutant:
        from tests.chaos.mutants import MUTANTS

        MUTANTS[mutant]()
    from workers.cli import main

    sys.argv = ["driftline", *arguments]
    main()


class Process:
    """One process. `code` is None while it runs, -9 after SIGKILL."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path, mutant: str = "") -> None:
        self.log = log
        self._process: Any = _context().Process(
            target=run, args=(list(arguments), dict(environment), str(log), mutant), daemon=False
        )
        self._process.start()

    @property
    def code(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def send(self, signum: signal.Signals) -> None:
        if self.code is None:
            os.kill(self._process.pid, signum)

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, None if it still runs after `timeout_s`."""
        self._process.join(timeout_s)
        return self.code

    def end(self) -> None:
        """SIGKILL, also to a stopped one."""
        if self.code is None:
            self._process.kill()
            self._process.join(10)


class Slot:
    """A place in the deployment, as an orchestrator sees it: whatever process is in it, there should be one."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.starts = 0
        self.codes: Counter[int] = Counter()
        self.process: Process | None = None
        self.frozen = False
        self.instance = ""
        self.mutant = ""
        self._arguments = arguments
        self._environment = environment
        self._folder = folder

    def start(self, *, instance: str = "", **environment: str) -> None:
        """`instance` empty: a dynamic member of its group."""
        self.starts, self.instance = self.starts + 1, instance
        own = {"DRIFTLINE_INSTANCE_ID": instance, **environment}
        log = self._folder / f"{self.name}-{self.starts:03}.log"
        self.process = Process(self._arguments, {**self._environment, **own}, log, self.mutant)

    def reap(self) -> int | None:
        """Take an ended process out; its exit code."""
        if self.process is None or self.process.code is None:
            return None
        code = self.process.code
        self.codes[code] += 1
        self.process, self.frozen = None, False
        return code

    def abandon(self) -> Process:
        """Freeze the process and take it for dead, as an orchestrator does with a node that does not answer."""
        process = self.process
        assert process is not None
        process.send(signal.SIGSTOP)
        self.process = None
        return process

    def send(self, signum: signal.Signals) -> None:
        if self.process is not None:
            self.process.send(signum)
            self.frozen = signum == signal.SIGSTOP

    def end(self) -> None:
        if self.process is not None:
            self.process.end()
            self.reap()

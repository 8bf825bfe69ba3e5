"""No orphan, whatever happens to the parent; and a process that ignores SIGTERM goes as well."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from workers.local import process
from workers.local.process import LocalServerError, Process

PARENT = """
import sys, threading, time
from pathlib import Path
from workers.local.process import Process

def start():
    child = Process(["/bin/sleep", "60"], log=Path(sys.argv[1]) / "log", cwd=Path(sys.argv[1]))
    print(child.pid, flush=True)
    time.sleep(60)

if sys.argv[2] == "main":
    start()
threading.Thread(target=start).start()
"""
SERVERS = """
import time
from workers.local.launcher import Servers

with Servers() as servers:
    print(servers.kafka_server.pid, servers.valkey.pid, servers.kafka_server.data, servers.valkey.data, flush=True)
    time.sleep(60)
"""


def eventually(claim: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path, thread: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), thread], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.kill()
    assert eventually(lambda: gone(child))


def test_kafka_and_valkey_do_not_outlive_a_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVERS], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        kafka, valkey, *folders = parent.stdout.readline().split()
        parent.kill()
    assert eventually(lambda: gone(int(kafka)) and gone(int(valkey)))
    for folder in folders:
        subprocess.run(["rm", "-rf", folder], check=True)


def test_a_thread_that_ends_takes_no_server_with_it(tmp_path: Path) -> None:
    started: list[Process] = []

    def start() -> None:
        started.append(Process(["/bin/sleep", "60"], log=tmp_path / "log", cwd=tmp_path))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert started[0].alive
    started[0].stop()
    assert gone(started[0].pid)


def test_a_process_deaf_to_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    deaf = Process(
        ["/bin/sh", "-c", "trap '' TERM; echo deaf; sleep 60 & wait; wait"], log=tmp_path / "log", cwd=tmp_path
    )
    assert eventually(lambda: "deaf" in deaf.output())
    deaf.stop(grace_s=0.2)
    assert not deaf.alive


def test_only_the_process_that_started_a_child_may_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Process(["/bin/sleep", "60"], log=tmp_path / "log", cwd=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(process.os, "getpid", lambda: 1)  # as in a fork
        child.stop()
    assert child.alive
    child.kill()
    assert not child.alive


def test_a_program_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match="cannot run /no/such/program"):
        Process(["/no/such/program"], log=tmp_path / "log", cwd=tmp_path, detached=True)


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    port = process.free_port(bus=True)
    assert process.is_free(port)
    assert port + 10_000 < 32_768

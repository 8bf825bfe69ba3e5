"""`driftline local up|status|down`, as a user's shell runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers.local.state import State, state_folder

COMMAND = [sys.executable, "-c", "from workers.cli import main; main()", "local"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs one command on a data folder of the test's own; stops what it left behind."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *arguments, "--data", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)

    yield run
    for server in State(tmp_path).read().values():
        server.stop()


def exports(stdout: str) -> dict[str, str]:
    return dict(line.removeprefix("export ").split("=", 1) for line in stdout.splitlines())


def test_up_status_down_as_a_first_user_would(run: Run, tmp_path: Path) -> None:
    before = run("status")
    assert before.returncode == 1
    assert "driftline local up" in before.stderr

    first = run("up")
    assert first.returncode == 0, first.stderr
    addresses = exports(first.stdout)
    assert set(addresses) == {"DRIFTLINE_KAFKA", "DRIFTLINE_REDIS"}
    running = State(tmp_path).read()

    second = run("up")
    assert "already running" in second.stderr
    assert second.stdout == first.stdout
    assert State(tmp_path).read() == running

    status = run("status")
    assert status.returncode == 0
    for server in running.values():
        for shown in (server.name, server.address, str(server.pid), server.version, server.data):
            assert shown in status.stdout

    running["valkey"].stop()
    assert run("status").returncode == 1
    third = run("up")  # brings back the one that is missing, where it was
    assert third.stdout == first.stdout
    assert State(tmp_path).read()["kafka"] == running["kafka"]

    down = run("down")
    assert "kafka stopped" in down.stderr
    assert not any(server.alive for server in running.values())
    assert (tmp_path / "kafka" / "log").exists()
    assert "nothing was running" in run("down", "--wipe").stderr
    assert not (tmp_path / "kafka").exists()


def test_foreground_stops_its_servers_on_sigterm(tmp_path: Path) -> None:
    command = [*COMMAND, "up", "--foreground", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert process.stdout.readline().startswith("export DRIFTLINE_REDIS=")
        running = State(tmp_path).read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not any(server.alive for server in running.values())
    assert State(tmp_path).read() == {}


def test_a_port_that_is_asked_for_and_taken_is_an_error(run: Run, redis_url: str) -> None:
    port = redis_url.rpartition(":")[2].partition("/")[0]
    result = run("up", "--redis-port", port)
    assert result.returncode == 1
    assert f"port {port} is taken" in result.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [*COMMAND, "up", "--data", str(tmp_path / "file" / "x")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert "--data" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_state_folder_follows_xdg() -> None:
    assert state_folder({"XDG_STATE_HOME": "/s"}) == Path("/s/driftline/local")
    assert state_folder({}) == Path.home() / ".local" / "state" / "driftline" / "local"


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_every_command_s_help_has_an_example(command: str) -> None:
    result = subprocess.run([*COMMAND, command, "--help"], capture_output=True, text=True, check=True, timeout=30)
    assert f"driftline local {command}" in result.stdout

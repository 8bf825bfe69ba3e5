"""Kafka's jars: fetched once, checked always, and every failure says what to do."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

import pytest

from workers.local import jars
from workers.local.jars import MANIFEST, Jar, JarError, cache_folder, kafka_jars

JARS = {f"org.example:part-{n}:1.{n}": f"jar number {n}".encode() * 1000 for n in range(6)}


@dataclass
class Repository:
    """A Maven repository on loopback, with a cache folder and a manifest that pins its jars."""

    url: str
    cache: Path
    manifest: Path
    files: dict[str, bytes]
    requests: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        return {"DRIFTLINE_MAVEN_URL": self.url, "DRIFTLINE_CACHE_DIR": str(self.cache)}

    def fetch(self) -> Path:
        return kafka_jars(self.manifest, self.environ)


def path_of(coordinate: str) -> str:
    group, artifact, version = coordinate.split(":")
    return f"/{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            repository.requests.append(self.path)
            body = repository.files.get(self.path)
            status = repository.failures.pop() if repository.failures else 404 if body is None else 200
            self.send_response(status)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    manifest = tmp_path / "kafka-0-jars.tsv"
    manifest.write_text("".join(f"{name}\t{hashlib.sha256(body).hexdigest()}\n" for name, body in JARS.items()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    files = {path_of(name): body for name, body in JARS.items()}
    repository = Repository(url, tmp_path / "cache", manifest, files)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield repository
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_jar_arrives_once_and_is_then_trusted(repository: Repository) -> None:
    folder = repository.fetch()
    assert {path.name for path in folder.glob("*.jar")} == {Jar(name, "").filename for name in JARS}
    assert sorted(repository.requests) == sorted(path_of(name) for name in JARS)
    assert repository.fetch() == folder
    assert len(repository.requests) == len(JARS)
    assert not list(folder.glob("*.part"))


def test_a_damaged_jar_is_fetched_again_and_alone(repository: Repository) -> None:
    folder = repository.fetch()
    (folder / "part-3-1.3.jar").write_bytes(b"damaged")
    repository.requests.clear()
    repository.fetch()
    assert repository.requests == [path_of("org.example:part-3:1.3")]
    assert (folder / "part-3-1.3.jar").read_bytes() == JARS["org.example:part-3:1.3"]


def test_a_lost_or_broken_stamp_costs_a_check_and_no_download(repository: Repository) -> None:
    folder = repository.fetch()
    repository.requests.clear()
    for text in ("", "[]", "{}"):
        (folder / "verified.json").write_text(text)
        repository.fetch()
    os.utime(folder / "part-1-1.1.jar")
    repository.fetch()
    assert repository.requests == []
    assert set(json.loads((folder / "verified.json").read_text())) == {path.name for path in folder.glob("*.jar")}


def test_a_stranger_leaves_the_class_path(repository: Repository) -> None:
    folder = repository.fetch()
    (folder / "stranger-1.0.jar").touch()
    (folder / "verified.json").unlink()
    repository.fetch()
    assert not (folder / "stranger-1.0.jar").exists()


def test_a_wrong_checksum_names_the_file_both_sums_and_a_way_out(repository: Repository) -> None:
    name = "org.example:part-2:1.2"
    repository.files[path_of(name)] = b"something else"
    with pytest.raises(JarError) as caught:
        repository.fetch()
    message = str(caught.value)
    for part in (name, hashlib.sha256(b"something else").hexdigest(), hashlib.sha256(JARS[name]).hexdigest()):
        assert part in message
    assert "DRIFTLINE_MAVEN_URL" in message
    assert not list(repository.cache.rglob("part-2*"))


def test_a_failed_download_goes_on_where_it_stopped(repository: Repository) -> None:
    name = "org.example:part-5:1.5"
    body = repository.files.pop(path_of(name))
    with pytest.raises(JarError):
        repository.fetch()
    have = {path.name for path in repository.cache.rglob("*.jar")}
    assert have
    repository.files[path_of(name)] = body
    repository.requests.clear()
    repository.fetch()
    assert len(repository.requests) == len(JARS) - len(have)


def test_a_missing_jar_names_its_address_and_the_variable(repository: Repository) -> None:
    del repository.files[path_of("org.example:part-0:1.0")]
    with pytest.raises(JarError, match=r"part-0-1\.0\.jar: HTTP 404\. Set DRIFTLINE_MAVEN_URL"):
        repository.fetch()


def test_a_busy_repository_is_asked_again(repository: Repository) -> None:
    repository.failures.append(503)
    repository.fetch()
    assert len(repository.requests) == len(JARS) + 1


def test_offline_names_both_variables_and_hides_the_password(repository: Repository) -> None:
    environ = {**repository.environ, "DRIFTLINE_MAVEN_URL": "http://user:secret@127.0.0.1:9"}
    with pytest.raises(
        JarError, match=r"cannot reach http://127\.0\.0\.1:9/.*HTTPS_PROXY.*DRIFTLINE_MAVEN_URL"
    ) as caught:
        kafka_jars(repository.manifest, environ)
    assert "secret" not in str(caught.value)


def test_a_full_disk_says_how_much_is_needed(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jars, "_download", full)
    with pytest.raises(JarError, match=r"disk is full.*45 MB.*DRIFTLINE_CACHE_DIR"):
        repository.fetch()


def test_a_cache_that_cannot_be_written_names_the_variable(repository: Repository) -> None:
    repository.cache.write_text("a file where a folder should be")
    with pytest.raises(JarError, match="DRIFTLINE_CACHE_DIR"):
        repository.fetch()


def test_two_processes_at_once_download_once(repository: Repository) -> None:
    code = "import pathlib, sys; from workers.local.jars import kafka_jars; kafka_jars(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(repository.manifest)]
    both = [subprocess.Popen(command, env={**os.environ, **repository.environ}) for _ in range(2)]
    assert [process.wait(30) for process in both] == [0, 0]
    assert len(repository.requests) == len(JARS)


def test_the_cache_folder_follows_the_usual_order() -> None:
    assert cache_folder({"DRIFTLINE_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/driftline")
    assert cache_folder({}) == Path.home() / ".cache" / "driftline"


def test_the_manifest_pins_46_jars_with_distinct_names() -> None:
    pinned = [Jar.parse(line) for line in MANIFEST.read_text().splitlines()]
    assert len({jar.filename for jar in pinned}) == len(pinned) == 46
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in pinned)

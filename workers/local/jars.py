"""Kafka's jars: fetched once into a cache folder, every one checked against a pinned SHA-256."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from workers.local.process import LocalServerError, require
from workers.local.progress import Meter, meter

KAFKA_VERSION = "4.3.1"
MANIFEST = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}-jars.tsv")
_THREADS = 4
_ATTEMPTS = 3
_TIMEOUT_S = (10, 60)  # to connect, between two reads
_CHUNK = 1 << 16
_STAMP = "verified.json"


class JarError(LocalServerError):
    """Kafka's jars cannot be fetched or are not what they should be; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned artifact: Maven coordinate and SHA-256 in hexadecimal."""

    coordinate: str
    sha256: str

    @property
    def filename(self) -> str:
        """artifact-version.jar, unique among the pinned ones."""
        _group, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    @classmethod
    def parse(cls, line: str) -> Self:
        """From a line of the manifest: coordinate, tab, SHA-256."""
        coordinate, sha256 = line.split("\t")
        return cls(coordinate, sha256)


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """DRIFTLINE_CACHE_DIR, else XDG_CACHE_HOME/driftline, else ~/.cache/driftline."""
    env = os.environ if environ is None else environ
    if own := env.get("DRIFTLINE_CACHE_DIR"):
        return Path(own).expanduser()
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "driftline"


def kafka_jars(manifest: Path = MANIFEST, environ: Mapping[str, str] | None = None) -> Path:
    """The folder that holds exactly the pinned jars; downloads what is missing (45 MB the first time).

    manifest  lines of coordinate, tab, SHA-256
    environ   DRIFTLINE_CACHE_DIR, XDG_CACHE_HOME and DRIFTLINE_MAVEN_URL are read from it (default: os.environ)

    Jars with the size and modification time they had when they were verified are trusted; others are hashed again, and
    fetched again when the hash differs. Two processes at once: one downloads, the other waits.

    Raises JarError: no network, a wrong checksum, a full or read-only disk.
    """
    env = os.environ if environ is None else environ
    jars = [Jar.parse(line) for line in manifest.read_text().splitlines() if line]
    folder = cache_folder(env) / manifest.stem.removesuffix("-jars")
    try:
        if _verified(folder, jars):
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_suffix(folder.suffix + ".lock")):
            missing = [jar for jar in jars if not _good(folder, jar)]
            if missing:
                _fetch_all(folder, missing, env.get("DRIFTLINE_MAVEN_URL", ""))
            _remove_strangers(folder, jars)
            _write_stamp(folder, jars)
    except OSError as error:
        raise _disk_error(error, folder) from error
    return folder


def _fingerprint(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _stamp(folder: Path) -> dict[str, Any]:
    try:
        stamp = json.loads((folder / _STAMP).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _trusted(folder: Path, jar: Jar, stamp: dict[str, Any]) -> bool:
    path = folder / jar.filename
    return path.exists() and stamp.get(jar.filename) == [jar.sha256, *_fingerprint(path)]


def _verified(folder: Path, jars: list[Jar]) -> bool:
    stamp = _stamp(folder)
    return all(_trusted(folder, jar, stamp) for jar in jars)


def _good(folder: Path, jar: Jar) -> bool:
    path = folder / jar.filename
    if _trusted(folder, jar, _stamp(folder)):
        return True
    if not path.exists():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256


def _write_stamp(folder: Path, jars: list[Jar]) -> None:
    stamp = {jar.filename: [jar.sha256, *_fingerprint(folder / jar.filename)] for jar in jars}
    part = folder / f"{_STAMP}.part"
    part.write_text(json.dumps(stamp))
    part.replace(folder / _STAMP)


def _remove_strangers(folder: Path, jars: list[Jar]) -> None:
    """Everything in the folder is on Kafka's class path, so only the pinned jars may stay."""
    known = {jar.filename for jar in jars}
    for path in folder.iterdir():
        if path.name not in known and path.suffix in {".jar", ".part"}:
            path.unlink()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another process is fetching Kafka's jars; waiting for it ...", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch_all(folder: Path, jars: list[Jar], base: str) -> None:
    downloader_type = require("maven_artifact.downloader").Downloader
    downloader = downloader_type(base) if base else downloader_type()
    with meter(f"Kafka {KAFKA_VERSION}", len(jars)) as progress, ThreadPoolExecutor(_THREADS) as pool:
        futures: list[Future[None]] = [pool.submit(_fetch, downloader, folder, jar, progress) for jar in jars]
        done, pending = wait(futures, return_when=FIRST_EXCEPTION)
        for future in pending:
            future.cancel()
        for future in done:
            future.result()


def _fetch(downloader: Any, folder: Path, jar: Jar, progress: Meter) -> None:
    """One jar: into NAME.part, then renamed, so that a file with its final name is always whole."""
    url = downloader.resolver.uri_for_artifact(require("maven_artifact.artifact").Artifact.parse(jar.coordinate))
    part = folder / f"{jar.filename}.part"
    try:
        got = _download(downloader, url, part, progress)
        if got != jar.sha256:
            raise JarError(
                f"{jar.coordinate}: the file at {_shown(url)} has SHA-256 {got}, expected {jar.sha256}. A proxy or "
                "mirror changed it: try another network, or set DRIFTLINE_MAVEN_URL to a mirror you trust"
            )
        part.replace(folder / jar.filename)
    finally:
        part.unlink(missing_ok=True)
    progress.jar()


def _download(downloader: Any, url: str, part: Path, progress: Meter) -> str:
    """Write the file and return its SHA-256; a failing connection is tried three times."""
    from requests import RequestException

    for attempt in range(1, _ATTEMPTS + 1):
        digest = hashlib.sha256()
        try:
            with (
                downloader.requestor.request(url, None, stream=True, timeout=_TIMEOUT_S) as response,
                part.open("wb") as file,
            ):
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    progress.bytes(len(chunk))
            return digest.hexdigest()
        except RequestException as error:
            status = error.response.status_code if error.response is not None else None
            if error.response is not None:
                error.response.close()
            if attempt == _ATTEMPTS or (status is not None and status < 500 and status != 429):
                raise _network_error(url, status, error) from None
            time.sleep(0.3 * attempt)
    raise AssertionError("unreachable")


def _network_error(url: str, status: int | None, error: Exception) -> JarError:
    shown = _shown(url)
    if status is not None:
        return JarError(
            f"{shown}: HTTP {status}. Set DRIFTLINE_MAVEN_URL to the base URL of a Maven repository that has it"
        )
    return JarError(
        f"cannot reach {shown} ({type(error).__name__}). Kafka's jars are fetched once: check the network; behind a "
        "proxy set HTTPS_PROXY=http://host:port; with a mirror set DRIFTLINE_MAVEN_URL; or copy the cache folder of "
        "another machine and set DRIFTLINE_CACHE_DIR"
    )


def _disk_error(error: OSError, folder: Path) -> JarError:
    if error.errno == errno.ENOSPC:
        return JarError(f"{folder}: the disk is full; Kafka's jars need 45 MB. Free some, or set DRIFTLINE_CACHE_DIR")
    return JarError(f"{folder}: {error.strerror or error}; set DRIFTLINE_CACHE_DIR to a folder that can be written")


def _shown(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

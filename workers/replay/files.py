"""Opening a file for replay: plain, gzip or zip by their first bytes, or standard input; and telling it from others."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import xxhash

STDIN: Final = Path("-")
MAX_LINE_BYTES: Final = 1_048_576
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_CHUNK: Final = 1 << 20


class _Lines(Protocol):
    def readline(self, size: int, /) -> bytes: ...


class FileError(Exception):
    """The file cannot be read as asked; the message names it and says what to do."""


def lines(path: Path, member: str = "") -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line without its end) of a file; `-` is standard input. A byte order mark is dropped.

    path    plain, gzip or zip, told by the first bytes and not by the name
    member  which file of a zip archive; needed when it holds more than one

    A line is cut at 1 MiB: what follows comes as another "line", and neither will be a row.

    Raises FileError for a file that is missing, damaged, or an archive whose member is not clear.
    """
    try:
        with _opened(path, member) as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES):
                number += 1
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                yield number, line.rstrip(b"\r\n")
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise FileError(f"{path}: {error}; is the file complete?") from error


def fingerprint(path: Path) -> str:
    """32 hex digits over a file's bytes as stored (packed if it is packed). Reads all of it once.

    Raises FileError when it cannot be read.
    """
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    return digest.hexdigest()


@contextmanager
def _opened(path: Path, member: str) -> Iterator[_Lines]:
    if path == STDIN:
        yield _unpacked(io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False), _CHUNK))
        return
    with io.BufferedReader(io.FileIO(path), _CHUNK) as stream:
        if stream.read(4) == _ZIP:
            with zipfile.ZipFile(path) as archive, archive.open(_member(path, archive, member)) as inside:
                yield inside
            return
        if member:
            raise FileError(f"{path}: is not a zip archive; leave out --member")
        stream.seek(0)
        yield _unpacked(stream)


def _unpacked(stream: io.BufferedReader[Any]) -> _Lines:
    return gzip.GzipFile(fileobj=stream) if stream.peek(2)[:2] == _GZIP else stream


def _member(path: Path, archive: zipfile.ZipFile, wanted: str) -> str:
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if wanted in names:
        return wanted
    if not wanted and len(names) == 1:
        return names[0]
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    fault = f"holds no {wanted!r}" if wanted else f"holds {len(names)} files"
    raise FileError(f"{path}: {fault}; choose one with --member: {shown}")

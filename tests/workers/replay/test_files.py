"""A file is read alike whether plain, gzip, zip or standard input, and a damaged one says so."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from workers.replay import files
from workers.replay.files import FileError

TEXT = b"\xef\xbb\xbfone\r\ntwo\n\nlast"
LINES = [(1, b"one"), (2, b"two"), (3, b""), (4, b"last")]


def packed(folder: Path, kind: str) -> Path:
    path = folder / f"data.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/data.csv", TEXT)
    else:
        path.write_bytes(gzip.compress(TEXT) if kind == "gz" else TEXT)
    return path


@pytest.mark.parametrize("kind", ["csv", "gz", "zip"])
def test_lines_are_numbered_and_come_without_their_ends(tmp_path: Path, kind: str) -> None:
    assert list(files.lines(packed(tmp_path, kind))) == LINES


@pytest.mark.parametrize("kind", ["csv", "gz"])
def test_standard_input_is_unpacked_too(tmp_path: Path, kind: str) -> None:
    program = "from pathlib import Path; from workers.replay import files; print(list(files.lines(Path('-'))))"
    done = subprocess.run(
        [sys.executable, "-c", program], input=packed(tmp_path, kind).read_bytes(), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == repr(LINES)


def test_an_archive_of_several_files_asks_which(tmp_path: Path) -> None:
    path = tmp_path / "several.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "a")
        archive.writestr("b.csv", "b")
    with pytest.raises(FileError, match=r"holds 2 files; choose one with --member: a\.csv, b\.csv"):
        list(files.lines(path))
    assert list(files.lines(path, "b.csv")) == [(1, b"b")]
    with pytest.raises(FileError, match=r"holds no 'c\.csv'"):
        list(files.lines(path, "c.csv"))


def test_a_cut_archive_and_a_missing_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(TEXT * 1000)[:-20])
    with pytest.raises(FileError, match="is the file complete"):
        list(files.lines(path))
    with pytest.raises(FileError, match="No such file"):
        list(files.lines(tmp_path / "none.csv"))


def test_a_fingerprint_tells_contents_apart_and_not_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 3_000_000)
    (tmp_path / "c").write_bytes(b"x" * 1_500_000 + b"y" + b"x" * 1_499_999)
    a, b, c = (files.fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c

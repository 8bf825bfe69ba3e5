"""A published schema or sample never changes: every sample parses for ever."""

from __future__ import annotations

import hashlib

from tests.schemas.samples import GOOD, REJECTED, SCHEMA_FILES, SCHEMAS, label

PUBLISHED = SCHEMAS / "published.tsv"


def test_no_published_file_changed_or_vanished() -> None:
    for line in PUBLISHED.read_text().splitlines():
        pinned, name = line.split("\t")
        path = SCHEMAS / name
        assert path.exists(), f"schemas/{name} was published and is gone: restore it"
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        assert found == pinned, f"schemas/{name} was published and changed: restore it, and add a new version instead"


def test_every_schema_and_sample_is_published() -> None:
    published = {line.split("\t")[1] for line in PUBLISHED.read_text().splitlines()}
    new = [path for path in (*SCHEMA_FILES, *GOOD, *REJECTED) if label(path) not in published]
    lines = "\n".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}\t{label(path)}" for path in new)
    assert not new, f"new files: once they are as they shall be for ever, append to schemas/published.tsv\n{lines}"

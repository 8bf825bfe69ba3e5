"""A broken row of a file as a record on dead-letters.v1."""

from __future__ import annotations

import time
from typing import Final

from schemas.coordinates import Coordinates
from schemas.dead_letter import MAX_BYTES, dead_letter_headers
from schemas.reasons import Reason, Rejection
from workers.replay.rows import Broken
from workers.replay.target import DeadLetter

SOURCE_FILE: Final = "source_file"
"""Header that says which line of which file it was: "UserBehavior.csv.gz:4171"."""
_NAME_MAX: Final = 249
_REASONS: Final = {str(reason): reason for reason in Reason}


def written(name: str) -> DeadLetter:
    """How broken rows of the file `name` are written: value and headers.

    The file stands in for the topic and the line for the offset; the value is the line as it is in the file.
    """

    def of(row: Broken) -> tuple[bytes, list[tuple[str, str | bytes | None]]]:
        headers = dead_letter_headers(
            Rejection(_REASONS[row.reason], row.detail),
            Coordinates(name[:_NAME_MAX], 0, row.line),
            timestamp=int(time.time() * 1000),
            key=None,
            value=row.raw,
        )
        return row.raw[:MAX_BYTES], [*headers, (SOURCE_FILE, f"{name}:{row.line}".encode())]

    return of

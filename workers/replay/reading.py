"""Between the formats and the order: which rows take part, and what happens to a broken one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from workers.replay.rows import Broken, LeftOut, Row, is_sampled

OnError = Literal["stop", "dead-letter", "skip"]


class BrokenRowError(Exception):
    """A row is broken and the replay was told to stop at one; the message names line, field, value and what to do."""


@dataclass(slots=True)
class Tally:
    """What reading a file came to: rows that take part, and those left out by reason."""

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def taking_part(
    rows: Iterable[Row | LeftOut],
    *,
    name: str,
    tally: Tally,
    on_error: OnError = "stop",
    sample_users: float = 1.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Row]:
    """The rows a replay is made of. Broken ones stay among them, unless on_error is "stop".

    name          of the file, for messages
    tally         counts what goes by
    sample_users  share of the users whose events take part, 0..1
    stopped       asked before every row; True ends the reading

    Raises BrokenRowError at the first broken row when `on_error` is "stop".
    """
    for row in rows:
        if stopped():
            return
        if isinstance(row, LeftOut):
            tally.left_out[row.why] += 1
            continue
        if isinstance(row, Broken):
            if on_error == "stop":
                raise BrokenRowError(
                    f"{name}:{row.line}: {row.reason}: {row.detail}\n"
                    "Mend the file, or choose --on-error dead-letter or --on-error skip."
                )
        elif sample_users < 1 and not is_sampled(row.user_id, sample_users):
            tally.left_out["user-not-in-sample"] += 1
            continue
        tally.rows += 1
        yield row

"""Places where the chaos suite stops a process dead. A no-op unless `DRIFTLINE_FAILPOINTS` is set.

`DRIFTLINE_FAILPOINTS="before-commit=0.01,load=0.02"` kills this process (SIGKILL to itself: no clean-up runs) at the
named places with the given probability. Each hit is first appended to the file `DRIFTLINE_TEST_FAILPOINT_LOG`, so that
a suite can count them.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

LOAD = "load"
DECIDE = "decide"
MID_EMIT = "mid-emit"
BEFORE_COMMIT = "before-commit"
AFTER_COMMIT = "after-commit"
BEFORE_ACK = "before-ack"
PUSH_BEFORE_TRANSACTION = "push-before-transaction"
PUSH_IN_TRANSACTION = "push-in-transaction"
PUSH_AFTER_TRANSACTION = "push-after-transaction"
NAMES = (
    LOAD,
    DECIDE,
    MID_EMIT,
    BEFORE_COMMIT,
    AFTER_COMMIT,
    BEFORE_ACK,
    PUSH_BEFORE_TRANSACTION,
    PUSH_IN_TRANSACTION,
    PUSH_AFTER_TRANSACTION,
)


def _parse(text: str) -> dict[str, float]:
    odds = {}
    for part in filter(None, text.split(",")):
        name, _, probability = part.partition("=")
        if name not in NAMES:
            raise ValueError(f"DRIFTLINE_FAILPOINTS: {name!r} is not one of {', '.join(NAMES)}")
        odds[name] = float(probability)
    return odds


_ODDS = _parse(os.environ.get("DRIFTLINE_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """Die here with the configured probability; without configuration, do nothing."""
    if _ODDS and random.random() < _ODDS.get(name, 0.0):  # noqa: S311  # when to die need not be secret
        log = os.environ.get("DRIFTLINE_TEST_FAILPOINT_LOG")
        if log:
            with Path(log).open("a") as file:
                file.write(f"{name}\n")
        os.kill(os.getpid(), signal.SIGKILL)

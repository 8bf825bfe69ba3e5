"""A small scenario that each of the mutants fails: a link message is lost, and a zombie meets whoever took over."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

from tests.chaos.findings import Findings
from tests.chaos.mutants import LOSE
from tests.chaos.plan import SHORT
from tests.chaos.suite import Suite

PLAN = replace(
    SHORT.without_push(),
    events=6000,
    rate=1e9,
    workers=2,
    hits=0,
    kills=0,
    zombies=0,
    twins=0,
    scopes=(),
    idle_scope="",
    broker_restart=False,
    batch_max_records=150,
    session_timeout_ms=1500,
)


def duel(suite: Suite) -> Findings:
    """Loss, then duel, then everything is applied and compared."""
    one, other = suite.slots
    _produce(suite, PLAN.events // 3)
    one.start(**{LOSE: "20", "DRIFTLINE_BATCH_MAX_RECORDS": "40"})
    suite.until("a lost message", lambda: one.reap() is not None or suite.commits("u") > 20)
    one.end()
    _produce(suite, PLAN.events)
    before = suite.commits("u")
    one.start()
    suite.until("work in progress", lambda: suite.commits("u") > before + 4)
    one.send(signal.SIGSTOP)  # with batches in hand
    before = suite.commits("u")
    other.start(DRIFTLINE_BATCH_MAX_RECORDS="40")
    suite.until("somebody to take over", lambda: suite.commits("u") > before + 6)
    other.end()
    one.send(signal.SIGCONT)
    one.frozen = False
    time.sleep(0.5)  # what it has in hand, it works on before it hears of its dismissal
    suite.catch_up()
    suite.settle()
    return suite.compare()


def _produce(suite: Suite, events: int) -> None:
    while suite.feed.events < events:
        suite.feed.produce(lambda: 0)
    suite.feed.finish()

"""What goes wrong beside the failpoints: random kills, zombies, restarts of the servers, and Valkey put back."""

from __future__ import annotations

import signal
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.chaos.findings import Findings
from tests.chaos.processes import Process
from tests.chaos.put_back import Snapshot

if TYPE_CHECKING:
    from tests.chaos.processes import Slot
    from tests.chaos.suite import Suite

TWIN_CODES = {-9, 0, 1, 4}  # -9: a failpoint; None would be one that never noticed


class Disturbances:
    """Everything at random moments of the seed, until each has happened as often as planned."""

    def __init__(self, suite: Suite) -> None:
        self._suite, self._plan, self._rng = suite, suite.plan, suite.rng
        self.counts: Counter[str] = Counter()
        self.put_backs: dict[str, list[int]] = defaultdict(list)
        self.idle: Snapshot | None = None
        """What Valkey is put back to when nothing flows any more."""
        self.woken: list[tuple[str, Process]] = []
        self._scopes = list(self._plan.scopes)
        self._snapshot: Snapshot | None = None
        self._zombies: list[tuple[Slot, float]] = []
        self._twins: list[tuple[str, Process, float]] = []  # replaced ones that still sleep
        self._next_s = time.monotonic() + 3.0
        self._begun_s = time.monotonic()

    def __str__(self) -> str:
        told = [f"{name} {count}" for name, count in self.counts.items()]
        return ", ".join([*told, f"put back {sum(map(len, self.put_backs.values()))}"])

    @property
    def done(self) -> bool:
        plan, idle = self._plan, self.idle
        if plan.idle_scope and (idle is None or self._suite.valkeys.commits_since(idle) < plan.commits):
            return False
        return not (self._scopes or self._zombies or self._twins or self._left())

    def _left(self) -> list[str]:
        plan, counts = self._plan, self.counts
        wanted = {
            "SIGKILL": plan.kills,
            "SIGTERM": plan.kills,
            "zombie": plan.zombies,
            "twin": plan.twins,
            "broker restart": int(plan.broker_restart),
            "store restart": int(plan.store_restart and not plan.cluster),
        }
        return [name for name, count in wanted.items() if counts[name] < count]

    def turn(self) -> None:
        """One look: is something due?"""
        self._wake()
        self._put_back()
        left = self._left()
        if not left or time.monotonic() < self._next_s:
            return
        share = max(0.2, 1 - self._suite.feed.events / self._plan.events)
        remaining_s = max(1.0, share * self._plan.events / self._plan.rate)
        todo = sum(max(0, self._plan.kills - self.counts[name]) for name in ("SIGKILL", "SIGTERM"))
        todo += sum(max(0, self._plan.zombies - self.counts[name]) for name in ("zombie",)) + 2
        self._next_s = time.monotonic() + self._rng.uniform(0.2, 1.8) * min(8.0, remaining_s / todo)
        self._do(self._rng.choice(left))

    def _do(self, what: str) -> None:
        suite = self._suite
        running = [slot for slot in suite.slots if slot.process is not None and not slot.frozen]
        if what == "broker restart":
            if suite.feed.events < self._plan.events // 4:
                return
            suite.kafka.kill()
            suite.kafka.start()
        elif what == "store restart":
            suite.valkey.kill()
            time.sleep(1.0)
            suite.valkey.start()
            suite.valkeys.listen()
        elif not running:
            return
        elif what == "zombie":
            slot = self._rng.choice(running)
            slot.send(signal.SIGSTOP)
            beyond_s = self._plan.session_timeout_ms / 1000 * self._rng.uniform(1.3, 2.2)
            self._zombies.append((slot, time.monotonic() + beyond_s))
        elif what == "twin":
            static = [slot for slot in running if slot.instance]
            if not static:
                return
            slot = self._rng.choice(static)
            at_s = time.monotonic() + self._rng.uniform(1.0, self._plan.session_timeout_ms / 500)
            self._twins.append((slot.name, slot.abandon(), at_s))
            suite.refill(slot, slot.instance)
        else:
            self._rng.choice(running).send(signal.Signals[what])
        self.counts[what] += 1

    def _wake(self, *, all_of_them: bool = False) -> None:
        for slot, at_s in list(self._zombies):
            if all_of_them or time.monotonic() > at_s:
                slot.send(signal.SIGCONT)
                slot.frozen = False
                self._zombies.remove((slot, at_s))
        for name, process, at_s in list(self._twins):
            if all_of_them or time.monotonic() > at_s:
                process.send(signal.SIGCONT)
                self._twins.remove((name, process, at_s))
                self.woken.append((name, process))

    def _put_back(self) -> None:
        """Remember, wait until every partition has made its commits, put back; then the next scope."""
        valkeys = self._suite.valkeys
        if not self._scopes and self.idle is None and self._plan.idle_scope:
            self.idle = valkeys.take(self._plan.idle_scope)
        if not self._scopes or self._suite.feed.events < self._plan.events // 50:
            return
        if self._snapshot is None:
            self._snapshot = valkeys.take(self._scopes[0])
        commits = valkeys.commits_since(self._snapshot)
        if commits >= self._plan.commits:
            valkeys.put_back(self._snapshot)
            self.put_backs[self._snapshot.scope].append(commits)
            self._scopes.pop(0)
            self._snapshot = None

    def end(self) -> None:
        """Everybody is awake again."""
        self._wake(all_of_them=True)

    def bury(self) -> None:
        """Nobody stays behind."""
        for _, process, *_ in [*self._twins, *self.woken]:
            process.end()

    def judge(self, findings: Findings) -> None:
        """Was everything done that was planned? Did those that were replaced give up when they woke?"""
        for name, process in self.woken:
            code = process.wait(0.1)
            process.end()
            findings.holds(
                "twins", f"{name} woke beside its replacement and ended with {code}", fine=code in TWIN_CODES
            )
        for name in self._left():
            findings.differ("disturbances", f"{name}: {self.counts[name]} times only")
        for scope in self._plan.scopes:
            fine = len(self.put_backs[scope]) >= 1
            findings.holds("disturbances", f"{scope} was never put back", fine=fine)

    def table(self) -> list[tuple[str, str]]:
        names = {
            "u": "stage 1",
            "i": "stage 2",
            "ui": "both stages",
            "n": "push",
            "uin": "everything",
            "idle": "while idle",
        }
        rows = [(name, str(count)) for name, count in self.counts.items()]
        rows += [
            (f"put back: {names.get(scope, scope)}", f"{commits} commits at least")
            for scope, commits in self.put_backs.items()
        ]
        return rows

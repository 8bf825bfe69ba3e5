"""One run: servers, processes, events and everything that goes wrong; then the comparison."""

from __future__ import annotations

import random
import secrets
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.cluster import RedisCluster

from streams.broker import BrokerError
from streams.incarnation import keyspace
from streams.settings import from_env
from tests.chaos.compare import World, compare_keys, compare_rejects, compare_streams
from tests.chaos.compare_push import compare_push, lag
from tests.chaos.compare_views import compare_views
from tests.chaos.disturbances import Disturbances
from tests.chaos.feed import Feed
from tests.chaos.findings import Findings
from tests.chaos.plan import PUSH_FAILPOINTS, STREAM_FAILPOINTS, Plan
from tests.chaos.processes import Slot
from tests.chaos.put_back import Valkeys
from tests.system.harness import System
from workers.local.kafka import Kafka
from workers.local.valkey import Valkey
from workers.local.valkey_cluster import ValkeyCluster

# -15: asked to stop before it could listen. 4: restart me. 1: push, fenced.
# 5: asked to stop while it joined its group, it hung and gave up after 20 s.
# -6: seen once, cause not found: the C library aborted after a transaction of a former zombie had failed.
EXPECTED_CODES = {"worker": {-15, -9, 0, 4, 5}, "push": {-15, -9, -6, 0, 1}}
Show = Callable[[str], object]


class Suite:
    """Use as a context manager. `run` disturbs and ends calm; `compare` says what came of it."""

    def __init__(
        self,
        plan: Plan,
        folder: Path | None = None,
        show: Show = str,
        servers: tuple[str, str] | None = None,
    ) -> None:
        self.plan, self.show = plan, show
        self._servers = servers
        self.folder = folder or Path(tempfile.mkdtemp(prefix="driftline-chaos-"))
        self.rng = random.Random(plan.seed)
        self.findings = Findings()
        self._stack = ExitStack()
        self._hits_log = self.folder / "failpoints.log"
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        plan, stack = self.plan, self._stack
        kafka, url = self._servers or self._own_servers()
        client: Any = RedisCluster.from_url(url.replace("+cluster", "", 1)) if plan.cluster else Redis.from_url(url)
        nodes = [node.redis_connection for node in client.get_primaries()] if plan.cluster else [client]
        namespace = f"chaos-{secrets.token_hex(4)}"
        self.environment = plan.environment(kafka, url, namespace, str(self._hits_log))
        self.settings = from_env(dict(self.environment))
        prefix = len("DRIFTLINE_")
        rest = {k[prefix:].lower(): v for k, v in self.environment.items() if k not in _NAMED}
        self.system = stack.enter_context(System(kafka, url, namespace, self.folder, **rest))
        self.system.set_up()
        self.valkeys = Valkeys(nodes, client, keyspace(self.settings, 1))
        stack.callback(self.valkeys.close)
        self.feed = Feed(plan, self.settings)
        self.slots = [Slot(f"worker-{n}", ["worker"], self.environment, self.folder) for n in range(plan.workers)]
        self.slots += [Slot(f"push-{n}", ["push"], self.environment, self.folder) for n in range(plan.pushers)]
        for slot in self.slots:
            slot.mutant = plan.mutant
            stack.callback(slot.end)
        self.disturbances = Disturbances(self)
        stack.callback(self.disturbances.bury)

    def _own_servers(self) -> tuple[str, str]:
        """Ours alone: the broker is restarted and the store put back."""
        self.kafka = self._stack.enter_context(Kafka())
        if self.plan.cluster:
            return self.kafka.bootstrap, self._stack.enter_context(ValkeyCluster()).url
        self.valkey = self._stack.enter_context(Valkey(appendonly=True))
        return self.kafka.bootstrap, self.valkey.url

    # --- processes ---

    def hits(self) -> Counter[str]:
        """How often each failpoint has killed a process."""
        return Counter(self._hits_log.read_text().split()) if self._hits_log.exists() else Counter()

    def tend(self, *, calm: bool = False) -> None:
        """Restart whatever ended, with the failpoints that were hit least; without any when `calm`."""
        for slot in self.slots:
            code = slot.reap()
            kind = slot.name.split("-")[0]
            if code is not None and code not in EXPECTED_CODES[kind]:
                self.findings.differ("exit codes", f"{slot.name} start {slot.starts}: {code}; see {self.folder}")
            if slot.process is None:
                self.refill(slot, slot.name if self.rng.random() < 0.7 else "", calm=calm)

    def refill(self, slot: Slot, instance: str, *, calm: bool = False) -> None:
        """A new process in a slot, with this name in its group ("" for a dynamic member)."""
        kind = slot.name.split("-")[0]
        slot.start(instance=instance, DRIFTLINE_FAILPOINTS="" if calm else self._failpoints(kind))

    def _failpoints(self, kind: str) -> str:
        hits = self.hits()
        names = list(PUSH_FAILPOINTS if kind == "push" else STREAM_FAILPOINTS)
        self.rng.shuffle(names)
        rarest = sorted(names, key=lambda name: hits[name])[:2]
        odds = self.plan.push_odds if kind == "push" else self.plan.odds
        return ",".join(f"{name}={odds if hits[name] < self.plan.hits else odds / 5}" for name in rarest)

    def short_of_hits(self) -> bool:
        hits = self.hits()
        return any(hits[name] < self.plan.hits for name in self.plan.failpoints)

    # --- the run ---

    def run(self) -> None:
        """Disturb until all that is planned has happened, then let it catch up, put back while idle, and stop."""
        for _ in self._turns("the plan", self.plan.timeout_s):
            self.tend()
            self.feed.produce(self.lag_of_events)
            self.disturbances.turn()
            if self.feed.enough and not self.short_of_hits() and self.disturbances.done:
                break
        self.disturbances.end()
        self.feed.finish()
        self.catch_up()
        if self.plan.idle_scope:
            self._put_back_while_idle()
        self.settle()

    def catch_up(self) -> None:
        for _ in self._turns("the workers to catch up", 120.0, pause_s=0.25):
            self.tend(calm=True)
            if self._lag() == 0:
                return

    def commits(self, family: str) -> int:
        """Commits of a family of keys so far."""
        self.valkeys.count()
        return sum(self.valkeys.commits[shard.checkpoint] for shard in self.valkeys.shards(family))

    def until(self, what: str, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Watch, and leave the processes alone."""
        for _ in self._turns(what, timeout_s, pause_s=0.005):
            if condition():
                return

    def _put_back_while_idle(self) -> None:
        """Nothing flows: only the idle check can notice."""
        before, idle = self._restarts(), self.disturbances.idle
        assert idle is not None
        self.disturbances.put_backs["idle"].append(self.valkeys.commits_since(idle))
        self.valkeys.put_back(idle)
        for _ in self._turns("idle workers to notice that Valkey was put back", 90.0, pause_s=0.25):
            self.tend(calm=True)
            if self._lag() == 0 and self._restarts() > before:
                return

    def settle(self) -> None:
        """Views are derived, every process stops when asked, and nothing is left to do."""
        until = time.monotonic() + 2.0
        for _ in self._turns("views", 30.0):
            self.tend(calm=True)
            if time.monotonic() > until:
                break
        for slot in self.slots:
            slot.send(signal.SIGTERM)
        for slot in self.slots:
            if slot.process is not None:
                code = slot.process.wait(30.0)
                self.findings.equal("clean stops", slot.name, code, 0)
                slot.end()

    def _restarts(self) -> int:
        return sum(slot.codes[4] for slot in self.slots)

    def _turns(self, what: str, timeout_s: float, pause_s: float = 0.05) -> Iterator[None]:
        begun = time.monotonic()
        shown = 0.0
        while True:
            now = time.monotonic()
            if now - begun > timeout_s:
                raise TimeoutError(f"waited {timeout_s:.0f} s for {what}: {self.progress()}; logs in {self.folder}")
            if now - shown > 5.0:
                shown = now
                self.show(f"{now - self._started:4.0f} s, {what}: {self.progress()}")
            self.valkeys.count()
            yield
            time.sleep(pause_s)

    def progress(self) -> str:
        hits = self.hits()
        least = min((hits[name] for name in self.plan.failpoints), default=0)
        return f"{self.feed.events} events, every failpoint hit {least} times or more, {self.disturbances}"

    def lag_of_events(self) -> int:
        """Behaviour events produced and not applied yet, about."""
        try:
            checkpoints = self.system.checkpoints()
        except Exception:  # noqa: BLE001  # the store is being restarted: produce nothing now
            return 1 << 30
        return self.feed.events - sum(
            c.watermark for (topic, _), c in checkpoints.items() if "behaviour-events" in topic
        )

    def _lag(self) -> int:
        """Records that a stage or the push worker has still to take in."""
        try:
            return self.system.lag() or (lag(self.settings) if self.plan.pushers else 0)
        except BrokerError:
            return 1

    # --- the verdict ---

    def compare(self) -> Findings:
        findings = self.findings
        world = World(self.settings, self.valkeys._keys, self.valkeys)
        stage1, stage2 = compare_streams(world, findings)
        if self.plan.pushers:
            compare_push(world, findings, stage1)
        compare_views(world, findings, stage1, stage2)
        compare_rejects(world, findings)
        compare_keys(world, findings)
        findings.require("users", "items", "link rows", "interest changes", "dead letters", "checkpoints", "keys")
        self.disturbances.judge(findings)
        hits = self.hits()
        for name in self.plan.failpoints:
            findings.holds(
                "failpoints",
                f"{name}: hit {hits[name]} times, {self.plan.hits} wanted",
                fine=hits[name] >= self.plan.hits,
            )
        return findings

    def table(self) -> list[tuple[str, str]]:
        """What was done, and what was compared."""
        codes = Counter(
            {kind: sum((s.codes for s in self.slots if s.name.startswith(kind)), Counter()) for kind in EXPECTED_CODES}
        )
        hits = self.hits()
        return [
            ("seconds", f"{time.monotonic() - self._started:.0f}"),
            ("behaviour events", f"{self.feed.events}"),
            *((f"failpoint {name}", str(hits[name])) for name in self.plan.failpoints),
            *self.disturbances.table(),
            *(
                (f"{kind} exits", ", ".join(f"{c}: {n}" for c, n in sorted(found.items())))
                for kind, found in codes.items()
            ),
            *((what, str(count)) for what, count in self.findings.noted.items()),
            *((f"compared: {check}", str(count)) for check, count in self.findings.compared.items()),
        ]


_NAMED = {"DRIFTLINE_KAFKA", "DRIFTLINE_REDIS", "DRIFTLINE_NAMESPACE"}

"""What one run of the suite does: how much, how often, and under which settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from streams import failpoints

STREAM_FAILPOINTS = tuple(name for name in failpoints.NAMES if not name.startswith("push-"))
PUSH_FAILPOINTS = tuple(name for name in failpoints.NAMES if name.startswith("push-"))

# Short enough that profiles and items expire and landmarks move while the suite runs, and that drifts are frequent.
LEARNING = {
    "profile_horizon_s": 20 * 86_400.0,
    "item_horizon_s": 12 * 86_400.0,
    "affinity_half_life_s": 1.5 * 86_400.0,
    "count_half_life_s": 2 * 86_400.0,
    "recency_half_life_s": 0.5 * 86_400.0,
    "dormant_after_s": 10 * 86_400.0,
}


@dataclass(frozen=True)
class Plan:
    """How much is done to how many.

    events      behaviour events at least; more while a count is short
    rate        events a second at most
    workers     stream worker processes; pushers: push worker processes, 0 leaves push out
    hits        times each failpoint must be hit
    kills       SIGKILL and SIGTERM at random moments, each; zombies: SIGSTOP beyond the session timeout, then SIGCONT
    twins       a process is stopped, another one with its name takes its place, then the first one goes on
    scopes      what Valkey is put back for, one after the other: families of keys (u: stage 1, i: stage 2, n: push)
    commits     how many commits every partition is put back at least
    odds, push_odds  of an armed failpoint, each time it is passed
    idle_scope  families that are put back while nothing flows; "" leaves it out
    """

    seed: int = 1
    events: int = 200_000
    rate: float = 900.0
    workers: int = 3
    pushers: int = 2
    hits: int = 20
    kills: int = 10
    zombies: int = 6
    twins: int = 4
    scopes: tuple[str, ...] = ("u", "i", "ui", "n", "uin")
    commits: int = 50
    idle_scope: str = "uin"
    broker_restart: bool = True
    store_restart: bool = True
    cluster: bool = False
    batch_max_records: int = 100
    session_timeout_ms: int = 4000
    partitions: int = 4
    odds: float = 0.01
    push_odds: float = 0.05
    timeout_s: float = 3600.0
    mutant: str = ""

    @property
    def failpoints(self) -> tuple[str, ...]:
        return STREAM_FAILPOINTS + (PUSH_FAILPOINTS if self.pushers else ())

    def without_push(self) -> Plan:
        """The same run of the two stream stages alone."""
        scopes = tuple(dict.fromkeys(scope.replace("n", "") for scope in self.scopes if scope != "n"))
        return replace(self, pushers=0, scopes=scopes, idle_scope=self.idle_scope.replace("n", ""))

    def environment(self, kafka: str, redis_url: str, namespace: str, hits_log: str) -> Mapping[str, str]:
        """Settings of every process of the run."""
        settings = {
            "KAFKA": kafka,
            "REDIS": redis_url,
            "NAMESPACE": namespace,
            "USER_PARTITIONS": self.partitions,
            "ITEM_PARTITIONS": self.partitions,
            "BATCH_MAX_RECORDS": self.batch_max_records,
            "SESSION_TIMEOUT_MS": self.session_timeout_ms,
            "IDLE_CHECK_S": 0.5,
            "FETCH_MAX_WAIT_MS": 20,
            "VIEW_INTERVAL_S": 0.3,
            "VIEW_BUDGET": 0.15,
            "CACHED_USERS": 400,  # fewer than there are: states are loaded again and again
            "CACHED_ITEMS": 800,
            "WEB_PORT": 0,
            "LEARNING": json.dumps(LEARNING),
            "PUSH_CAP_PER_DAY": 3,
            "PUSH_GAP_S": 4,
            "PUSH_MAX_AGE_S": 1e9,
            "PUSH_MAX_LAG_S": 1e6,
            "PUSH_MIN_SCORE": 0.001,
            "TEST_FAILPOINT_LOG": hits_log,
        }
        return {f"DRIFTLINE_{name}": str(value) for name, value in settings.items()}


SHORT = Plan(
    events=10_000,
    rate=2500.0,
    hits=1,
    kills=1,
    zombies=1,
    twins=1,
    scopes=("ui",),
    store_restart=False,
    batch_max_records=25,
    session_timeout_ms=2000,
    timeout_s=150.0,
)
SHORT_CLUSTER = replace(
    SHORT.without_push(),
    events=5000,
    cluster=True,
    broker_restart=False,
    kills=0,
    twins=0,
    hits=0,
    idle_scope="",
    batch_max_records=12,
)

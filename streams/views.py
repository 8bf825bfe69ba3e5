"""Views: readable Redis keys derived from committed state, off the commit path and within a CPU budget.

A commit only notes which ids changed. This thread takes the ids that have waited longest, reads their committed state
together with the checkpoint (the stamp), derives, writes, and sleeps so that it takes no more than its share of one
core. A key is derived at most once in `interval_s`. A neighbour's degree lives in another partition: heads are read in
batches and kept for a few seconds.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from streams import metrics
from streams.core.checkpoint import decode_checkpoint
from streams.core.hashing import item_partition
from streams.core.item_state import ItemState, decode_item, read_degree
from streams.core.policy import LearningPolicy
from streams.core.similarity import similarities, strongest
from streams.core.user_state import Tier, decode_user
from streams.store.keys import Keyspace, Shard
from streams.store.protocol import Raise, Ranking, Store, StoreUnavailableError, Table, View
from streams.store.reader import SIMILAR_KEPT, TRENDING_KEPT

log = structlog.get_logger()

CHUNK = 64
IDLE_S = 0.05
DEGREES_READ = 64  # neighbours whose degree is read, those with the largest co-occurrence
HEADS_KEPT = 50_000
HEADS_FRESH_S = 5.0

Head = tuple[float, int, bytes]  # degree, epoch, name


class Views(threading.Thread):
    """Derives `similar`, `trending` and `interests`. `note` may be called from any thread."""

    def __init__(
        self,
        store: Store,
        keys: Keyspace,
        policy: LearningPolicy,
        *,
        budget: Callable[[], float],
        interval_s: float,
        ttl_s: int,
    ) -> None:
        super().__init__(name="views", daemon=True)
        self._store, self._keys, self._policy = store, keys, policy
        self._budget_now, self._interval_s, self._ttl_s = budget, interval_s, ttl_s
        self._lock = threading.Lock()
        self._pending: dict[str, dict[tuple[Shard, Any], float]] = {"neighbours": {}, "profiles": {}}
        self._heads: dict[int, tuple[float, Head]] = {}
        self._stopping = threading.Event()

    def note(self, stage: str, shard: Shard, ids: Sequence[Any]) -> None:
        """These states of a shard changed; the first note of an id is when it began to wait."""
        if not ids:
            return
        now = time.monotonic()
        with self._lock:
            pending = self._pending[stage]
            for state_id in ids:
                pending.setdefault((shard, state_id), now)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop after the chunk at hand; what still waits is derived when it changes next."""
        self._stopping.set()
        self.join(timeout_s)

    def run(self) -> None:
        while not self._stopping.is_set():
            began, used_before_s = time.monotonic(), time.thread_time()
            done = self._turn("neighbours") + self._turn("profiles")
            due_s = (time.thread_time() - used_before_s) / self._budget_now() if done else IDLE_S
            self._stopping.wait(max(0.001, due_s - (time.monotonic() - began)))

    def drain(self) -> None:
        """Derive everything that waits, ignoring interval and budget: tests, and the end of a demo."""
        while any(self._pending.values()):
            self._turn("neighbours", due_s=0.0)
            self._turn("profiles", due_s=0.0)

    def _turn(self, stage: str, due_s: float | None = None) -> int:
        now = time.monotonic()
        chosen = self._take(stage, now - (self._interval_s if due_s is None else due_s))
        if not chosen:
            return 0
        try:
            for shard in {shard for shard, _ in chosen}:
                ids = [state_id for where, state_id in chosen if where == shard]
                if stage == "neighbours":
                    self._derive_items(shard, ids)
                else:
                    self._derive_users(shard, ids)
        except StoreUnavailableError as error:
            log.warning("views wait for the store", error=str(error))
            with self._lock:
                for key, since in chosen.items():
                    self._pending[stage].setdefault(key, since)
            return 0
        view = "similar" if stage == "neighbours" else "interests"
        for since in chosen.values():
            metrics.EVENT_TO_VIEW.labels(view).observe(now - since)
        metrics.VIEWS_WRITTEN.labels(view).inc(len(chosen))
        return len(chosen)

    def _take(self, stage: str, due: float) -> dict[tuple[Shard, Any], float]:
        """The longest waiting ids that are due: a dict keeps the order in which they began to wait."""
        view = "similar" if stage == "neighbours" else "interests"
        with self._lock:
            pending = self._pending[stage]
            metrics.VIEWS_PENDING.labels(view).set(len(pending))
            oldest = next(iter(pending.values()), None)
            metrics.VIEW_STALENESS.labels(view).set(0.0 if oldest is None else time.monotonic() - oldest)
            chosen: dict[tuple[Shard, Any], float] = {}
            for key, since in pending.items():
                if since > due or len(chosen) == CHUNK:
                    break
                chosen[key] = since
            for key in chosen:
                del pending[key]
            return chosen

    def _derive_items(self, shard: Shard, hashes: Sequence[int]) -> None:
        checkpoint, values = self._store.load(shard, [shard.item(item) for item in hashes])
        items = {item: decode_item(data) for item, data in zip(hashes, values, strict=True) if data}
        rows = {item: strongest(item, state, DEGREES_READ) for item, state in items.items()}
        heads = self._read_heads({neighbour for some in rows.values() for neighbour in some["neighbour"].tolist()})
        views: list[View] = []
        trending: dict[str, float] = {}
        for item, state in items.items():
            if state.name:
                views.append(Ranking(shard.similar(state.name), _most_similar(state, rows[item], heads)))
                if state.head.recent_degree > 0:
                    half_lives = state.head.last / self._policy.recency_half_life_s
                    trending[state.name] = math.log2(state.head.recent_degree) + half_lives
        if trending:
            views.append(Raise(shard.trending, trending, TRENDING_KEPT))
        if checkpoint is not None and views:
            stamp = decode_checkpoint(checkpoint)
            views.append(Table(shard.views, {"watermark": str(stamp.watermark), "newest_ms": str(stamp.newest_ms)}))
        self._store.write_views(views, self._ttl_s)

    def _read_heads(self, hashes: set[int]) -> dict[int, Head]:
        now = time.monotonic()
        known = self._heads
        fresh = {item: known[item][1] for item in hashes if item in known and known[item][0] > now}
        stale = sorted(hashes - fresh.keys())
        n = self._keys.item_partitions
        found = self._store.read([self._keys.items(item_partition(item, n)).item(item) for item in stale])
        if len(known) > HEADS_KEPT:
            known.clear()
        for item, data in zip(stale, found, strict=True):
            if data:
                fresh[item] = read_degree(data)
                known[item] = now + HEADS_FRESH_S, fresh[item]
        return fresh

    def _derive_users(self, shard: Shard, users: Sequence[str]) -> None:
        checkpoint, values = self._store.load(shard, [shard.user(user) for user in users])
        if checkpoint is None:
            return
        stamp = str(decode_checkpoint(checkpoint).watermark)
        views: list[View] = []
        for user, data in zip(users, values, strict=True):
            if data is None:
                continue
            state = decode_user(data)
            total = sum(interest.affinity for interest in state.interests) or 1.0
            fields = {
                interest.category: f"{Tier(interest.tier).name.lower()} {interest.affinity / total:.6g}"
                for interest in state.interests
            }
            views.append(Table(shard.interests(user), {"@": stamp, **fields}))
        self._store.write_views(views, self._ttl_s)


def _most_similar(state: ItemState, rows: NDArray[np.void], heads: Mapping[int, Head]) -> dict[str, float]:
    """Names and similarities of the best neighbours whose head is known and that have a name; ties by name."""
    theirs = [heads.get(neighbour, (0.0, 0, b"")) for neighbour in rows["neighbour"].tolist()]
    degrees = np.array([degree for degree, _, _ in theirs], np.float64)
    epochs = np.array([epoch for _, epoch, _ in theirs], np.int64)
    found = similarities(state, rows, degrees, epochs).tolist()
    named = [(-s, name.decode()) for s, (_, _, name) in zip(found, theirs, strict=True) if s > 0 and name]
    return {name: -negative for negative, name in sorted(named)[:SIMILAR_KEPT]}

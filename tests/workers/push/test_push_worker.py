"""The push worker on a real broker and a real Valkey: what goes in, what comes out."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from datetime import UTC, datetime
from typing import Any

from prometheus_client import generate_latest

from streams import topics
from streams.core.hashing import id_hash
from streams.core.push.state import notification_id
from streams.store.protocol import Store, StoreUnavailableError


def test_changes_become_decisions_of_every_kind(lab) -> None:
    """One worker, one after the other; everything it should do by day."""
    for user in ("ann", "ben", "eve", "old", "far"):
        lab.shopper(user)
    lab.produce(topics.USER_SETTINGS, "ben", lab.settings_record("ben", push=False))
    worker = lab.start()
    lab.until(lambda: len(lab.journal()) == 1)

    first = lab.change("ann")
    lab.until(lab.notifications)
    lab.rewrite(first, "ann")  # a profile worker repeats it after a crash
    second = lab.change("ann")
    lab.change("ben")
    lab.change("eve", "fade")
    lab.change("old", age_s=7200)
    lab.change("nobody")
    lab.shopper("far", category="Shoes")
    lab.change("far", category="Elsewhere")
    (notification,) = lab.notifications()
    lab.produce(topics.NOTIFICATION_FEEDBACK, "ann", lab.feedback_record("ann", notification["id"]))
    lab.producer.produce(lab.name(topics.USER_SETTINGS), b"no json", "ann")
    lab.producer.flush()
    lab.until(lambda: len(lab.journal()) == 10 and lab.read(topics.DEAD_LETTERS))

    outcomes = sorted((entry["user_id"], entry["kind"], entry.get("reason", "")) for entry in lab.journal())
    assert outcomes == [
        ("ann", "feedback", ""),
        ("ann", "held", "cap"),
        ("ann", "held", "duplicate"),
        ("ann", "sent", ""),
        ("ben", "held", "opted-out"),
        ("ben", "setting", ""),
        ("eve", "held", "not-a-rise"),
        ("far", "held", "no-candidates"),
        ("nobody", "held", "no-profile"),
        ("old", "held", "stale"),
    ]
    assert notification["id"] == notification_id("ann", first)
    assert [item["item_id"] for item in notification["items"]] == ["spade", "rake", "hose"]
    state = lab.until(lambda: (s := lab.state("ann")) and s.feedback and s)
    assert state.causes == (id_hash(first), id_hash(second))

    port = lab.until(lab.port)
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    assert 'driftline_push_decisions_total{outcome="sent",reason=""} 1.0' in metrics
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").status == 200
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0


def test_switches_hold_everything_and_shadow_mode_shows_what_would_be_sent(lab) -> None:
    lab.shopper("ann")
    with lab.running(push_enabled=False):
        lab.change("ann")
        lab.until(lambda: len(lab.journal()) == 1)
    with lab.running(push_shadow=True):
        lab.change("ann")
        lab.until(lambda: len(lab.journal()) == 2)
    assert [entry["reason"] for entry in lab.journal()] == ["kill-switch", "shadow"]
    assert lab.journal()[1]["item_ids"] == ["spade", "rake", "hose"]
    assert lab.notifications() == []


def test_at_the_start_settings_are_read_before_anybody_is_notified(lab) -> None:
    lab.shopper("ann")
    lab.change("ann")
    for k in range(1000):
        lab.producer.produce(lab.name(topics.USER_SETTINGS), json.dumps(lab.settings_record(f"u{k}")), f"u{k}")
    lab.produce(topics.USER_SETTINGS, "ann", lab.settings_record("ann", push=False))
    with lab.running():
        lab.settle()
    (decision,) = [entry for entry in lab.journal() if entry["user_id"] == "ann" and entry["kind"] != "setting"]
    assert decision["reason"] == "opted-out"


class FlakyStore:
    """The real store, until it is `down`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.down = False

    def __getattr__(self, name: str) -> Any:
        if self.down:
            raise StoreUnavailableError("no Redis")
        return getattr(self._store, name)


def test_without_redis_nothing_is_decided_and_nothing_is_lost(lab) -> None:
    for user in ("ann", "ben", "eve"):
        lab.shopper(user)
    store = FlakyStore(lab.store)
    with lab.running(store, stall_after_s=0.5) as worker:
        lab.until(lambda: worker.unready() is None)
        store.down = True
        for user in ("ann", "ben", "eve"):
            lab.change(user)
        lab.until(worker.stalled)
        assert "fold the journal" in lab.until(worker.unready)
        assert lab.journal() == []
        store.down = False
        lab.settle()
        assert len(lab.notifications()) == 3
        lab.until(lambda: worker.stalled() is None)


def test_a_rise_at_night_waits_for_the_morning_even_across_a_crash(lab) -> None:
    """Event time: 2026-03-02 in UTC; what another shopper does moves the partition's clock."""
    night, morning = (int(datetime(2026, 3, d, h, tzinfo=UTC).timestamp() * 1000) for d, h in ((2, 23), (3, 8)))
    lab.shopper("ann")
    lab.env = {"push_clock": "event", "instance_id": "one"}
    lab.produce(topics.USER_SETTINGS, "ann", lab.settings_record("ann", quiet=("22:00", "08:00")))
    worker = lab.start()
    lab.until(lambda: len(lab.journal()) == 1)
    first = lab.change("ann", time_ms=night)
    lab.until(lambda: len(lab.journal()) == 2)
    lab.change("ann", time_ms=night + 60_000, category="Shoes")
    lab.until(lambda: len(lab.journal()) == 3)
    worker.kill()
    worker.wait()
    lab.start()
    lab.change(lab.neighbour_of("ann"), "fade", time_ms=morning)
    (notification,) = lab.until(lab.notifications)
    kinds = [(entry["kind"], entry["now"]) for entry in lab.journal() if entry["user_id"] == "ann"]
    assert [kind for kind, _ in kinds] == ["setting", "deferred", "merged", "sent"]
    assert kinds[-1] == ("sent", morning)
    assert notification["id"] == notification_id("ann", first)
    assert notification["title"] == "New in Tools and Shoes"
    lab.settle()


def test_deciding_takes_one_short_transaction(lab) -> None:
    """Not a benchmark: it catches the 100 ms that librdkafka waits between transactions by default."""
    for k in range(20):
        lab.shopper(f"user-{k}")
    before = transactions()
    with lab.running():
        for k in range(20):
            lab.change(f"user-{k}")
        lab.settle()
    total, count = (after - b for after, b in zip(transactions(), before, strict=True))
    print(f"{1000 * total / count:.1f} ms a transaction, {count:.0f} transactions")
    assert total / count < 0.09


def transactions() -> tuple[float, float]:
    """Seconds spent in transactions, and their number."""
    text = generate_latest().decode()
    name = "driftline_push_transaction_seconds"
    return tuple(float(re.search(rf"{name}_{part} (\S+)", text)[1]) for part in ("sum", "count"))

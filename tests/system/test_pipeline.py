"""Events in; state, links, interest changes, dead letters and views out: real Kafka, real Valkey, real processes."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.dead_letter import read_dead_letter
from streams.topics import DEAD_LETTERS
from tests.system.harness import System


@pytest.fixture
def system(kafka: str, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[System]:
    with System(kafka, redis_url, namespace, tmp_path) as made:
        yield made


def view(n: int, user: str, item: str, at_ms: int, **more: object) -> dict[str, object]:
    return {"event_id": f"e{n}", "user_id": user, "item_id": item, "type": "view", "time": at_ms, **more}


def test_two_communities_become_each_others_similar_items(system: System) -> None:
    system.set_up()
    base = int(time.time() * 1000) - 86_400_000
    events = []
    for n in range(60):
        side = n % 2
        for step in range(4):
            item = f"item-{2 * ((n + step) % 5) + side}"
            events.append(
                view(
                    n * 4 + step,
                    f"user-{n}",
                    item,
                    base + n * 1000 + step * 100,
                    category="Even" if side == 0 else "Odd",
                )
            )
    system.produce(events)
    system.start("worker")
    system.wait_until_applied()
    reader = system.reader()
    accepted = sum(c.accepted for (topic, _), c in system.checkpoints().items() if "behaviour" in topic)
    assert accepted == len(events)
    user = reader.user("user-7")
    assert user is not None
    assert (len(user.session_items), user.interests[0].category, user.interests[0].visits) == (4, "Odd", 1)
    item = reader.item("item-0")
    assert item is not None
    assert item.head.events == sum(event["item_id"] == "item-0" for event in events)
    system.wait_for(lambda: len(reader.similar(["item-0"])["item-0"]) == 4, 20, "the similar view of item-0")
    assert {other for other, _ in reader.similar(["item-0"])["item-0"]} == {"item-2", "item-4", "item-6", "item-8"}
    system.wait_for(lambda: len(reader.trending(20)) == 10, 10, "the trending view")


def test_a_worker_tells_its_health_and_its_metrics(system: System) -> None:
    system.set_up()
    worker = system.start("worker")
    system.wait_for(lambda: "worker started" in worker.log.read_text(), 30, "the worker to start")
    url = next(json.loads(line)["web"] for line in worker.log.read_text().splitlines() if "worker started" in line)
    system.wait_for(lambda: status(f"{url}/readyz") == 200, 30, "the worker to be ready")
    assert status(f"{url}/healthz") == 200
    assert status(f"{url}/nothing") == 404
    base = int(time.time() * 1000)
    system.produce([view(1, "ann", "a", base), b'{"event_id": "e2", "user_id": "ann", "type": "view", "time": 1}'])
    system.wait_until_applied()
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    assert 'driftline_records_total{outcome="accepted",stage="profiles"} 1.0' in text
    assert 'driftline_rejects_total{reason="seconds-not-ms",stage="profiles"} 1.0' in text
    assert 'driftline_events_total{type="view"} 1.0' in text
    assert 'driftline_event_to_state_seconds_count{stage="neighbours"}' in text


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_bad_input_is_dead_lettered_and_good_input_counted(system: System) -> None:
    system.set_up()
    system.start("worker")
    base = int(time.time() * 1000)
    system.produce(
        [
            view(1, "ann", "a", base),
            b'{"event_id": "e2", "user_id": "ann", "type": "view", "time": 1}',
            view(3, "ann", "b", base),
        ]
    )
    system.wait_until_applied()
    (letter,) = [read_dead_letter(record.value(), record.headers()) for record in system.records(DEAD_LETTERS)]
    assert (letter.reason, letter.key) == ("seconds-not-ms", b"ann")
    assert sum(c.accepted for (topic, _), c in system.checkpoints().items() if "behaviour" in topic) == 2


def test_a_worker_stops_cleanly_on_sigterm_and_goes_on_where_it_was(system: System) -> None:
    system.set_up()
    worker = system.start("worker", name="w1")
    base = int(time.time() * 1000)
    system.produce(view(n, f"u{n % 7}", f"i{n % 11}", base + n) for n in range(500))
    system.wait_until_applied()
    assert worker.stop() == 0
    system.produce(view(n, f"u{n % 7}", f"i{n % 11}", base + n) for n in range(450, 1000))
    system.start("worker", name="w1")
    system.wait_until_applied()
    stage1 = [c for (topic, _), c in system.checkpoints().items() if "behaviour" in topic]
    assert sum(c.accepted for c in stage1) + sum(c.duplicates for c in stage1) == 1050
    assert sum(c.duplicates for c in stage1) == 50

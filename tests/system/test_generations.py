"""init, rebuild, switch, drop: state computed anew beside the state that serves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.core.user_state import decode_user
from streams.incarnation import keyspace, serving_generation
from streams.topics import BEHAVIOUR_EVENTS
from tests.system.harness import System

BASE_MS = int(time.time() * 1000) - 86_400_000


@pytest.fixture
def system(kafka: str, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[System]:
    with System(kafka, redis_url, namespace, tmp_path) as made:
        yield made


def events(first: int, count: int) -> list[dict[str, object]]:
    return [
        {
            "event_id": f"e{n}",
            "user_id": f"u{n % 5}",
            "item_id": f"i{n % 7}",
            "type": "view",
            "time": BASE_MS + n * 60_000,
            "category": f"C{n % 3}",
        }
        for n in range(first, first + count)
    ]


def user_states(system: System, generation: int) -> dict[str, object]:
    reader = system.reader(generation)
    found = {}
    for n in range(5):
        (data,) = reader.store.read([reader.user_shard(f"u{n}").user(f"u{n}")])
        found[f"u{n}"] = None if data is None else decode_user(data)
    return found


def test_a_rebuild_gives_the_same_state_and_serves_after_the_switch(system: System) -> None:
    system.set_up()
    old = system.start("worker", name="old")
    system.produce(events(0, 300))
    system.wait_until_applied()
    assert "generation 2" in system.command("rebuild").stdout
    too_early = system.command("switch", "--lag", "0", check=False)
    assert (too_early.returncode, "records behind" in too_early.stderr) == (1, True)
    system.start("worker", "--generation", "2", name="new")
    system.produce(events(300, 100))
    system.wait_until_applied(generation=1)
    system.wait_until_applied(generation=2)
    assert user_states(system, 1) == user_states(system, 2)
    items = [system.reader(g).item("i3") for g in (1, 2)]
    assert items[0] is not None
    assert items[1] is not None
    assert items[0].head.events == items[1].head.events
    assert sorted(items[0].rows["neighbour"].tolist()) == sorted(items[1].rows["neighbour"].tolist())
    assert "generation 2 serves" in system.command("switch").stdout
    assert serving_generation(system.settings, system.store()) == 2
    still_there = system.command("drop", "1", check=False)
    assert "still compute generation 1" in still_there.stderr
    assert old.stop() == 0
    system.wait_for(lambda: "keys deleted" in system.command("drop", "1", check=False).stdout, 20, "the group to empty")
    assert set(user_states(system, 1).values()) == {None}
    assert None not in user_states(system, 2).values()
    refused = system.command("drop", "2", check=False)
    assert "serves" in refused.stderr


def test_init_from_latest_or_a_time_leaves_older_events_out(system: System) -> None:
    system.command("topics", "create")
    system.produce(events(0, 50))
    time.sleep(1.1)
    between = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    system.produce(events(50, 30))
    assert between.removesuffix("Z") in system.command("init", "--from", between).stdout
    system.start("worker")
    system.wait_until_applied()
    name = system.name(BEHAVIOUR_EVENTS)
    assert sum(c.accepted for (topic, _), c in system.checkpoints().items() if topic == name) == 30
    answer = system.command("rebuild", "--from", "latest")
    assert "begins at latest" in answer.stdout
    assert sum(c.accepted for c in system.checkpoints(2).values()) == 0
    assert keyspace(system.settings, 2).generation == 2
    wrong = system.command("rebuild", "--from", "yesterday", check=False)
    assert (wrong.returncode, "'yesterday' is not" in wrong.stderr) == (2, True)


def test_topics_are_checked_against_what_the_pipeline_needs(system: System) -> None:
    assert "missing" in system.command("topics", "check", check=False).stdout
    system.command("topics", "create")
    good = system.command("topics", "check")
    assert good.stdout.count("ok") == 9
    more = system.command(
        "topics", "check", check=False, DRIFTLINE_USER_PARTITIONS="8", DRIFTLINE_REPLICATION_FACTOR="3"
    )
    assert more.returncode == 1
    assert "settings say 8" in more.stdout.replace("\n", " ")


def test_inspect_shows_a_shopper_and_an_item(system: System) -> None:
    system.set_up()
    system.start("worker")
    system.produce(events(0, 60))
    system.wait_until_applied()
    system.wait_for(lambda: len(system.reader().similar(["i1"])["i1"]) > 0, 20, "the similar view")
    user = system.command("inspect", "user", "u1").stdout
    assert "C1" in user
    assert "sessions" in user
    item = system.command("inspect", "item", "i1").stdout
    assert "most similar" in item
    nobody = system.command("inspect", "user", "nobody", check=False)
    assert (nobody.returncode, "nothing is known of user 'nobody'" in nobody.stderr) == (1, True)

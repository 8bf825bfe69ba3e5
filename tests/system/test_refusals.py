"""A worker that does not fit the world it finds says so and writes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_END, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from streams.incarnation import keyspace
from streams.topics import BEHAVIOUR_EVENTS, ITEM_LINKS
from tests.system.harness import System
from workers.local.valkey import Valkey
from workers.run import EXIT_REFUSED


@pytest.fixture
def system(kafka: str, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[System]:
    with System(kafka, redis_url, namespace, tmp_path) as made:
        made.set_up()
        yield made


def events(count: int) -> list[dict[str, object]]:
    base = int(time.time() * 1000) - 1000
    return [
        {"event_id": f"e{n}", "user_id": f"u{n % 9}", "item_id": f"i{n % 5}", "type": "view", "time": base + n}
        for n in range(count)
    ]


def applied(system: System, count: int) -> None:
    system.produce(events(count))
    worker = system.start("worker")
    system.wait_until_applied()
    assert worker.stop() == 0


def refusal(system: System, **environment: str) -> str:
    """What the worker says before it exits; nothing may change meanwhile."""
    before = dump(system)
    worker = system.start("worker", **environment)
    assert worker.wait(30) == EXIT_REFUSED
    assert dump(system) == before
    return worker.log.read_text()


def dump(system: System) -> dict[bytes, bytes | None]:
    client = system.store()._client
    keys = sorted(client.scan_iter(match=f"{system.settings.namespace}:*", count=1000))
    return {key: client.dump(key) for key in keys}


@pytest.fixture
def admin(kafka: str) -> AdminClient:
    """Kept for the whole test: a client that is collected takes its unfinished requests with it."""
    return AdminClient({"bootstrap.servers": kafka})


def test_nothing_is_initialised(kafka: str, redis_url: str, namespace: str, tmp_path: Path) -> None:
    with System(kafka, redis_url, namespace, tmp_path) as system:
        assert "driftline init --from earliest" in refusal(system)
        assert "driftline topics create" in system.command("init", check=False).stderr


def test_initialising_twice_is_refused(system: System) -> None:
    again = system.command("init", check=False)
    assert again.returncode == 1
    assert "initialised already" in again.stderr


def test_a_topic_that_was_created_again(system: System, admin: AdminClient) -> None:
    applied(system, 50)
    name = system.name(BEHAVIOUR_EVENTS)
    admin.delete_topics([name])[name].result(30)
    for attempt in range(50):  # a deletion takes a moment to be done everywhere
        try:
            admin.create_topics([NewTopic(name, 4, 1)])[name].result(30)
        except KafkaException:
            assert attempt < 49
            time.sleep(0.2)
        else:
            break
    assert "created again" in refusal(system)


def test_partitions_were_added(system: System, admin: AdminClient) -> None:
    applied(system, 50)
    name = system.name(ITEM_LINKS)
    admin.create_partitions([NewPartitions(name, 6)])[name].result(30)
    time.sleep(0.5)
    said = refusal(system)
    assert "has 6 partitions, the settings say 4" in said
    assert "every key would move" in refusal(system, DRIFTLINE_ITEM_PARTITIONS="6") or "no checkpoint" in said


def test_the_log_was_truncated_past_the_watermark(system: System, admin: AdminClient) -> None:
    applied(system, 20)
    system.produce(events(200))
    name = system.name(BEHAVIOUR_EVENTS)
    for future in admin.delete_records([TopicPartition(name, p, OFFSET_END) for p in range(4)]).values():
        future.result(30)
    said = refusal(system)
    assert "events were deleted before they were applied" in said
    assert "driftline rebuild" in said


def test_a_checkpoint_is_missing(system: System) -> None:
    applied(system, 20)
    store = system.store()
    store._client.delete(keyspace(system.settings, 1).items(2).checkpoint)
    assert "there is no checkpoint" in refusal(system)


def test_other_learning_settings(system: System) -> None:
    applied(system, 20)
    assert "computed with learning settings" in refusal(system, DRIFTLINE_LEARNING='{"session_gap_s": 60}')


def test_a_server_that_evicts(kafka: str, namespace: str, tmp_path: Path) -> None:
    with Valkey() as valkey, System(kafka, valkey.url, namespace, tmp_path) as system:
        system.set_up()
        valkey.client().config_set("maxmemory-policy", "allkeys-lru")
        assert "CONFIG SET maxmemory-policy noeviction" in refusal(system)


def test_settings_are_checked_before_anything_else(system: System) -> None:
    answer = system.command("worker", check=False, DRIFTLINE_BATCH_MAX_RECORDS="0")
    assert answer.returncode == 2
    assert "DRIFTLINE_BATCH_MAX_RECORDS='0'" in answer.stderr
    answer = system.command("worker", check=False, DRIFTLINE_BATCH_MAX="10")
    assert (answer.returncode, "DRIFTLINE_BATCH_MAX: no such setting" in answer.stderr) == (2, True)

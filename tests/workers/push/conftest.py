"""A push laboratory: topics and state of one namespace on the real servers, and worker processes to torment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import redis
from confluent_kafka import KafkaError, Message, TopicPartition
from confluent_kafka.admin import NewTopic
from xxhash import xxh3_128_hexdigest

from streams import kafka_clients, topics
from streams.core.hashing import id_hash, user_partition
from streams.core.push.journal import fold
from streams.core.push.state import PushState, decode_push
from streams.core.user_state import RecentItem, UserState
from streams.settings import Settings
from streams.store.keys import Keyspace
from streams.store.protocol import Ranking, Store
from streams.store.reader import Reader
from streams.store.redis import connect
from tests.chaos import journal_oracle
from workers.push.journal_reader import decode_entry
from workers.push.worker import PushWorker

PARTITIONS = 2
SERVED = {"spade": 0.5, "rake": 0.3, "hose": 0.2}


class Lab:
    """One namespace. `changes` counts what was written, so that ids and coordinates are known."""

    def __init__(self, kafka: str, redis_url: str, namespace: str, folder: Path) -> None:
        self.settings = Settings(
            kafka=kafka,
            redis=redis_url,
            namespace=namespace,
            user_partitions=PARTITIONS,
            session_timeout_ms=3000,
            idle_check_s=0.3,
        )
        self.env: dict[str, str] = {}
        self.folder = folder
        self.store = connect(redis_url)
        self.keys = Keyspace(namespace, 0, PARTITIONS, self.settings.item_partitions, 2)
        self.reader = Reader(self.store, self.keys)
        self.producer = kafka_clients.producer(self.settings)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ids: list[str] = []
        self.written = 0
        self.redis = redis.Redis.from_url(redis_url)
        self._create_topics()
        self.serve()

    def name(self, topic: topics.Topic) -> str:
        return topics.full_name(self.settings.namespace, topic)

    def _create_topics(self) -> None:
        wanted = [NewTopic(self.name(t), PARTITIONS, 1) for t in topics.TOPICS if t.partitioned_by == "users"]
        wanted.append(NewTopic(self.name(topics.DEAD_LETTERS), 1, 1))
        admin = kafka_clients.admin(self.settings)  # in a variable: it must outlive its futures
        for future in admin.create_topics(wanted).values():
            future.result()

    def serve(self) -> None:
        """What `driftline init` leaves behind, as far as the push worker needs it."""
        self.store.create(Keyspace.serving(self.settings.namespace), b"0")

    def shopper(self, user: str, category: str = "Garden > Tools", item: str = "wheelbarrow") -> None:
        """Somebody who looked at an item lately, which has three neighbours."""
        state = UserState(sessions=9, recent=[RecentItem(item, category, "view", 1)])
        self.store.create(self.keys.users(user_partition(user.encode(), PARTITIONS)).user(user), state.encode())
        shard = self.reader.item_shard(id_hash(item))
        self.store.write_views([Ranking(shard.similar(item), SERVED)], 3600)

    def change(self, user: str, kind: str = "rise", **more: Any) -> str:
        """Write an interest change and return its id."""
        made = xxh3_128_hexdigest(f"{user} {len(self.ids)}".encode())
        self.ids.append(made)
        self.rewrite(made, user, kind, **more)
        return made

    def rewrite(
        self,
        made: str,
        user: str,
        kind: str = "rise",
        *,
        age_s: float = 0.0,
        time_ms: int = 0,
        category: str = "Garden > Tools",
    ) -> None:
        """The same change again, as a profile worker does after a crash."""
        value = interest_change(made, user, kind, category, time_ms or int((time.time() - age_s) * 1000))
        self.written += 1
        self.produce(topics.INTEREST_CHANGES, user, value)

    def produce(self, topic: topics.Topic, user: str, value: dict[str, Any] | None) -> None:
        self.producer.produce(self.name(topic), None if value is None else json.dumps(value), user)
        self.producer.flush()

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        """A worker process. Settings as keywords: push_gap_s="0"."""
        s = self.settings
        own = {
            "KAFKA": s.kafka,
            "REDIS": s.redis.get_secret_value(),
            "NAMESPACE": s.namespace,
            "USER_PARTITIONS": str(PARTITIONS),
            "SESSION_TIMEOUT_MS": "3000",
            "IDLE_CHECK_S": "0.3",
            "WEB_PORT": "0",
            **{name.upper(): value for name, value in (self.env | env).items()},
        }
        environ = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTLINE_")}
        environ |= {f"DRIFTLINE_{name}": value for name, value in own.items()}
        with (self.folder / f"push-{len(self.processes)}.log").open("wb") as log:
            command = [sys.executable, "-c", _MAIN]
            process = subprocess.Popen(command, env=environ, stderr=log, stdout=log)
        self.processes.append(process)
        return process

    @contextmanager
    def running(self, store: Store | None = None, **changed: Any) -> Iterator[PushWorker]:
        """A worker in a thread: starts faster than a process. Settings as keywords: push_gap_s=0."""
        self.env |= {name: str(value) for name, value in changed.items()}
        worker = PushWorker(self.settings.model_copy(update=changed), store or self.store)
        thread = Thread(target=worker.run)
        thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            thread.join(30)

    def log(self, index: int = -1) -> str:
        files = sorted(self.folder.glob("push-*.log"), key=lambda path: int(path.stem.removeprefix("push-")))
        return files[index].read_text() if files else ""

    def read(self, topic: topics.Topic) -> list[Message]:
        """All committed records of a topic, by partition and offset."""
        consumer = kafka_clients.consumer(self.settings, "lab", {"enable.partition.eof": True, "fetch.wait.max.ms": 20})
        count = 1 if topic.partitioned_by == "one" else PARTITIONS
        consumer.assign([TopicPartition(self.name(topic), p, 0) for p in range(count)])
        found: list[Message] = []
        try:
            ends: set[int] = set()
            while len(ends) < count:
                for message in consumer.consume(1000, 0.05):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ends.add(message.partition())
        finally:
            consumer.close()
        return sorted(found, key=lambda m: (m.partition(), m.offset()))

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(message.value()) for message in self.read(topics.PUSH_DECISIONS)]

    def notifications(self) -> list[dict[str, Any]]:
        return [json.loads(message.value()) for message in self.read(topics.NOTIFICATIONS)]

    def until(self, condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """The condition's first true value."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"waited {timeout_s} s in vain\n{self.log()}")
            time.sleep(0.05)
        return value

    def state(self, user: str) -> PushState | None:
        """What Redis holds."""
        shard = self.keys.push(user_partition(user.encode(), PARTITIONS))
        (data,) = self.store.read([shard.push(user)])
        return None if data is None else decode_push(data)

    def push_keys(self) -> dict[str, bytes]:
        """All of the push worker's keys."""
        names = [key.decode() for key in self.redis.scan_iter(match=f"{self.settings.namespace}:v1:{{n*", count=1000)]
        values = self.store.read(names)
        return {key: value for key, value in zip(names, values, strict=True) if value is not None}

    def put_back(self, keys: dict[str, bytes]) -> None:
        """Redis as it was: everything else of the push worker is gone."""
        with self.redis.pipeline(transaction=True) as pipe:
            for key in self.push_keys():
                pipe.delete(key)
            if keys:
                pipe.mset(keys)
            pipe.execute()

    def settle(self) -> None:
        """Wait until every change is decided and Redis is the fold of the journal; then check what must always hold."""
        self.until(lambda: self._decided() >= self.written)
        self.until(self._redis_is_the_fold)
        self._check()

    def _decided(self) -> int:
        """How many records of interest-changes have a last word."""
        last = {
            tuple(e["source"].values()) for e in self.journal() if e["kind"] not in {"deferred", "setting", "feedback"}
        }
        return len(last)

    def _redis_is_the_fold(self) -> bool:
        entries = [decode_entry(message) for message in self.read(topics.PUSH_DECISIONS)]
        expected = {user: state.encode() for user, state in fold({}, entries).items()}
        found = {key.partition("push:")[2]: v for key, v in self.push_keys().items() if "push:" in key}
        return found == expected

    def _check(self) -> None:
        """What the oracle of docs/push.md says to the journal and the notifications."""
        cap, gap_s = int(self.env.get("push_cap_per_day", "1")), float(self.env.get("push_gap_s", "14400"))
        assert journal_oracle.faults(self.journal(), self.notifications(), cap, gap_s) == []
        expected = journal_oracle.fold(self.journal())
        for user, known in expected.items():
            state = self.state(user)
            assert state is not None
            assert (list(state.sends), list(state.causes)) == (known["sends"], known["causes"])

    def port(self) -> int | None:
        """The port of the newest worker's metrics."""
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.log())
        return int(found[1]) if found else None

    def neighbour_of(self, user: str) -> str:
        """Another user in the same partition."""
        own = user_partition(user.encode(), PARTITIONS)
        return next(f"n{k}" for k in range(100) if user_partition(f"n{k}".encode(), PARTITIONS) == own)

    def settings_record(self, user: str, *, push: bool = True, quiet: tuple[str, str] | None = None) -> dict[str, Any]:
        hours = {} if quiet is None else {"quiet_hours": {"start": quiet[0], "end": quiet[1], "time_zone": "UTC"}}
        return {"user_id": user, "push_enabled": push, **hours}

    def feedback_record(self, user: str, notification: str, action: str = "opened") -> dict[str, Any]:
        event = {"event_id": "e1", "notification_id": notification, "time": int(time.time() * 1000)}
        return {"user_id": user, "action": action, **event}

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.store.close()
        self.redis.close()


_MAIN = "from workers.cli import main; main(['push'])"


def interest_change(made: str, user: str, kind: str, category: str, time_ms: int) -> dict[str, Any]:
    return {
        "id": made,
        "user_id": user,
        "kind": kind,
        "category": category,
        "from_tier": "none",
        "to_tier": "emerging",
        "affinity": 0.1,
        "time": time_ms,
        "evidence": {"visits": 3, "items": [], "event_ids": []},
        "cause": {"topic": "behaviour-events.v1", "partition": 0, "offset": 0},
        "generation": 0,
    }


@pytest.fixture
def lab(kafka: str, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[Lab]:
    laboratory = Lab(kafka, redis_url, namespace, tmp_path)
    yield laboratory
    laboratory.close()

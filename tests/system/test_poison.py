"""Bad input never stops a partition.

Every good event counts, every bad one is a dead letter with its reason, nobody restarts.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import msgspec
from confluent_kafka import Producer

from schemas.dead_letter import MAX_BYTES, DeadLetter, read_dead_letter
from streams.broker import Broker
from streams.core.hashing import user_partition
from streams.topics import BEHAVIOUR_EVENTS, DEAD_LETTERS
from tests.system.harness import System
from workers.local.launcher import Servers
from workers.topics import config_of

MARK = b"these-bytes-will-be-corrupted"


class Upstream:
    """A producer that does what it likes."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.topic = system.name(BEHAVIOUR_EVENTS)
        self.expected: Counter[str] = Counter()
        self.good = 0
        self._number = 0
        self._producers = {codec: self._producer(codec) for codec in ("none", "gzip", "snappy", "lz4", "zstd")}

    def _producer(self, codec: str) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._system.settings.kafka,
                "compression.type": codec,
                "message.max.bytes": 16_000_000,
                "linger.ms": 2,
            }
        )

    def event(self, user: str, **changes: object) -> dict[str, object]:
        self._number += 1
        made: dict[str, object] = {
            "event_id": f"e{self._number}",
            "user_id": user,
            "item_id": f"i{self._number % 23}",
            "type": "view",
            "time": int(time.time() * 1000),
            "category": "Garden > Tools",
        }
        return {name: value for name, value in {**made, **changes}.items() if value is not None}

    def place(self, user: str) -> int:
        return user_partition(user.encode(), self._system.settings.user_partitions)

    def send(
        self,
        user: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        codec: str = "none",
    ) -> None:
        producer = self._producers[codec]
        producer.produce(
            self.topic,
            value,
            user.encode() if key is None else key,
            self.place(user) if partition is None else partition,
        )
        producer.poll(0)

    def accepted(self, user: str, codec: str = "none", **changes: object) -> None:
        self.good += 1
        self.send(user, msgspec.json.encode(self.event(user, **changes)), codec=codec)

    def refused(self, reason: str, user: str, value: bytes | None, **where: object) -> None:
        self.expected[reason] += 1
        self.send(user, value, **where)  # type: ignore[arg-type]

    def flush(self) -> None:
        for producer in self._producers.values():
            assert producer.flush(30) == 0


def pour(up: Upstream, rng: random.Random) -> None:
    """Every kind of poison, good events in between."""
    users = [f"user-{n}" for n in range(40)]
    encode = msgspec.json.encode
    now = int(time.time() * 1000)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        for user in users:
            up.accepted(user, codec)
        up.flush()
    faults: list[tuple[str, bytes | None]] = [
        ("empty", None),
        ("empty", b""),
        ("not-json", encode(up.event("user-0"))[:-1]),
        ("not-utf8", encode(up.event("user-0")).replace(b"Garden", b"G\xff\xferden")),
        ("wrong-type", encode(up.event("user-0", value="12"))),
        ("wrong-type", encode(up.event("user-0", item_id=7))),
        ("not-json", encode(up.event("user-0", value=1.5)).replace(b"1.5", b"NaN")),
        ("bad-value", encode(up.event("user-0", value=-1))),
        ("bad-value", encode(up.event("user-0", quantity=0))),
        ("future-time", encode(up.event("user-0", time=now + 3 * 86_400_000))),
        ("seconds-not-ms", encode(up.event("user-0", time=now // 1000))),
        ("bad-time", encode(up.event("user-0", time="yesterday"))),
        ("unknown-type", encode(up.event("user-0", type="stare"))),
        ("missing-field", encode(up.event("user-0", event_id=None))),
        ("item-missing", encode(up.event("user-0", item_id=None))),
        ("too-long", encode(up.event("user-0", item_id="x" * 129))),
        ("not-an-object", b"[1, 2]"),
        ("too-deep", b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"),
        ("too-large", encode(up.event("user-0", note="x" * 10_000_000))),
    ]
    for reason, value in faults:
        up.refused(reason, "user-0", value)
        up.accepted("user-0")
    up.refused("key-mismatch", "user-1", encode(up.event("user-1")), key=b"user-2", partition=up.place("user-1"))
    up.refused("wrong-partition", "stranger", encode(up.event("stranger")), partition=(up.place("stranger") + 1) % 4)
    double = up.event("user-3", event_id="twice")
    up.good += 1
    up.send("user-3", encode(double))
    up.send("user-3", encode(double))  # the same again: dropped and counted, no dead letter
    up.refused("id-conflict", "user-3", encode({**double, "item_id": "another"}))
    for _ in range(1000):
        noise = rng.randbytes(rng.randrange(1, 200))
        up.refused("noise", "user-4", noise)
        up.accepted(rng.choice(users))
    up.flush()


def corrupt_a_batch(up: Upstream, data: Path) -> tuple[int, int]:
    """Three events in one batch, one byte of it flipped on the broker's disk; the partition and how many it held."""
    user = "user-5"
    producer = Producer({"bootstrap.servers": up._system.settings.kafka, "linger.ms": 300})
    for _ in range(3):
        value = msgspec.json.encode({**up.event(user), "note": MARK.decode()})
        producer.produce(up.topic, value, user.encode(), up.place(user))
    assert producer.flush(30) == 0
    (log,) = data.rglob(f"{up.topic}-{up.place(user)}/00000000000000000000.log")
    content = log.read_bytes()
    at = content.rindex(MARK)
    with log.open("r+b") as file:
        file.seek(at)
        file.write(b"X")
    return up.place(user), 3


def letters_of(system: System) -> list[DeadLetter]:
    return [read_dead_letter(record.value(), record.headers()) for record in system.records(DEAD_LETTERS)]


def test_poison(servers: Servers, namespace: str, tmp_path: Path) -> None:
    assert servers.kafka_server is not None
    with System(servers.kafka, servers.redis, namespace, tmp_path) as system:
        from confluent_kafka.admin import NewTopic

        config = {**config_of(system.settings, BEHAVIOUR_EVENTS), "max.message.bytes": "16000000"}
        Broker(system.settings).create(
            [NewTopic(system.name(BEHAVIOUR_EVENTS), num_partitions=4, replication_factor=1, config=config)]
        )
        system.set_up()
        up = Upstream(system)
        pour(up, random.Random(7))
        partition, held = corrupt_a_batch(up, servers.kafka_server.data)
        for n in range(50):
            up.accepted(f"user-{n % 40}")
        up.flush()
        worker = system.start("worker")
        system.wait_until_applied(90)

        counted = [c for (topic, _), c in system.checkpoints().items() if topic == up.topic]
        assert sum(c.accepted for c in counted) == up.good
        assert sum(c.duplicates for c in counted) == 1
        letters = letters_of(system)
        found = Counter(letter.reason for letter in letters)
        named = {reason: count for reason, count in up.expected.items() if reason != "noise"}
        noise = {"not-json", "not-utf8", "not-an-object", "empty", "missing-field"}
        assert {reason: found[reason] for reason in named if reason not in noise} == {
            reason: count for reason, count in named.items() if reason not in noise
        }
        assert sum(found[reason] for reason in noise) == sum(named.get(r, 0) for r in noise) + up.expected["noise"]
        (unreadable,) = [letter for letter in letters if letter.reason == "unreadable-batch"]
        first, last = (int(part) for part in unreadable.detail.split(":")[0].removeprefix("offsets ").split(".."))
        assert (last - first + 1, unreadable.came.partition) == (held, partition)
        assert sum(c.rejected for c in counted) == len(letters)
        (large,) = [letter for letter in letters if letter.reason == "too-large"]
        assert (len(large.value or b""), large.is_complete) == (MAX_BYTES, False)
        assert large.size > 10_000_000
        assert all(letter.detail and letter.came.topic == up.topic for letter in letters)
        assert worker.code is None, "the worker must not have restarted"
        assert worker.stop() == 0

"""A whole Driftline in one namespace: topics, checkpoints, worker processes, and what came of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from confluent_kafka import Consumer, TopicPartition

from streams import kafka_clients
from streams.app import places_of
from streams.broker import Broker
from streams.core.checkpoint import Checkpoint, decode_checkpoint
from streams.core.hashing import user_partition
from streams.incarnation import keyspace, shard_of
from streams.settings import Settings, from_env
from streams.store.reader import Reader
from streams.store.redis import RedisStore, connect
from streams.topics import BEHAVIOUR_EVENTS, Topic, full_name

COMMAND = (sys.executable, "-m", "workers")
Event = Mapping[str, Any]


class Process:
    """One of Driftline's processes, its log in a file."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self._popen = subprocess.Popen(arguments, env={**os.environ, **environment}, stdout=file, stderr=file)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def code(self) -> int | None:
        """Exit code, None while it runs."""
        return self._popen.poll()

    def send(self, signum: signal.Signals) -> None:
        if self.code is None:
            self._popen.send_signal(signum)

    def wait(self, timeout_s: float = 30.0) -> int:
        return self._popen.wait(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, and the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait(10)


class System:
    """Use as a context manager: processes are gone afterwards."""

    def __init__(self, kafka: str, redis_url: str, namespace: str, folder: Path, **settings: Any) -> None:
        self.environment = {
            "DRIFTLINE_KAFKA": kafka,
            "DRIFTLINE_REDIS": redis_url,
            "DRIFTLINE_NAMESPACE": namespace,
            "DRIFTLINE_WEB_PORT": "0",
            "DRIFTLINE_SESSION_TIMEOUT_MS": "6000",
            "DRIFTLINE_IDLE_CHECK_S": "0.5",
            **{f"DRIFTLINE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.settings: Settings = from_env(self.environment)
        self.folder = folder
        self.processes: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.send(signal.SIGCONT)
            process.kill()

    def command(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a `driftline` command to its end."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def set_up(self, start: str = "earliest") -> None:
        """Topics and checkpoints."""
        self.command("topics", "create")
        self.command("init", "--from", start)

    def start(self, *arguments: str, name: str = "", **environment: str) -> Process:
        """Start a process such as start("worker")."""
        name = name or f"{arguments[0]}-{len(self.processes)}"
        process = Process(
            [*COMMAND, *arguments],
            {**self.environment, "DRIFTLINE_INSTANCE_ID": name, **environment},
            self.folder / f"{name}.log",
        )
        self.processes.append(process)
        return process

    def name(self, topic: Topic) -> str:
        return full_name(self.settings.namespace, topic)

    def produce(self, events: Iterable[Event | bytes]) -> int:
        """Behaviour events, each keyed by its user and placed by murmur2; how many."""
        producer = kafka_clients.producer(self.settings)
        count = 0
        for event in events:
            value = event if isinstance(event, bytes) else msgspec.json.encode(event)
            user = msgspec.json.decode(value)["user_id"].encode()
            partition = user_partition(user, self.settings.user_partitions)
            while True:
                try:
                    producer.produce(self.name(BEHAVIOUR_EVENTS), value, user, partition)
                    break
                except BufferError:
                    producer.poll(0.1)
            count += 1
            producer.poll(0)
        assert producer.flush(30) == 0
        return count

    def store(self) -> RedisStore:
        return connect(self.settings.redis.get_secret_value())

    def reader(self, generation: int = 1) -> Reader:
        return Reader(self.store(), keyspace(self.settings, generation))

    def checkpoints(self, generation: int = 1) -> dict[tuple[str, int], Checkpoint]:
        """Every stage checkpoint."""
        store, keys = self.store(), keyspace(self.settings, generation)
        places = places_of(self.settings)
        found = store.read([shard_of(keys, self.settings, place).checkpoint for place in places])
        store.close()
        return {(p.topic, p.partition): decode_checkpoint(data) for p, data in zip(places, found, strict=True) if data}

    def lag(self, generation: int = 1) -> int:
        """Records not applied yet, all stages and partitions."""
        broker = Broker(self.settings)
        behind = 0
        for (topic, partition), checkpoint in self.checkpoints(generation).items():
            behind += broker.log_ranges(topic, [partition])[partition].end - checkpoint.watermark
        return behind

    def wait_until_applied(self, timeout_s: float = 60.0, generation: int = 1) -> None:
        """Until every stage has applied everything that is in its topic."""
        self.wait_for(lambda: self.lag(generation) == 0, timeout_s, "the workers to catch up")

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"--- {p.log.name} (exit {p.code})\n{p.log.read_text()[-3000:]}" for p in self.processes
                )
                raise AssertionError(f"waited {timeout_s} s for {what}\n{logs}")
            time.sleep(0.1)

    def records(self, topic: Topic) -> list[Any]:
        """Every record of a topic, partition by partition."""
        name = self.name(topic)
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.kafka,
                "group.id": f"{self.settings.namespace}.test",
                "enable.auto.commit": False,
                "enable.partition.eof": False,
                "isolation.level": "read_committed",
            }
        )
        found = []
        try:
            broker = Broker(self.settings)
            facts = broker.topics([name])[name]
            for partition, log in broker.log_ranges(name, range(facts.partitions)).items():
                consumer.assign([TopicPartition(name, partition, log.start)])
                while consumer.position([TopicPartition(name, partition)])[0].offset < log.end:
                    got = [record for record in consumer.consume(10_000, 0.2) if record.error() is None]
                    found += got
                    if not got and log.start == log.end:
                        break
                    if consumer.position([TopicPartition(name, partition)])[0].offset < 0 and log.start == log.end:
                        break
        finally:
            consumer.close()
        return found

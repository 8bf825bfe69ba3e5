"""A namespace with its topics on the real broker, the command, and a look at what is on a topic."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import NewTopic

from streams import kafka_clients
from streams.settings import Settings
from streams.topics import BEHAVIOUR_EVENTS, CATALOGUE, DEAD_LETTERS, Topic, full_name

_COMMAND = (sys.executable, "-c", "from workers.cli import main; main()")


class Driftline:
    """The `driftline` command against one namespace, and what it left on the topics."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self.settings = settings
        self.home = home
        self.environment = {
            **os.environ,
            "DRIFTLINE_KAFKA": settings.kafka,
            "DRIFTLINE_NAMESPACE": settings.namespace,
            "XDG_STATE_HOME": str(home / "state"),
        }

    def __call__(self, *arguments: str, code: int = 0, stdin: bytes | None = None) -> str:
        """Runs the command to its end, checks its exit code, returns everything it printed."""
        process = subprocess.run(
            [*_COMMAND, *arguments],
            env=self.environment, cwd=self.home, input=stdin, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        printed = process.stdout.decode() + process.stderr.decode()
        assert process.returncode == code, printed
        return printed

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts the command and leaves it running."""
        return subprocess.Popen(
            [*_COMMAND, *arguments],
            env=self.environment, cwd=self.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def file(self, name: str, content: str) -> Path:
        path = self.home / name
        path.write_text(content, encoding="utf-8")
        return path

    def records(self, topic: Topic = BEHAVIOUR_EVENTS) -> list[Message]:
        """All committed records of a topic, partition by partition."""
        name = full_name(self.settings.namespace, topic)
        records = kafka_clients.read_to_end(self.settings, name)
        return sorted(records, key=lambda message: (message.partition() or 0, message.offset() or 0))


@pytest.fixture
def driftline(kafka: str, namespace: str, tmp_path: Path) -> Driftline:
    """The command in a namespace whose topics exist."""
    settings = Settings(kafka=kafka, namespace=namespace)
    counts = {
        BEHAVIOUR_EVENTS: settings.user_partitions,
        DEAD_LETTERS: 1,
        CATALOGUE: settings.catalogue_partitions,
    }
    wanted = [NewTopic(full_name(namespace, topic), count, 1) for topic, count in counts.items()]
    admin = kafka_clients.admin(settings)
    for created in admin.create_topics(wanted).values():
        created.result(timeout=30)
    return Driftline(settings, tmp_path)

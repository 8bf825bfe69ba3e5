"""`driftline dead-letters`: refused records are shown, filtered, and sent again byte for byte, each once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from os import environ
from typing import Any

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import NewTopic

from schemas.coordinates import Coordinates
from schemas.dead_letter import MAX_BYTES, dead_letter_headers
from schemas.reasons import Reason, Rejection
from streams import kafka_clients
from streams.settings import Settings
from streams.topics import BEHAVIOUR_EVENTS, DEAD_LETTERS, ITEM_LINKS, Topic, full_name

RAW = b'\x00\xff {"not": json\n'
KEY = b"user\x00\xfe"


@dataclass
class Office:
    """A namespace with dead letters in it, and the command."""

    settings: Settings

    def name(self, topic: Topic) -> str:
        return full_name(self.settings.namespace, topic)

    def refuse(self, raw: bytes, reason: Reason, *, topic: Topic = BEHAVIOUR_EVENTS, offset: int = 0) -> None:
        """What a worker does with a record it refuses."""
        headers = dead_letter_headers(
            Rejection(reason, f"field: {reason}"),
            Coordinates(self.name(topic), 1, offset),
            timestamp=1_772_362_800_000,
            key=KEY,
            value=raw,
        )
        producer = kafka_clients.producer(self.settings)
        producer.produce(self.name(DEAD_LETTERS), raw[:MAX_BYTES], headers=list(headers))
        assert producer.flush(30) == 0

    def command(self, *arguments: str, code: int = 0, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-c", "from workers.cli import main; main()", "dead-letters", *arguments],
            env={
                **environ,
                "DRIFTLINE_KAFKA": self.settings.kafka,
                "DRIFTLINE_NAMESPACE": self.settings.namespace,
                "COLUMNS": "250",
            },
            capture_output=True,
            text=True,
            input=stdin,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.command("list", "--json", *arguments).splitlines()]

    def arrived(self) -> list[Message]:
        return list(kafka_clients.read_to_end(self.settings, self.name(BEHAVIOUR_EVENTS)))


@pytest.fixture
def office(kafka: str, namespace: str) -> Office:
    settings = Settings(kafka=kafka, namespace=namespace)
    admin = kafka_clients.admin(settings)
    counts = {BEHAVIOUR_EVENTS: settings.user_partitions, DEAD_LETTERS: 1}
    for created in admin.create_topics([NewTopic(full_name(namespace, t), n, 1) for t, n in counts.items()]).values():
        created.result(timeout=30)
    return Office(settings)


def test_the_table_shows_where_a_letter_came_from_and_never_prints_raw_bytes(office: Office) -> None:
    office.refuse(RAW, Reason.NOT_JSON, offset=42)
    shown = office.command("list")
    for part in (
        "not-json",
        f"{office.name(BEHAVIOUR_EVENTS)}/1/42",
        r"user\x00\xfe",
        r"\x00\xff {",
        "field: not-json",
    ):
        assert part in shown
    assert "\x00" not in shown
    assert "1  letters" in shown


def test_letters_are_filtered_and_the_newest_are_shown(office: Office) -> None:
    for offset in range(5):
        office.refuse(RAW, Reason.NOT_JSON, offset=offset)
    office.refuse(b"{}", Reason.MISSING_FIELD, offset=9)
    assert [letter["source"]["offset"] for letter in office.listed("--limit", "2")] == [4, 9]
    assert len(office.listed("--reason", "not-json")) == 5
    assert len(office.listed("--since", "1h")) == 6
    assert office.listed("--since", "-1h") == []
    assert len(office.listed("--source", "behaviour-events.v1/1/9")) == 1
    assert office.listed("--source", "behaviour-events.v1/0") == []
    assert "there are" in office.command("list", "--reason", "nonsense", code=2)


def test_a_letter_goes_back_byte_for_byte_and_only_once(office: Office) -> None:
    office.refuse(RAW, Reason.NOT_JSON)
    assert "would send 1 letters" in office.command("replay", "--dry-run")
    assert office.arrived() == []

    assert "sent        1 letters" in office.command("replay", "--yes")
    assert [(record.key(), record.value()) for record in office.arrived()] == [(KEY, RAW)]

    assert "1 letters: sent again before" in office.command("replay", "--yes")
    assert len(office.arrived()) == 1
    assert office.listed()[0]["resent"] is True

    office.command("replay", "--yes", "--again")
    assert len(office.arrived()) == 2


def test_it_asks_first(office: Office) -> None:
    office.refuse(RAW, Reason.NOT_JSON)
    office.command("replay", stdin="n\n", code=1)
    assert office.arrived() == []
    office.command("replay", stdin="y\n")
    assert len(office.arrived()) == 1


def test_what_cannot_be_sent_is_counted_with_the_reason(office: Office) -> None:
    office.refuse(b"x" * (MAX_BYTES + 1), Reason.TOO_LARGE)
    office.refuse(b"links", Reason.BAD_LINKS, topic=ITEM_LINKS)
    office.refuse(b"", Reason.UNREADABLE_BATCH)
    printed = office.command("replay", "--yes")
    assert "only a prefix was kept" in printed
    assert "not an upstream topic" in printed
    assert "nobody can read" in printed
    assert office.arrived() == []


def test_more_letters_than_one_transaction_holds_arrive_all_and_in_order(office: Office) -> None:
    headers = dead_letter_headers(
        Rejection(Reason.NOT_JSON, "field: x"), Coordinates(office.name(BEHAVIOUR_EVENTS), 0, 0),
        timestamp=1_772_362_800_000, key=KEY, value=b"0000",
    )  # fmt: skip
    producer = kafka_clients.producer(office.settings)
    for number in range(1200):
        producer.produce(office.name(DEAD_LETTERS), f"{number:04}".encode(), headers=list(headers))
    assert producer.flush(30) == 0
    office.command("replay", "--yes", "--limit", "700")
    office.command("replay", "--yes")
    assert [record.value() for record in office.arrived()] == [f"{n:04}".encode() for n in range(1200)]

"""`driftline replay` against a real broker: order, ids, partitions, time, and going on after an interruption."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from aiokafka.partitioner import murmur2

from schemas.catalogue import CatalogueItem, decode_catalogue
from streams.topics import CATALOGUE, DEAD_LETTERS
from workers.replay.state import State, default_path

if TYPE_CHECKING:
    from tests.workers.replay.conftest import Driftline

MAP = ("--format", "csv", "--map", "user_id=u,item_id=i,time=t,type:=view")


def history(count: int, *, users: int = 20) -> str:
    """A csv of `count` rows, one a second, newest first."""
    rows = [f"u{n % users},i{n},{1_511_544_070 + n}" for n in range(count)]
    return "\n".join(["u,i,t", *reversed(rows)])


def items(driftline: Driftline) -> list[str]:
    return [json.loads(record.value() or b"")["item_id"] for record in driftline.records()]


def test_events_arrive_in_time_order_in_the_partition_of_their_user_and_are_stamped_now(driftline: Driftline) -> None:
    driftline.file("past.csv", history(3000))
    before_ms = time.time() * 1000
    assert "sent        3,000 events" in driftline("replay", "past.csv", *MAP)

    records = driftline.records()
    partitions = driftline.settings.user_partitions
    assert len(records) == 3000
    last: dict[int, int] = {}
    for record in records:
        key, partition = record.key() or b"", record.partition()
        event = json.loads(record.value() or b"")
        assert event["user_id"].encode() == key
        assert partition == (murmur2(key) & 0x7FFFFFFF) % partitions
        assert before_ms - 1000 <= record.timestamp()[1] <= time.time() * 1000 + 1000
        assert event["time"] > last.get(partition or 0, 0)
        last[partition or 0] = event["time"]


def test_a_second_replay_repeats_the_same_ids(driftline: Driftline) -> None:
    driftline.file("past.csv", history(100))
    driftline("replay", "past.csv", *MAP)
    driftline("replay", "past.csv", *MAP)
    ids = Counter(json.loads(record.value() or b"")["event_id"] for record in driftline.records())
    assert set(ids.values()) == {2}
    assert len(ids) == 100


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_replay_stopped_midway_and_resumed_sends_each_event_once(
    driftline: Driftline, number: signal.Signals, code: int
) -> None:
    driftline.file("past.csv", history(4000))
    running = driftline.start("replay", "past.csv", *MAP, "--rate", "1500")
    deadline = time.monotonic() + 30
    while not 500 < len(driftline.records()) < 3500:
        assert time.monotonic() < deadline
        assert running.poll() is None, running.communicate()[0].decode()
        time.sleep(0.1)
    running.send_signal(number)
    printed = running.communicate(timeout=30)[0].decode()
    assert running.returncode == code, printed
    assert ("--resume" in printed) == (number != signal.SIGKILL)
    assert 500 < len(driftline.records()) < 4000

    driftline("replay", "past.csv", *MAP, "--resume")
    assert sorted(Counter(items(driftline)).items()) == sorted((f"i{n}", 1) for n in range(4000))
    assert "sent        0 events" in driftline("replay", "past.csv", *MAP, "--resume")


def test_an_overlap_that_was_not_saved_is_found_on_the_topic(driftline: Driftline) -> None:
    driftline.file("past.csv", history(100))
    driftline("replay", "past.csv", *MAP, "--state", "place.json")
    place = driftline.home / "place.json"
    saved = json.loads(place.read_text())
    behind = State(key=saved["key"], position=0, offsets=dict.fromkeys(range(4), 0), clean=False)
    behind.save(place)
    printed = driftline("replay", "past.csv", *MAP, "--state", "place.json", "--resume")
    assert "100 events were on the topic already" in printed
    assert len(driftline.records()) == 100


def test_a_limit_counts_from_the_beginning_and_can_be_raised_later(driftline: Driftline) -> None:
    driftline.file("past.csv", history(100))
    driftline("replay", "past.csv", *MAP, "--limit", "10")
    driftline("replay", "past.csv", *MAP, "--limit", "15", "--resume")
    assert sorted(items(driftline)) == sorted(f"i{n}" for n in range(15))


def test_a_state_of_another_replay_is_refused(driftline: Driftline) -> None:
    driftline.file("past.csv", history(10))
    assert "nothing to resume" in driftline("replay", "past.csv", *MAP, "--resume", code=2)
    driftline("replay", "past.csv", *MAP, "--state", "place.json")
    driftline.file("past.csv", history(11))
    assert "another file" in driftline("replay", "past.csv", *MAP, "--state", "place.json", "--resume", code=2)


def test_a_broken_row_stops_the_replay_before_anything_is_sent(driftline: Driftline) -> None:
    driftline.file("past.csv", history(10) + "\nu1,i1,never")
    printed = driftline("replay", "past.csv", *MAP, code=2)
    assert "past.csv:12: bad-time: time = 'never'" in printed
    assert "--on-error" in printed
    assert not driftline.records()


def test_broken_rows_can_be_skipped_and_are_counted_by_reason(driftline: Driftline) -> None:
    driftline.file("past.csv", history(10) + "\nu1,i1,never\n,i1,1511544070")
    printed = driftline("replay", "past.csv", *MAP, "--on-error", "skip")
    assert "2 rows skipped: bad-time 1, missing-field 1" in printed
    assert len(driftline.records()) == 10


def test_broken_rows_go_to_the_dead_letters_with_file_and_line(driftline: Driftline) -> None:
    driftline.file("past.csv", history(10) + "\nu1,i1,never")
    printed = driftline("replay", "past.csv", *MAP, "--on-error", "dead-letter")
    assert "1 rows to the dead letters: bad-time 1" in printed
    (letter,) = driftline.records(DEAD_LETTERS)
    headers = dict(letter.headers() or ())
    assert letter.value() == b"u1,i1,never"
    assert headers["reason"] == b"bad-time"
    assert headers["source_file"] == b"past.csv:12"
    assert len(driftline.records()) == 10


def test_the_demo_s_catalogue_is_published_keyed_by_item(driftline: Driftline) -> None:
    printed = driftline("replay", "--format", "completejourney", "--catalogue", "--limit", "100")
    assert "catalogue   92,331 products" in printed
    records = driftline.records(CATALOGUE)
    assert len(records) == 92_331
    assert len(driftline.records()) == 100
    for record in records[::1000]:
        key = record.key() or b""
        item = decode_catalogue(key, record.value())
        assert isinstance(item, CatalogueItem), item
        assert item.item_id.encode() == key
        assert record.partition() == (murmur2(key) & 0x7FFFFFFF) % driftline.settings.catalogue_partitions


def test_standard_input_is_replayed_and_cannot_be_resumed(driftline: Driftline) -> None:
    text = history(50).encode()
    assert "sent        50 events" in driftline("replay", "-", *MAP, stdin=text)
    assert "cannot be resumed" in driftline("replay", "-", *MAP, "--resume", stdin=text, code=2)
    assert "line 3" in driftline("replay", "-", *MAP, "--in-order", stdin=text, code=2)


def test_a_sample_takes_whole_users(driftline: Driftline) -> None:
    driftline.file("past.csv", history(1000, users=200))
    driftline("replay", "past.csv", *MAP, "--sample-users", "0.2")
    events = Counter((record.key() or b"").decode() for record in driftline.records())
    assert 20 < len(events) < 60
    assert set(events.values()) == {5}


def test_a_topic_that_is_missing_is_named(driftline: Driftline) -> None:
    driftline.environment["DRIFTLINE_NAMESPACE"] = "t-nowhere"
    driftline.file("past.csv", history(10))
    printed = driftline("replay", "past.csv", *MAP, code=1)
    assert "t-nowhere.behaviour-events.v1: no such topic" in printed
    assert "driftline topics create" in printed


def test_help_shows_examples_and_wrong_combinations_are_refused(driftline: Driftline) -> None:
    assert "Examples:" in driftline("replay", "--help")
    assert "needs a FILE" in driftline("replay", "--format", "csv", code=2)
    assert "--map goes with" in driftline("replay", "x", "--format", "taobao", "--map", "a=b", code=2)
    assert "No such file" in driftline("replay", "none.jsonl", "--format", "jsonl", code=2)


def test_the_default_state_file_lies_in_the_users_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert str(default_path("k")) == "/somewhere/driftline/replay/k.json"

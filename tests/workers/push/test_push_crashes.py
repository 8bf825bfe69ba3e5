"""The push worker killed, paused, and robbed of its Redis: the journal stays the truth."""

from __future__ import annotations

import signal

import msgspec
import pytest
from confluent_kafka import TopicPartition

from streams import kafka_clients, topics
from streams.core.push.journal import decode_position
from streams.failpoints import PUSH_AFTER_TRANSACTION as AFTER
from streams.failpoints import PUSH_BEFORE_TRANSACTION as BEFORE
from streams.failpoints import PUSH_IN_TRANSACTION as IN
from workers.push.errors import AbortedError, FencedError
from workers.push.membership import metadata_of
from workers.push.transaction import Outgoing, Transactions

USERS = [f"user-{k}" for k in range(12)]


def test_killed_anywhere_it_sends_once_and_decides_once(lab) -> None:
    for user in USERS:
        lab.shopper(user)
    lab.env = {"instance_id": "one"}  # a restarted static member need not wait for its own session to end
    for age_s, point in enumerate((IN, AFTER, BEFORE, IN, AFTER)):
        for user in USERS:
            lab.change(user, age_s=age_s)
        process = lab.start(failpoints=f"{point}=1")
        assert process.wait(20) == -signal.SIGKILL, lab.log()
    process = lab.start()
    lab.settle()
    assert len(lab.notifications()) == len(USERS)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_redis_put_back_or_wiped_is_repaired_from_the_journal(lab) -> None:
    for user in USERS:
        lab.shopper(user)
    lab.env = {"push_gap_s": "0", "push_cap_per_day": "9"}
    lab.start()
    for user in USERS:
        lab.change(user)
    lab.settle()
    old = lab.push_keys()
    for user in USERS:
        lab.change(user)
        lab.change(user, "fade")
    lab.settle()
    lab.put_back(old)
    lab.settle()
    lab.put_back({})  # wiped
    lab.change(USERS[0], "fade")
    lab.settle()


def test_a_redis_that_does_not_belong_to_the_journal_is_refused(lab) -> None:
    lab.shopper("ann")
    process = lab.start()
    lab.change("ann")
    lab.settle()
    process.terminate()
    process.wait(10)
    right = lab.push_keys()
    for changed, message in (({"offset": 10_000}, "the journal ends at"), ({"topic_id": "other"}, "another journal")):
        lab.put_back({key: _other(value, changed) if "checkpoint" in key else value for key, value in right.items()})
        assert lab.start().wait(20) == 1
        assert message in lab.log()


def _other(position: bytes, changed: dict) -> bytes:
    return msgspec.structs.replace(decode_position(position), **changed).encode()


def test_a_paused_worker_does_no_harm_when_it_wakes_up(lab) -> None:
    for user in USERS:
        lab.shopper(user)
    lab.env = {"session_timeout_ms": "1500", "push_gap_s": "0"}
    zombie = lab.start()
    lab.change(USERS[0])
    lab.settle()
    heir = lab.start()
    for _ in range(2):
        for user in USERS:
            lab.change(user)
        zombie.send_signal(signal.SIGSTOP)
        for user in USERS:
            lab.change(user)
        lab.settle()
        zombie.send_signal(signal.SIGCONT)
        for user in USERS:
            lab.change(user, "fade")
        lab.settle()
        if zombie.poll() is not None:
            assert zombie.returncode == 1
            zombie = lab.start()
    assert heir.poll() in {None, 1}
    assert len(lab.notifications()) == len(USERS)


def test_an_earlier_owner_is_fenced_by_the_next(lab) -> None:
    def journal(value: bytes) -> list[Outgoing]:
        return [Outgoing(lab.name(topics.PUSH_DECISIONS), 0, b"u", value)]

    consumer = kafka_clients.consumer(lab.settings, "push", {"session.timeout.ms": 6000})
    consumer.subscribe([lab.name(topics.INTEREST_CHANGES)])
    lab.until(lambda: consumer.poll(0.1) or consumer.assignment())
    metadata = metadata_of(consumer)
    place = TopicPartition(lab.name(topics.INTEREST_CHANGES), 0, 1)
    first, second = Transactions(lab.settings, 0), Transactions(lab.settings, 0)
    first.begin_ownership()
    assert first.run(journal(b"{}"), [place], metadata, lab.name(topics.PUSH_DECISIONS)) == [0]
    second.begin_ownership()
    with pytest.raises(FencedError, match="another process took this partition over"):
        first.run(journal(b"{}"), [place], metadata, lab.name(topics.PUSH_DECISIONS))
    consumer.close()  # leaves the group: the metadata of its generation is worth nothing now
    with pytest.raises(AbortedError):
        second.run(journal(b"{}"), [place], metadata, lab.name(topics.PUSH_DECISIONS))
    assert len(lab.read(topics.PUSH_DECISIONS)) == 1
    first.close()
    second.close()

"""A program of its own: returns when the broker at argv[1] serves cluster argv[2], or after argv[3] seconds.

Exit code 0: transactions and groups work; 1: not in time; 3: another cluster answers there.

A process of its own, because a librdkafka handle whose broker goes away may never finish its destruction: here it ends
with the process, and the one that asked keeps no client threads. It imports nothing of Driftline.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

READY, LATE, ANOTHER_CLUSTER = 0, 1, 3
# Four consecutive last characters: their Java hash codes reach all four partitions of an internal topic.
_PROBES = [f"driftline-ready-{digit}" for digit in range(4)]
_POLL_S = 0.05
_ASKED_BY = os.getppid()  # when it is gone, nobody waits for the answer


def probe(bootstrap: str, cluster_id: str, timeout_s: float) -> int:
    """One of the exit codes; `bootstrap` is host:port."""
    deadline = time.monotonic() + timeout_s
    host, _, port = bootstrap.rpartition(":")
    if not _until(partial(_accepts, host, int(port)), deadline):
        return LATE
    quiet: dict[str, str | int | float | bool] = {
        "bootstrap.servers": bootstrap,
        "log_level": 0,
        "retry.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
    }
    admin = AdminClient(quiet)
    seen: list[str] = []
    if not _until(partial(_sees_cluster, admin, seen), deadline):
        return LATE
    if seen != [cluster_id]:
        return ANOTHER_CLUSTER
    # Made early: a producer that has to connect first looks for its coordinator again only after half a second.
    producers = [Producer({**quiet, "transactional.id": name}) for name in _PROBES]
    steps = [partial(_groups_answer, admin), *(partial(_transactions_open, producer) for producer in producers)]
    return READY if all(_until(step, deadline) for step in steps) else LATE


def _until(done: Callable[[], bool], deadline: float) -> bool:
    while not done():
        if time.monotonic() > deadline or os.getppid() != _ASKED_BY:
            return False
        time.sleep(_POLL_S)
    return True


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _sees_cluster(admin: AdminClient, seen: list[str]) -> bool:
    try:
        metadata = admin.list_topics(timeout=1)
    except KafkaException:
        return False
    seen.append(str(metadata.cluster_id))
    return True


def _groups_answer(admin: AdminClient) -> bool:
    """Every coordinator answers, if only that it knows no such group."""
    for future in admin.describe_consumer_groups(_PROBES, request_timeout=2).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                return False
    return True


def _transactions_open(producer: Producer) -> bool:
    try:
        producer.init_transactions(2)
    except KafkaException:
        return False
    return True


if __name__ == "__main__":
    os._exit(probe(sys.argv[1], sys.argv[2], float(sys.argv[3])))

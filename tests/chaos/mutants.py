"""Faults to put into a worker: one that must change nothing, and three mistakes of the past that the suite must notice.

Each replaces something of `streams` in the worker's process before it starts (tests/chaos/processes.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaError

from streams import agents, emit, stages
from streams.core.links import LinkRow, encode_links
from streams.topics import ITEM_LINKS

LOSE = "DRIFTLINE_TEST_LOSE"
"""Which link message of this process is never acknowledged: its number, from 0; "" for none."""


def lose_a_message() -> None:
    """One link message fails for good, as when a broker is unreachable for longer than the delivery timeout."""
    produce, left = emit.Emitter._produce, [int(os.environ.get(LOSE) or -1)]

    def lossy(self: emit.Emitter, message: emit.Message, waiting: emit._Outstanding) -> None:
        if not message.topic.endswith(ITEM_LINKS.name):
            return produce(self, message, waiting)
        left[0] -= 1
        if left[0] != -1:
            return produce(self, message, waiting)
        return waiting.delivered(KafkaError(KafkaError._MSG_TIMED_OUT), _Place(message))

    emit.Emitter._produce = lossy  # type: ignore[method-assign]


class _Place:
    """As much of a confluent_kafka.Message as an error needs."""

    def __init__(self, message: emit.Message) -> None:
        self.topic, self.partition = (lambda: message.topic), (lambda: message.partition)


def trim_without_reload() -> None:
    """(a) After a mismatch the batch is trimmed to the new watermark, and the states in memory are kept."""

    def drop(self: agents.Lane, why: str) -> None:
        self._known = None
        if why not in ("commit", "load"):
            self.stage.forget()

    agents.Lane._drop = drop  # type: ignore[method-assign]
    lose_a_message()


def message_per_row() -> None:
    """(b) One message for each link, deduplicated by source offset, although an event has several links."""

    def scattered(rows: Sequence[LinkRow], **fields: Any) -> Iterator[tuple[int, bytes]]:
        for row in rows:
            for neighbours in ((), *((x,) for x in row.neighbours)):
                yield from encode_links([row._replace(neighbours=neighbours)], **fields)

    stages.encode_links = scattered  # type: ignore[assignment]
    lose_a_message()


def overtaking() -> None:
    """(c) A link message that failed is taken for delivered: later ones overtake it."""
    delivered = emit._Outstanding.delivered

    def trusting(self: emit._Outstanding, _: KafkaError | None, message: Any) -> None:
        delivered(self, None, message)

    emit._Outstanding.delivered = trusting  # type: ignore[method-assign]
    lose_a_message()


MUTANTS: dict[str, Callable[[], None]] = {
    "lost-message": lose_a_message,
    "trim-without-reload": trim_without_reload,
    "message-per-row": message_per_row,
    "overtaking": overtaking,
}

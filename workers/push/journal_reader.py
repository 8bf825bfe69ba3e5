"""Reading the journal of one partition from an offset to its end, in steps, so that the worker stays in its group."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.push_decision import PushDecision, decode_push_decision
from schemas.reasons import Rejection
from streams import kafka_clients
from streams.settings import Settings
from workers.push.errors import AbortedError, PushError

CHUNK = 5000
_CALL_S = 15.0


def end_of(settings: Settings, topic: str, partition: int) -> tuple[int, int]:
    """First offset and end (next offset, open transactions included) of a partition.

    Raises AbortedError if the brokers do not answer.
    """
    consumer = kafka_clients.consumer(settings, "push.journal", {"isolation.level": "read_uncommitted"})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_CALL_S)
    except KafkaException as error:
        raise AbortedError(f"{topic}/{partition}: {error.args[0]}") from error
    finally:
        consumer.close()
    return int(low), int(high)


def decode_entry(message: Message) -> PushDecision:
    """The entry in a record of the journal. Raises PushError if this release cannot read it."""
    entry = decode_push_decision(message.value())
    if isinstance(entry, Rejection):
        place = f"{message.topic()}/{message.partition()}/{message.offset()}"
        raise PushError(f"{place}: not an entry this release can read ({entry.detail}); run the release that wrote it")
    return entry


class JournalReader:
    """Committed records of one partition, from `start` (inclusive) to `end` (exclusive), the end found beforehand.

    A transaction that is still open below `end` is waited for.
    """

    def __init__(self, settings: Settings, topic: str, partition: int, start: int, end: int) -> None:
        self._end = end
        self.position = start
        self._consumer: Consumer | None = None
        if start < end:
            self._consumer = kafka_clients.consumer(
                settings,
                f"push.journal.{partition}",  # never joined: positions are given, nothing is committed
                {"enable.partition.eof": True, "fetch.wait.max.ms": 100},
            )
            self._consumer.assign([TopicPartition(topic, partition, start)])

    @property
    def done(self) -> bool:
        """Whether everything below the end was read."""
        return self._consumer is None or self.position >= self._end

    def read(self, timeout_s: float) -> list[Message]:
        """The next records, at most CHUNK; [] if none came in time. Raises AbortedError if Kafka fails."""
        if self._consumer is None:
            return []
        try:
            first = self._consumer.consume(1, timeout_s)
            return list(self._records([*first, *self._consumer.consume(CHUNK, 0.0)] if first else []))
        except KafkaException as error:
            raise AbortedError(str(error.args[0])) from error

    def _records(self, messages: list[Message]) -> Iterator[Message]:
        for message in messages:
            offset = message.offset()
            error = message.error()
            if error is None and offset is not None:
                self.position = offset + 1
                if offset < self._end:
                    yield message
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # a public name
                self.position = max(self.position, offset or 0)
            elif error is not None:
                raise KafkaException(error)

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

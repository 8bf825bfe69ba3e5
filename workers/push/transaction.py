"""One Kafka transaction: journal records, notifications, dead letters and input offsets, all or nothing.

The transactional id is `<namespace>.push.<partition>`, one producer for each owned partition. Two fences follow:

- `init_transactions` on assignment ends whatever the previous owner of this partition left open, and fences its
  producer: when it returns, nothing of an earlier owner can be added to this partition's journal any more, so the
  end read after it is the end. An id for each process would be as safe, but after a crash the partition would
  wait until the broker gives the open transaction up (transaction.timeout.ms and up to 10 s more).
- the group metadata of the assignment (membership.py) goes with the offsets (KIP-447): a worker that lost its
  partitions cannot commit, even if it was the last to call `init_transactions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams import kafka_clients
from streams.failpoints import PUSH_IN_TRANSACTION, failpoint
from streams.settings import Settings
from workers.push.errors import AbortedError, FencedError

TRANSACTION_TIMEOUT_MS = 15_000
_CALL_S = 30.0
_FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001  # librdkafka's public name of a local error
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
    }
)


class Outgoing(msgspec.Struct, frozen=True):
    """A record to write. `timestamp_ms` 0: the time it is produced."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int = 0


class Transactions:
    """The transactions of one partition, one after the other. Not thread-safe."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._id = f"{settings.namespace}.push.{partition}"
        self._producer: Producer = kafka_clients.producer(
            settings,
            {
                "transactional.id": self._id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "message.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "retry.backoff.ms": 5,  # else each transaction waits 100 ms for the end of the one before
                "linger.ms": 0,
            },
        )

    def begin_ownership(self) -> None:
        """End and fence what an earlier owner left. Raises FencedError, AbortedError if the brokers do not answer."""
        self._guarded(lambda: self._producer.init_transactions(_CALL_S))

    def run(
        self, records: Sequence[Outgoing], offsets: Sequence[TopicPartition], metadata: bytes, journal: str
    ) -> list[int]:
        """Write everything in one transaction and return the offsets of the records of topic `journal`, in order.

        Raises AbortedError (nothing happened, or it is unknown whether it did) or FencedError.
        """
        acks: list[int] = []
        refused: list[KafkaError] = []

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                refused.append(error)
            elif message.topic() == journal:
                acks.append(int(message.offset() or 0))

        self._guarded(self._producer.begin_transaction)
        try:
            for record in records:
                self._produce(record, acknowledged)
            self._guarded(lambda: self._producer.send_offsets_to_transaction(list(offsets), metadata, _CALL_S))
            self._guarded(lambda: self._producer.flush(_CALL_S))
            failpoint(PUSH_IN_TRANSACTION)
            self._require_all(refused)
            self._guarded(lambda: self._producer.commit_transaction(_CALL_S))
        except AbortedError:
            self._abort()
            raise
        return sorted(acks)

    def _produce(self, record: Outgoing, acknowledged: Callable[[KafkaError | None, Message], None]) -> None:
        try:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                headers=list(record.headers),
                timestamp=record.timestamp_ms,
                on_delivery=acknowledged,
            )
        except (BufferError, KafkaException) as error:
            raise AbortedError(f"{self._id}: {error}") from error

    def _require_all(self, refused: Sequence[KafkaError]) -> None:
        if refused:
            error = KafkaException(refused[0])
            self._raise_if_fenced(error)
            raise AbortedError(f"{self._id}: {refused[0]}") from error

    def _abort(self) -> None:
        """Best effort: an open transaction that cannot be aborted is ended by the next `begin_ownership`."""
        try:
            self._producer.abort_transaction(_CALL_S)
        except KafkaException as error:
            self._raise_if_fenced(error)

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except KafkaException as error:
            self._raise_if_fenced(error)
            raise AbortedError(f"{self._id}: {error.args[0]}") from error

    def _raise_if_fenced(self, error: KafkaException) -> None:
        cause: KafkaError = error.args[0]
        if cause.code() in _FENCED:
            raise FencedError(
                f"{self._id}: another process took this partition over ({cause.str()}). Nothing was written. If this "
                "process was paused or cut off, restart it; two workers may not share DRIFTLINE_INSTANCE_ID."
            ) from error

    def close(self) -> None:
        """Give the producer up. What it left open is aborted here or by the next owner."""
        del self._producer

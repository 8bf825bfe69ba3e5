"""From what Redis holds to the end of the journal: after an assignment, and whenever memory may be wrong."""

from __future__ import annotations

from confluent_kafka import Message

from schemas.push_decision import PushDecision
from streams.core.push.journal import JournalPosition, Timers, fold
from streams.settings import Settings
from workers.push.errors import PushError
from workers.push.journal_reader import JournalReader, decode_entry, end_of
from workers.push.states import PartitionStates
from workers.push.topology import Topology

_WAIT_S = 0.2


class Recovery:
    """Folds in steps; between two of them the worker serves its group. Call it after the earlier owner is fenced.

    Raises PushError if Redis and the journal do not belong together.
    """

    def __init__(self, settings: Settings, topology: Topology, states: PartitionStates, partition: int) -> None:
        low, end = end_of(settings, topology.journal, partition)
        beginning = JournalPosition(topic_id=topology.journal_id, partition=partition, partitions=topology.partitions)
        position = states.open(beginning)
        _require_fit(position, beginning, low, end)
        self.timers = Timers()
        self.folded = 0
        self._states = states
        self._reader = JournalReader(settings, topology.journal, partition, position.timers_from, end)

    def step(self) -> bool:
        """Fold some records; True when the end of the journal is reached."""
        if not self._reader.done:
            self._fold([(int(message.offset() or 0), decode_entry(message)) for message in self._read()])
        return self._reader.done

    def _read(self) -> list[Message]:
        return self._reader.read(_WAIT_S)

    def _fold(self, records: list[tuple[int, PushDecision]]) -> None:
        """Records below Redis' position only tell which deferrals are open."""
        for offset, entry in records:
            self.timers.take_in(offset, entry)
        position = self._states.position
        new = [entry for offset, entry in records if offset >= position.offset]
        if new:
            changed = fold(self._states.of(entry.user_id for entry in new), new)
            self._states.commit(position.after(records[-1][0], new, self.timers), changed)
            self.folded += len(new)

    def close(self) -> None:
        self._reader.close()


def _require_fit(position: JournalPosition, beginning: JournalPosition, low: int, end: int) -> None:
    where = f"partition {beginning.partition} of push-decisions.v1"
    if (position.topic_id, position.partition, position.partitions) != (
        beginning.topic_id,
        beginning.partition,
        beginning.partitions,
    ):
        raise PushError(
            f"{where}: Redis holds the state of another journal (topic id {position.topic_id}, {position.partitions} "
            f"partitions; Kafka has {beginning.topic_id}, {beginning.partitions}). Point this worker at the Kafka and "
            "Redis that belong together. If the topic was deleted on purpose, delete the push keys (docs/push.md)."
        )
    if position.offset > end:
        raise PushError(
            f"{where}: Redis stands at offset {position.offset}, the journal ends at {end}: the journal lost records "
            "that were acknowledged. Restore the topic; what it lost may otherwise be sent again (docs/push.md)."
        )
    if position.timers_from < low:
        raise PushError(
            f"{where}: it begins at offset {low}, the fold needs it from {position.timers_from}. The journal must be "
            "kept for ever (retention.ms=-1, cleanup.policy=delete); restore Redis or the topic (docs/push.md)."
        )

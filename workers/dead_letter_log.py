"""Reading dead-letters.v1: letters are refused records, notes say which were sent again (see dead_letters.py)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from schemas.dead_letter import DeadLetter, read_dead_letter
from schemas.reasons import Reason
from streams import kafka_clients
from streams.settings import Settings
from streams.topics import DEAD_LETTERS, full_name

if TYPE_CHECKING:
    from confluent_kafka import Message

RESENT: Final = "driftline-resent"
"""Header of a note: which letter was sent again, "partition/offset" on dead-letters.v1."""
SHOWN_BYTES: Final = 60

Place = tuple[int, int]
"""Partition and offset on dead-letters.v1."""


@dataclass(frozen=True, slots=True)
class Note:
    """A letter that was sent again."""

    letter: Place


@dataclass(frozen=True, slots=True)
class Letter:
    """A refused record.

    place    where the letter lies
    time_ms  when it was written, epoch ms
    record   what was refused, why, and where it came from
    """

    place: Place
    time_ms: int
    record: DeadLetter

    def unsendable(self, topics: Collection[str]) -> str:
        """Why the record cannot be sent to one of `topics` again; empty if it can."""
        if self.record.reason == Reason.UNREADABLE_BATCH:
            return "a range of records nobody can read; ask the producer to send them again"
        if not self.record.is_complete:
            return "only a prefix was kept (over 256 KiB); ask the producer to send the record again"
        if self.record.came.topic not in topics:
            return f"from {self.record.came.topic}, which is not an upstream topic of this namespace"
        return ""

    def shown_key(self) -> str:
        """The key for people; never more than about SHOWN_BYTES characters."""
        return "-" if self.record.key is None else _shown(self.record.key)

    def beginning(self) -> str:
        """The first bytes of the value, safe to print."""
        return "-" if self.record.value is None else _shown(self.record.value)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; bytes that are not UTF-8 are escaped as \\xNN."""
        record = self.record
        return {
            "partition": self.place[0],
            "offset": self.place[1],
            "time_ms": self.time_ms,
            "reason": record.reason,
            "detail": record.detail,
            "source": {"topic": record.came.topic, "partition": record.came.partition, "offset": record.came.offset},
            "key": None if record.key is None else record.key.decode(errors="backslashreplace"),
            "size": record.size,
            "sha256": record.sha256,
            "complete": record.is_complete,
            "beginning": (record.value or b"")[:SHOWN_BYTES].decode(errors="backslashreplace"),
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant.

    reasons   any of these; empty: every reason
    came      topic (full name) [, partition [, offset]]; empty: from anywhere
    since_ms  written at or after, epoch ms; None: whenever
    """

    reasons: frozenset[str] = frozenset()
    came: tuple[str, ...] = ()
    since_ms: int | None = None

    @classmethod
    def of(cls, reasons: Sequence[str], source: str | None, since_ms: int | None, namespace: str) -> Selection:
        """From command line options. The topic may leave out the namespace.

        Raises ValueError for an unknown reason or a source that is none.

        >>> Selection.of(["bad-time"], "behaviour-events.v1/3", None, "driftline").came
        ('driftline.behaviour-events.v1', '3')
        """
        known = {str(reason) for reason in Reason}
        for reason in reasons:
            if reason not in known:
                raise ValueError(f"--reason {reason!r}: there are {', '.join(sorted(known))}")
        came = tuple(source.split("/")) if source else ()
        if len(came) > 3 or not all(part.isdecimal() for part in came[1:]):
            raise ValueError(f"--source {source!r}: write TOPIC, TOPIC/PARTITION or TOPIC/PARTITION/OFFSET")
        if came and not came[0].startswith(f"{namespace}."):
            came = (f"{namespace}.{came[0]}", *came[1:])
        return cls(frozenset(reasons), came, since_ms)

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        if self.reasons and letter.record.reason not in self.reasons:
            return False
        if self.since_ms is not None and letter.time_ms < self.since_ms:
            return False
        return tuple(str(letter.record.came).split("/"))[: len(self.came)] == self.came


def read(settings: Settings, *, begin: Mapping[int, int] | None = None) -> Iterator[Letter | Note]:
    """Everything on dead-letters.v1, in offset order; records that are neither a letter nor a note are passed over.

    begin  partition → first offset to read; None: all from the beginning

    Raises LookupError when there is no such topic.
    """
    for message in kafka_clients.read_to_end(settings, full_name(settings.namespace, DEAD_LETTERS), begin):
        entry = _entry(message)
        if entry is not None:
            yield entry


def _entry(message: Message) -> Letter | Note | None:
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])  # what a consumed message always has
    try:
        note = dict(headers).get(RESENT)
        if note is not None:
            partition, _, offset = note.decode().partition("/")
            return Note((int(partition), int(offset)))
        record = read_dead_letter(message.value(), headers)
    except ValueError:
        return None
    return Letter((message.partition() or 0, message.offset() or 0), message.timestamp()[1], record)


def _shown(raw: bytes) -> str:
    text = repr(raw[:SHOWN_BYTES])[2:-1]
    return f"{text}…" if len(raw) > SHOWN_BYTES else text

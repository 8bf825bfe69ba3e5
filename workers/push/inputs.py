"""From records of the three input topics to what the core decides on, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from confluent_kafka import Message

from schemas.coordinates import Coordinates
from schemas.feedback import Feedback, decode_feedback
from schemas.interest_change import InterestChange, decode_interest_change
from schemas.reasons import Reason, Rejection
from schemas.user_settings import UserSettings, decode_user_settings
from streams.core.hashing import user_partition
from streams.core.push.decide import ChangeInput, FeedbackInput, SettingInput
from workers.push.topology import Topology

MAX_BYTES = 65_536


class Refused(msgspec.Struct, frozen=True):
    """A record that is not understood, for dead-letters.v1."""

    source: Coordinates
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    rejection: Rejection


class Inputs(msgspec.Struct):
    """A run of input of one partition, by topic, in offset order each."""

    changes: list[ChangeInput]
    settings: list[SettingInput]
    feedback: list[FeedbackInput]
    refused: list[Refused]

    def users(self) -> Iterator[str]:
        """Everybody the run is about."""
        yield from (given.user_id for given in self.changes)
        yield from (given.user_id for given in self.settings)
        yield from (given.user_id for given in self.feedback)


def read_inputs(messages: Sequence[Message], topology: Topology) -> Inputs:
    """Decode a run. Never raises for what a record holds."""
    inputs = Inputs([], [], [], [])
    for message in messages:
        given = _read(message, topology)
        match given:
            case ChangeInput():
                inputs.changes.append(given)
            case SettingInput():
                inputs.settings.append(given)
            case FeedbackInput():
                inputs.feedback.append(given)
            case Rejection():
                source = _source(message)
                refused = Refused(source, message.timestamp()[1], message.key(), message.value(), given)
                inputs.refused.append(refused)
    return inputs


def _read(message: Message, topology: Topology) -> ChangeInput | SettingInput | FeedbackInput | Rejection:
    key, raw = message.key() or b"", message.value()
    found: InterestChange | UserSettings | Feedback | Rejection
    if message.topic() == topology.changes:
        found = decode_interest_change(raw, max_bytes=MAX_BYTES)
    elif message.topic() == topology.feedback:
        found = decode_feedback(raw, max_bytes=MAX_BYTES)
    elif raw is None:
        return _settings_deleted(message, key, topology)
    else:
        found = decode_user_settings(raw, max_bytes=MAX_BYTES)
    if isinstance(found, Rejection):
        return found
    fault = _misplaced(found.user_id.encode(), key, message, topology)
    return fault or _given(found, message)


def _given(
    found: InterestChange | UserSettings | Feedback, message: Message
) -> ChangeInput | SettingInput | FeedbackInput:
    source = _source(message)
    match found:
        case InterestChange():
            return ChangeInput(source, message.timestamp()[1], found)
        case UserSettings():
            return SettingInput(source, found.user_id, found)
        case Feedback():
            return FeedbackInput(source, found)


def _settings_deleted(message: Message, key: bytes, topology: Topology) -> SettingInput | Rejection:
    """A tombstone: the user asks for nothing any more."""
    try:
        user_id = key.decode()
    except UnicodeDecodeError:
        user_id = ""
    if not user_id:
        return Rejection(Reason.KEY_MISMATCH, "key: a tombstone without a user's id; use the user's id as the key")
    return _misplaced(key, key, message, topology) or SettingInput(_source(message), user_id, None)


def _misplaced(user: bytes, key: bytes, message: Message, topology: Topology) -> Rejection | None:
    if key != user:
        return Rejection(Reason.KEY_MISMATCH, f"key {key[:40]!r}: use the user_id as the record's key")
    right = user_partition(key, topology.partitions)
    if message.partition() != right:
        return Rejection(Reason.WRONG_PARTITION, f"partition {message.partition()}: murmur2 of the key says {right}")
    return None


def _source(message: Message) -> Coordinates:
    return Coordinates(topic=message.topic() or "", partition=message.partition() or 0, offset=message.offset() or 0)

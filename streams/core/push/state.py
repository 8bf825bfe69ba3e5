"""What the push worker remembers of one user, bounded, and its packed layout. A fold of the journal (journal.py)."""

from __future__ import annotations

import msgspec
from xxhash import xxh3_128_hexdigest

from schemas.push_decision import DecisionCause
from schemas.user_settings import QuietHours, UserSettings
from streams.core.checkpoint import UnknownVersionError

VERSION = 1

DAY_MS = 86_400_000
SENDS_MAX = 100  # the highest cap there is (`push_cap_per_day`): more sends in 24 hours cannot happen
CAUSES_MAX = 64  # decided interest changes remembered for deduplication
SENT_CAUSES_MAX = 64  # causes of the newest notifications, kept beside: no id may ever be used twice
SENT_ITEMS_MAX = 256
DEFERRED_CAUSES_MAX = 5  # categories one digest can speak of


class Deferral(msgspec.Struct, array_like=True, frozen=True):
    """A decision put off to the end of the quiet hours.

    due_ms  when to decide, epoch ms
    causes  oldest first; the first one names the notification, the others were merged into it
    """

    due_ms: int
    causes: tuple[DecisionCause, ...]


class PushState(msgspec.Struct, array_like=True, frozen=True):
    """One user. Times are the `now` of decisions, epoch ms; hashes are XXH3-64. Lists are oldest first.

    sends        notifications less than 24 hours older than the newest one
    last_sent_ms the newest notification, 0: none yet
    sent_items   items of the newest notifications
    sent_causes  first causes of the newest notifications
    causes       interest changes decided or deferred
    setting      the user's settings, None: the defaults
    deferral     what waits for the end of quiet hours
    feedback     (action, count), by action
    """

    sends: tuple[int, ...] = ()
    last_sent_ms: int = 0
    sent_items: tuple[int, ...] = ()
    sent_causes: tuple[int, ...] = ()
    causes: tuple[int, ...] = ()
    setting: UserSettings | None = None
    deferral: Deferral | None = None
    feedback: tuple[tuple[str, int], ...] = ()

    @property
    def opted_out(self) -> bool:
        """Whether the user wants no notifications at all."""
        return self.setting is not None and not self.setting.push_enabled

    @property
    def quiet_hours(self) -> QuietHours | None:
        """When the user wants none."""
        return None if self.setting is None else self.setting.quiet_hours

    def encode(self) -> bytes:
        """Version byte, then the fields in order as one msgpack array: the same state gives the same bytes."""
        return _PREFIX + _ENCODER.encode(self)


def notification_id(user_id: str, cause_id: str) -> str:
    """The one id of the notification this cause leads to: 32 hex digits.

    >>> notification_id("u1", "c1")
    'a841ae612c1e43e02be919dd6d22a7f3'
    """
    return xxh3_128_hexdigest(f"{user_id}\0{cause_id}".encode())


NEW = PushState()
"""A user of whom the journal says nothing."""


def decode_push(data: bytes) -> PushState:
    """The inverse of `PushState.encode`. Raises UnknownVersionError for another layout."""
    if not data or data[0] != VERSION:
        raise UnknownVersionError(f"push state layout {data[:1].hex() or 'empty'}, this release reads {VERSION:02x}")
    return _DECODER.decode(memoryview(data)[1:])


_PREFIX = bytes((VERSION,))
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(PushState)

"""What is kept of one shopper, bounded, and its packed layout."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from streams.core.checkpoint import UnknownVersionError

VERSION = 1

SEEN_MAX = 32  # event ids remembered for deduplication
SESSION_ITEMS_MAX = 60
REPEAT_WINDOW = 50  # a repeat is an item among this many newest ones of the session
LINK_STEPS = 5
CATEGORIES_MAX = 32
RECENT_MAX = 16
BOUGHT_MAX = 64
DISMISSED_MAX = 32


class Tier(IntEnum):
    """How much an interest matters to a shopper now."""

    NONE = 0
    EMERGING = 1
    ACTIVE = 2
    CORE = 3
    FADING = 4
    DORMANT = 5


class Consent(IntEnum):
    """What the shopper said about being profiled."""

    UNKNOWN = 0
    GRANTED = 1
    WITHDRAWN = 2


class Interest(msgspec.Struct, array_like=True, gc=False):
    """One tracked category of a shopper.

    category      path, levels joined by " > "
    affinity      forward-decayed weight under the shopper's landmark, >= 0
    visits        sessions with a positive, not late event on it
    last_session  number of the session of the last visit, 0 for none
    history       bit i: visited in session last_session - i (32 bits)
    last_ms       event time of the newest positive, not late event on it
    tier          Tier; risen, declared are flags
    """

    category: str
    affinity: float = 0.0
    visits: int = 0
    last_session: int = 0
    history: int = 0
    last_ms: int = 0
    tier: int = int(Tier.NONE)  # a plain integer: comparing members of an enum is slower
    risen: bool = False
    declared: bool = False


class RecentItem(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One of the newest positive interactions: what the shopper did lately, by name."""

    item_id: str
    category: str
    type: str
    time_ms: int


class UserState(msgspec.Struct, array_like=True, gc=False):
    """One shopper. Times are event times in epoch ms; hashes are XXH3-64.

    seen_ids, seen_content  the last accepted event ids and their content hashes, oldest first
    sessions                number of the current (or last) session, 0 before the first
    session_key             hash of the current session's `session_id`, 0 for none
    session_items           items of the current session, oldest first
    since                   number of sessions when the profile began: sessions before it say nothing about interests
    epoch                   landmark of the affinities (streams/core/forward_decay.py)
    """

    last_ms: int = 0
    consent: int = int(Consent.UNKNOWN)
    sessions: int = 0
    session_key: int = 0
    since: int = 0
    epoch: int = 0
    seen_ids: list[int] = []
    seen_content: list[int] = []
    session_items: list[int] = []
    interests: list[Interest] = []
    recent: list[RecentItem] = []
    bought: list[int] = []
    dismissed: list[int] = []

    def clear_profile(self) -> None:
        """Forget everything but the ids seen, the number of sessions, the newest time and the consent."""
        self.session_key = 0
        self.since = self.sessions
        self.epoch = 0
        self.session_items = []
        self.interests = []
        self.recent = []
        self.bought = []
        self.dismissed = []

    def encode(self) -> bytes:
        """Version byte, then the fields in order as one msgpack array: the same state gives the same bytes."""
        return _PREFIX + _ENCODER.encode(self)


def decode_user(data: bytes) -> UserState:
    """The inverse of `UserState.encode`. Raises UnknownVersionError for another layout."""
    if not data or data[0] != VERSION:
        raise UnknownVersionError(f"user state layout {data[:1].hex() or 'empty'}, this release reads {VERSION:02x}")
    return _DECODER.decode(memoryview(data)[1:])


_PREFIX = bytes((VERSION,))
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(UserState)

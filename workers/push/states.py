"""The user states of one partition, as they are at one position of the journal: a cache over Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.core.checkpoint import UnknownVersionError
from streams.core.push.journal import JournalPosition, decode_position
from streams.core.push.state import NEW, PushState, decode_push
from streams.store.keys import Shard
from streams.store.protocol import Store
from workers.push.errors import OutOfStepError, PushError


class PartitionStates:
    """One owner at a time: whoever finds another position than it left raises OutOfStepError and folds again.

    Every method may also raise StoreUnavailableError; afterwards, too, the journal has to be folded again.
    """

    def __init__(self, store: Store, shard: Shard, ttl_s: int, most: int) -> None:
        self._store = store
        self._shard = shard
        self._ttl_s = ttl_s
        self._most = most
        self._stored = b""
        self._states: dict[str, PushState] = {}
        self.position = JournalPosition(topic_id="", partition=-1, partitions=0)

    def open(self, beginning: JournalPosition) -> JournalPosition:
        """The position Redis holds; without one, an empty state at `beginning`. Forgets what was in memory."""
        self._states = {}
        stored, _ = self._store.load(self._shard, [])
        if stored is None:
            stored = self._create(beginning)
        try:
            self.position = decode_position(stored)
        except UnknownVersionError as error:
            raise PushError(
                f"{self._shard.checkpoint}: {error}; run the release that wrote it, or delete the key"
            ) from None
        self._stored = stored
        return self.position

    def _create(self, beginning: JournalPosition) -> bytes:
        """Leftovers go first: a fold from the beginning starts with nothing."""
        self._store.delete_prefix(self._shard.push(""))
        stored = beginning.encode()
        if not self._store.create(self._shard.checkpoint, stored):
            raise OutOfStepError(f"{self._shard.checkpoint}: somebody else created it")
        return stored

    def of(self, users: Iterable[str]) -> dict[str, PushState]:
        """The states of these users; NEW for one of whom the journal says nothing."""
        wanted = list(dict.fromkeys(users))
        missing = [user for user in wanted if user not in self._states]
        if missing:
            stored, values = self._store.load(self._shard, [self._shard.push(user) for user in missing])
            self._require(stored)
            for user, value in zip(missing, values, strict=True):
                self._states[user] = NEW if value is None else decode_push(value)
        return {user: self._states[user] for user in wanted}

    def commit(self, position: JournalPosition, changed: Mapping[str, PushState]) -> None:
        """Store a later position and the states that changed up to it, all or nothing."""
        value = position.encode()
        writes = {self._shard.push(user): state.encode() for user, state in changed.items()}
        if not self._store.commit(self._shard, self._stored, value, writes):
            raise OutOfStepError(f"{self._shard.checkpoint}: not where this worker left it")
        self._stored, self.position = value, position
        if len(self._states) + len(changed) > self._most:
            self._states = {}
        self._states.update(changed)
        # Garbage collection. What a user asked for is never garbage.
        idle = [self._shard.push(user) for user, state in changed.items() if state.setting is None]
        if idle:
            self._store.expire(idle, self._ttl_s)

    def check(self) -> None:
        """Compare with Redis."""
        self._require(self._store.load(self._shard, [])[0])

    def _require(self, stored: bytes | None) -> None:
        if stored != self._stored:
            raise OutOfStepError(f"{self._shard.checkpoint}: not where this worker left it")

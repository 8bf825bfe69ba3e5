"""What a decision looks up live: who serves, what the user did, what is similar, what things are called.

None of it need be repeatable: the outcome of a decision is in the journal.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.push_decision import DecisionCause
from schemas.reasons import HoldReason
from streams.core.push.candidates import candidates, seeds
from streams.core.push.decide import Choice
from streams.core.push.policy import PushPolicy
from streams.core.push.state import PushState
from streams.core.user_state import Consent
from streams.incarnation import keyspace
from streams.settings import Settings
from streams.store.keys import Keyspace
from streams.store.protocol import Store
from streams.store.reader import Reader
from workers.push.errors import PushError

_CHECKED = 20  # best candidates whose catalogue record is looked at


def policy_of(settings: Settings) -> PushPolicy:
    """The operator's rules from the settings."""
    return PushPolicy(
        enabled=settings.push_enabled,
        shadow=settings.push_shadow,
        cap_per_day=settings.push_cap_per_day,
        gap_s=settings.push_gap_s,
        items=settings.push_items,
        min_score=settings.push_min_score,
        max_lag_s=settings.push_max_lag_s,
        max_age_s=settings.push_max_age_s,
        expiry_s=settings.push_expiry_s,
    )


class Lookup:
    """Reads the serving generation. Raises StoreUnavailableError like the store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._policy = policy_of(settings)

    def serving(self) -> int:
        """The generation that serves. Raises PushError if Redis knows of none."""
        key = Keyspace.serving(self._settings.namespace)
        (value,) = self._store.read([key])
        if value is None:
            raise PushError(f"{key} is missing: run `driftline init` first; if Redis was wiped, `driftline rebuild`")
        return int(value)

    def choose(self, user_id: str, causes: Sequence[DecisionCause], state: PushState) -> Choice | HoldReason:
        """The items to recommend, or why there are none: no-profile, no-candidates or low-score."""
        reader = self._reader(causes[-1].generation)
        user = reader.user(user_id)
        if user is None or user.consent == Consent.WITHDRAWN:
            return HoldReason.NO_PROFILE
        lately = seeds(user.recent, {cause.category for cause in causes})
        similar = reader.similar([seed.item_id for seed in lately])
        found = candidates(lately, similar, {*user.bought, *user.dismissed, *state.sent_items})
        if not found:
            return HoldReason.NO_CANDIDATES
        good = [candidate for candidate in found if candidate.score >= self._policy.min_score][:_CHECKED]
        if not good:
            return HoldReason.LOW_SCORE
        known = reader.catalogue([c.item_id for c in good] + [seed.item_id for seed in lately])
        chosen = [c for c in good if c.item_id not in known or known[c.item_id].in_stock][: self._policy.items]
        if not chosen:
            return HoldReason.NO_CANDIDATES
        return Choice(tuple(chosen), {item: record.title for item, record in known.items()})

    def _reader(self, generation: int) -> Reader:
        return Reader(self._store, keyspace(self._settings, generation))

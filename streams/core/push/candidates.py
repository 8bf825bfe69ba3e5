"""What to recommend: neighbours of what the user did lately in a category, each with the evidence for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from schemas.fields import SEPARATOR
from streams.core.hashing import id_hash
from streams.core.user_state import RecentItem

RANK_DECAY = 0.8
EVIDENCE_MAX = 3
TYPE_WEIGHTS: Mapping[str, float] = {"favourite": 1.5, "share": 1.5, "cart": 2.0, "purchase": 2.0}
"""What counts more than a view: every other type has weight 1."""


class Evidence(msgspec.Struct, frozen=True):
    """One reason for a candidate: an item of the user, what they did with it, and how similar the two are (0..1)."""

    item_id: str
    type: str
    similarity: float


class Candidate(msgspec.Struct, frozen=True):
    """An item worth recommending. `score` is the weighted sum of similarities, >= 0; the best evidence comes first."""

    item_id: str
    score: float
    evidence: tuple[Evidence, ...]


def within(category: str, risen: str) -> bool:
    """Whether a category is the risen one or lies below it.

    >>> within("Garden > Tools", "Garden"), within("Gardening", "Garden")
    (True, False)
    """
    return category == risen or category.startswith(risen + SEPARATOR)


def seeds(recent: Sequence[RecentItem], categories: Collection[str]) -> list[RecentItem]:
    """What the user did lately in the risen categories, newest first, each item once (its newest interaction)."""
    newest: dict[str, RecentItem] = {}
    for seen in reversed(recent):
        if any(within(seen.category, risen) for risen in categories):
            newest.setdefault(seen.item_id, seen)
    return list(newest.values())


def candidates(
    seeds: Sequence[RecentItem], similar: Mapping[str, Sequence[tuple[str, float]]], excluded: Collection[int]
) -> list[Candidate]:
    """The neighbours of the seeds, best first; ties by item id.

    score(y) = Σ over seeds x at rank r = 0, 1, ...:  0.8^r · weight(type of x) · sim(x, y)

    seeds     newest first (see `seeds`)
    similar   per seed its neighbours with their similarity, 0..1
    excluded  hashes of items never to recommend: bought, dismissed, sent before; the seeds are left out as well
    """
    own = {seed.item_id for seed in seeds}
    scores: dict[str, float] = {}
    reasons: dict[str, list[tuple[float, Evidence]]] = {}
    for rank, seed in enumerate(seeds):
        weight = RANK_DECAY**rank * TYPE_WEIGHTS.get(seed.type, 1.0)
        for item, similarity in similar.get(seed.item_id, ()):
            if item in own or similarity <= 0:
                continue
            scores[item] = scores.get(item, 0.0) + weight * similarity
            reasons.setdefault(item, []).append((weight * similarity, Evidence(seed.item_id, seed.type, similarity)))
    ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Candidate(item, score, _best(reasons[item])) for item, score in ranked if id_hash(item) not in excluded]


def _best(reasons: list[tuple[float, Evidence]]) -> tuple[Evidence, ...]:
    ranked = sorted(reasons, key=lambda pair: (-pair[0], pair[1].item_id))
    return tuple(evidence for _, evidence in ranked[:EVIDENCE_MAX])

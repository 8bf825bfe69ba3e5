"""How alike two items are, from their decayed counts."""

from __future__ import annotations

import math
from collections.abc import Mapping

from streams.core.forward_decay import rescale
from streams.core.item_state import ItemHead, ItemState


def cosine(cooccurrence: float, degree_a: float, degree_b: float) -> float:
    """Cosine similarity of two items from their decayed counts.

    sim(a, b) = min(c, d_a, d_b) / sqrt(d_a * d_b), in [0, 1]

    cooccurrence  decayed weight of the steps between both, >= 0; repeated steps in one session may lift it above a degree, hence the minimum
    degree_a, _b  decayed number of events of each item, > 0, under the same landmark as c

    Raises ValueError for a degree that is not positive: an unseen item has no similarity.

    Sarwar, Karypis, Konstan, Riedl. Item-based collaborative filtering recommendation algorithms. WWW 2001.

    >>> cosine(2.0, 4.0, 4.0)
    0.5
    """
    if not (degree_a > 0 and degree_b > 0):
        raise ValueError(f"degrees {degree_a} and {degree_b}: both must be positive")
    return min(1.0, min(cooccurrence, degree_a, degree_b) / (math.sqrt(degree_a) * math.sqrt(degree_b)))


def strongest(item: ItemState, count: int) -> list[int]:
    """Hashes of the neighbours with the largest co-occurrence, without the item itself, largest first; ties by hash.

    Only these need their degree read: a similarity is at most sqrt(c / d), so a small c has none.
    """
    rows = item.rows
    mass = rows["f"].astype(float) + rows["b"]
    ranked = sorted(zip((-mass).tolist(), rows["neighbour"].tolist(), strict=True))
    return [neighbour for negative, neighbour in ranked if negative < 0][:count]


def similarities(item_hash: int, item: ItemState, heads: Mapping[int, ItemHead]) -> dict[int, float]:
    """Similarity of an item to each neighbour whose head is given, in (0, 1]. The heads may be a little older than the item."""
    own = item.head
    found = {}
    for row in item.rows:
        neighbour = int(row["neighbour"])
        head = heads.get(neighbour)
        if head is None or neighbour == item_hash:
            continue
        later = max(own.epoch, head.epoch)
        mine, theirs = rescale(later - own.epoch), rescale(later - head.epoch)
        degrees = own.degree * mine, head.degree * theirs
        c = (float(row["f"]) + float(row["b"])) * mine
        if c > 0 and min(degrees) > 0:
            found[neighbour] = cosine(c, *degrees)
    return found

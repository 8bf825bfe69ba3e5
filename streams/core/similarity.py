"""How alike two items are, from their decayed counts. Scalars or arrays alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.core.forward_decay import EPOCH_HALF_LIVES
from streams.core.item_state import ItemState


def cosine(cooccurrence: ArrayLike, degree_a: ArrayLike, degree_b: ArrayLike) -> NDArray[np.float64]:
    """Cosine similarity of two items from their decayed counts.

    sim(a, b) = min(c, d_a, d_b) / sqrt(d_a * d_b), in [0, 1]

    cooccurrence  decayed weight of the steps between both, >= 0; repeated steps in one session may lift it above a
                  degree, hence the minimum
    degree_a, _b  decayed number of events of each item, > 0, under the same landmark as c

    Raises ValueError for a degree that is not positive: an unseen item has no similarity.

    Sarwar, Karypis, Konstan, Riedl. Item-based collaborative filtering recommendation algorithms. WWW 2001.

    >>> float(cosine(2.0, 4.0, 4.0))
    0.5
    """
    a, b = np.asarray(degree_a, np.float64), np.asarray(degree_b, np.float64)
    if not (np.all(a > 0) and np.all(b > 0)):
        raise ValueError(f"degrees {a} and {b}: both must be positive")
    shared = np.minimum(np.asarray(cooccurrence, np.float64), np.minimum(a, b))
    return np.asarray(np.minimum(1.0, shared / (np.sqrt(a) * np.sqrt(b))))  # rounding may lift it above 1


def strongest(item_hash: int, item: ItemState, count: int) -> NDArray[np.void]:
    """The rows with the largest co-occurrence, without the item's on itself, largest first; ties by hash.

    Only their degrees need to be read: a similarity is at most sqrt(c / d), so a small c has none to speak of.
    """
    rows = item.rows
    mass = rows["f"].astype(np.float64) + rows["b"]
    order = np.lexsort((rows["neighbour"], -mass))
    kept = order[(mass[order] > 0) & (rows["neighbour"][order] != np.uint64(item_hash))]
    found: NDArray[np.void] = rows[kept[:count]]
    return found


def similarities(
    item: ItemState, rows: NDArray[np.void], degrees: NDArray[np.float64], epochs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Similarity of an item to the neighbours of some of its rows, 0 where there is none, else in (0, 1].

    degrees, epochs  of the neighbours, one for each row, each under its own landmark; they may be a little older than
                     the item
    """
    later = np.maximum(epochs, item.head.epoch)
    mine = np.exp2(-float(EPOCH_HALF_LIVES) * (later - item.head.epoch))
    own = item.head.degree * mine
    theirs = degrees * np.exp2(-float(EPOCH_HALF_LIVES) * (later - epochs))
    found = np.zeros(len(rows))
    known = (own > 0) & (theirs > 0)
    c = (rows["f"].astype(np.float64) + rows["b"]) * mine
    found[known] = cosine(c[known], own[known], theirs[known])
    return found

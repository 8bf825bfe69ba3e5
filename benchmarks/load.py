"""A shop's traffic, seeded: the same seed gives the same records, byte for byte.

Time passes in shifts of six hours. In a shift each shopper comes with their own probability, once, within the first
four hours; a session is over long before the shift is, so a shift can be made without the one before it, and shifts in
a row are in order of time. A session has geometric length, pauses are exponential, and most of its items come from one
category that the shopper likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.behaviour import BehaviourEvent
from streams import kafka_clients
from streams.settings import Settings
from streams.topics import BEHAVIOUR_EVENTS, full_name

EPOCH_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SHIFT_MS = 6 * 3_600_000
ARRIVALS_MS = 4 * 3_600_000
SESSION_EVENTS = 5  # mean
SESSION_EVENTS_MAX = 60
PAUSE_MS = 60_000  # mean
FAVOURITES = 4  # categories a shopper likes
LIKED = 0.85  # of the sessions are about one of them
FOCUSED = 0.8  # of a session's events are on its category

TYPES = {"view": 0.898, "cart": 0.053, "favourite": 0.028, "purchase": 0.021}
SURFACES = ("search", "home", "category", "recommended")

Ints = NDArray[np.int64]
Record = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Shift:
    """Events of one shift by rising time, as indices into the shop's names."""

    number: int
    times_ms: Ints
    users: Ints
    items: Ints
    types: Ints
    sessions: Ints
    surfaces: Ints
    prices: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times_ms)


class Shop:
    """Items, shoppers and their tastes; `shift(k)` is what they do in the k-th six hours.

    Item of rank r is taken with weight 1 / (r + 20) ** 0.9: the first item of 110,000 gets about one event in 250.
    """

    def __init__(self, seed: int, *, users: int = 60_000, items: int = 110_000, categories: int = 150) -> None:
        rng = np.random.default_rng([seed, 0])
        self._seed = seed
        self._users, self._items = users, items
        self._presence = rng.uniform(0.2, 0.8, users)
        category_of = np.sort((categories * rng.random(items) ** 1.3).astype(np.int64))
        weights = (rng.permutation(items) + 20.0) ** -0.9
        self._mass = np.concatenate([[0.0], np.cumsum(weights)])
        self._first = np.searchsorted(category_of, np.arange(categories + 1))
        self._favourites = category_of[self._draw(rng, np.full((users, FAVOURITES), -1))]
        self._category_of = category_of
        self._user_names = [f"user-{n:07d}" for n in range(users)]
        self._item_names = [f"item-{n:07d}" for n in rng.permutation(items).tolist()]
        paths = [f"Department {c // 10:02d} > Range {c % 10:02d}" for c in range(categories)]
        self._item_paths = [paths[c] for c in category_of.tolist()]

    def _draw(self, rng: np.random.Generator, categories: Ints) -> Ints:
        """One item for each entry, by popularity: of that category, or of all for -1."""
        anywhere = categories < 0
        low = np.where(anywhere, 0.0, self._mass[self._first[categories]])
        high = np.where(anywhere, self._mass[-1], self._mass[self._first[categories + 1]])
        found = np.searchsorted(self._mass, low + rng.random(categories.shape) * (high - low), side="right") - 1
        return np.minimum(found, self._items - 1).astype(np.int64)

    def shift(self, number: int) -> Shift:
        """The events of the k-th shift, about 2.5 a shopper."""
        rng = np.random.default_rng([self._seed, 1, number])
        present = rng.permutation(np.nonzero(rng.random(self._users) < self._presence)[0])
        lengths = np.minimum(rng.geometric(1 / SESSION_EVENTS, len(present)), SESSION_EVENTS_MAX)
        starts = np.cumsum(lengths) - lengths
        n = int(lengths.sum())

        pauses = rng.exponential(PAUSE_MS, n)
        pauses[starts] = 0.0
        elapsed = np.cumsum(pauses)
        arrivals = rng.uniform(0, ARRIVALS_MS, len(present))
        times = np.repeat(arrivals - elapsed[starts], lengths) + elapsed

        likes = self._favourites[present, rng.integers(0, FAVOURITES, len(present))]
        strays = self._category_of[self._draw(rng, np.full(len(present), -1))]
        topic = np.where(rng.random(len(present)) < LIKED, likes, strays)
        items = self._draw(rng, np.where(rng.random(n) < FOCUSED, np.repeat(topic, lengths), -1))

        order = np.argsort(times, kind="stable")
        return Shift(
            number,
            times[order].astype(np.int64) + EPOCH_MS + number * SHIFT_MS,
            np.repeat(present, lengths)[order],
            items[order],
            rng.choice(len(TYPES), n, p=list(TYPES.values())),
            np.repeat(np.arange(len(present)), lengths)[order],
            rng.integers(0, len(SURFACES), n),
            np.round(rng.lognormal(3.0, 1.0, n) + 0.01, 2),
        )

    def records(self, number: int) -> Iterator[Record]:
        """(key, value) of every event of a shift: the user's id, and about 250 bytes of JSON."""
        shift, encode, kinds = self.shift(number), msgspec.json.Encoder().encode, tuple(TYPES)
        users, items, paths = self._user_names, self._item_names, self._item_paths
        columns = (shift.times_ms, shift.users, shift.items, shift.types, shift.sessions, shift.surfaces, shift.prices)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for i, (time_ms, user, item, kind, session, surface, price) in enumerate(rows):
            event = BehaviourEvent(
                event_id=f"event-{number:05d}-{i:08d}",
                user_id=users[user],
                type=kinds[kind],
                time_ms=time_ms,
                item_id=items[item],
                session_id=f"session-{number:05d}-{session:07d}",
                category=paths[item],
                value=price,
                surface=SURFACES[surface],
            )
            yield users[user], encode(event)

    def coverage(self, shifts: range) -> tuple[int, int]:
        """(shoppers, items) that occur in some shifts."""
        users, items = np.zeros(self._users, bool), np.zeros(self._items, bool)
        for number in shifts:
            shift = self.shift(number)
            users[shift.users] = items[shift.items] = True
        return int(users.sum()), int(items.sum())


def produce(settings: Settings, shop: Shop, shifts: range, on_progress: Callable[[int], Any] = bool) -> int:
    """Whole shifts onto behaviour-events.v1, in order; how many events. All are acknowledged (`acks=all`) by then."""
    producer = kafka_clients.producer(
        settings, {"linger.ms": 20, "batch.size": 1_000_000, "queue.buffering.max.messages": 400_000}
    )
    topic = full_name(settings.namespace, BEHAVIOUR_EVENTS)
    count = 0
    for number in shifts:
        for key, value in shop.records(number):
            while True:
                try:
                    producer.produce(topic, value, key)
                    break
                except BufferError:
                    producer.poll(0.05)
            count += 1
            if count % 5000 == 0:
                producer.poll(0)
                on_progress(count)
    if producer.flush(60):
        raise TimeoutError("Kafka did not acknowledge the load within a minute")
    return count

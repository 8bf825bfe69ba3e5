"""A seeded stream of everything that may come in: sessions, drifts, repeats, late and double events, and rubbish."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from streams.core.hashing import user_partition
from streams.topics import BEHAVIOUR_EVENTS, CATALOGUE, ITEM_LINKS, NOTIFICATION_FEEDBACK, USER_SETTINGS, Topic

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
EVENTS_A_USER = 260
SHOPPERS = 200  # at least: a user's changes that are put back and repeated must be fewer than push remembers (64)
AISLES, ITEMS_AN_AISLE = 12, 40
SESSION_TYPES = {
    "view": 46, "click": 12, "cart": 12, "purchase": 10, "favourite": 5, "share": 2, "rating": 4,
    "dismiss": 2, "unfavourite": 1, "uncart": 2, "return": 2,
}  # fmt: skip
TYPES, WEIGHTS = tuple(SESSION_TYPES), tuple(SESSION_TYPES.values())
RUBBISH = (None, b"", b"\x00\xff\xfe", b"{", b"[1, 2]", b"null", b'{"event_id": "e"}', b"{" * 40, b'"' + b"x" * 70_000)


class Record(NamedTuple):
    """One record to produce. `codec` counts the producers, each with its own compression."""

    topic: Topic
    partition: int
    key: bytes | None
    value: bytes | None
    codec: int = 0


class Shopper:
    """One user: a few favourite aisles, now and then a new one that stays for some sessions (a drift)."""

    def __init__(self, number: int, rng: random.Random, begin_ms: int) -> None:
        self.id = f"shopper-{number:05}" if number % 17 else f"käufer/{number} ☂"
        self.key = self.id.encode()
        self.codec = number
        self.now_ms = begin_ms + rng.randrange(3 * DAY)
        self.home = rng.sample(range(AISLES), 2)
        self.crush, self.crush_left = -1, 0
        self.session, self.left = 0, 0
        self.count = 0
        self.sent: list[bytes] = []
        self._rng = rng

    def events(self) -> list[bytes]:
        """The next event; sometimes with something that goes wrong beside it."""
        rng = self._rng
        if self.left == 0:
            self._begin_session()
        self.left -= 1
        self.now_ms += rng.randrange(1000, 4 * MINUTE)
        odd = rng.random()
        if odd < 0.012:
            return [self._about_the_user()]
        event = self._event(self.now_ms)
        if odd < 0.03:  # late, up to some days
            event["time"] -= rng.randrange(HOUR, 4 * DAY)
        made = [self._remember(event)]
        if 0.03 <= odd < 0.05:
            made.append(rng.choice(self.sent))  # a double, mostly within the last 32
        elif odd < 0.056:
            made.append(json.dumps({**event, "quantity": rng.randrange(1, 99)}).encode())  # same id, other content
        elif odd < 0.059:
            made.append(
                json.dumps({**event, "event_id": f"{self.id}-f{self.count}", "time": _now() + 40 * DAY}).encode()
            )
        elif odd < 0.062:
            made.append(
                json.dumps({**event, "event_id": f"{self.id}-s{self.count}", "time": self.now_ms // 1000}).encode()
            )
        return made

    def _begin_session(self) -> None:
        rng = self._rng
        self.session += 1
        self.left = rng.choice((1, 2, 3, 4, 5, 6, 9, 14))
        pause = rng.choice((31 * MINUTE, 5 * HOUR, 20 * HOUR, 30 * HOUR)) + rng.randrange(HOUR)
        if rng.random() < 0.008:
            pause = 22 * DAY
        self.now_ms += pause
        if self.crush_left:
            self.crush_left -= 1
        elif rng.random() < 0.12:
            self.crush, self.crush_left = rng.randrange(AISLES), rng.randrange(3, 9)

    def _event(self, at_ms: int) -> dict[str, Any]:
        rng = self._rng
        aisle = self.crush if self.crush_left and rng.random() < 0.7 else rng.choice(self.home)
        item = min(int(rng.paretovariate(0.7)) - 1, ITEMS_AN_AISLE - 1)
        kind = rng.choices(TYPES, WEIGHTS)[0]
        self.count += 1
        event: dict[str, Any] = {
            "event_id": f"{self.id}-{self.count}",
            "user_id": self.id,
            "type": kind,
            "time": at_ms,
            "item_id": f"item-{aisle:02}-{item:03}",
        }
        if rng.random() < 0.9:
            event["category"] = (
                f"Dept {aisle // 4} > Aisle {aisle}" if rng.random() < 0.97 else ["Dept 9", f"Rare {rng.randrange(60)}"]
            )
        if rng.random() < 0.5:
            event["session_id"] = f"s{self.session}" if rng.random() < 0.98 else ""
        if kind == "rating":
            event["value"] = rng.choice((0, 0.5, 3, 5, 7.25))
        return event

    def _about_the_user(self) -> bytes:
        rng = self._rng
        self.count += 1
        kind = rng.choices(("interest", "consent", "forget"), (60, 35, 5))[0]
        event: dict[str, Any] = {
            "event_id": f"{self.id}-{self.count}",
            "user_id": self.id,
            "type": kind,
            "time": self.now_ms,
        }
        if kind != "forget":
            event["granted"] = rng.random() < 0.75
        if kind == "interest":
            event["category"] = f"Dept {rng.randrange(3)} > Aisle {rng.randrange(AISLES)}"
        return self._remember(event)

    def _remember(self, event: dict[str, Any]) -> bytes:
        raw = json.dumps(event, ensure_ascii=self.count % 2 == 0).encode()
        self.sent = [*self.sent, raw][-40:]
        return raw


def _now() -> int:
    return time.time_ns() // 1_000_000


def stream(seed: int, events: int, partitions: int) -> Iterator[Record]:
    """Without end; about `events` make a whole run."""
    rng = random.Random(seed)
    begin_ms = _now() - 160 * DAY
    shoppers = [Shopper(n, rng, begin_ms) for n in range(max(SHOPPERS, events // EVENTS_A_USER))]
    yield from _catalogue(rng)
    while True:
        shopper = rng.choice(shoppers)
        right = user_partition(shopper.key, partitions)
        for raw in shopper.events():
            yield Record(BEHAVIOUR_EVENTS, right, shopper.key, raw, shopper.codec)
        odd = rng.random()
        if odd < 0.004:
            yield Record(
                BEHAVIOUR_EVENTS, rng.randrange(partitions), rng.choice((None, shopper.key)), rng.choice(RUBBISH)
            )
        elif odd < 0.006:
            wrong = (right + rng.randrange(1, max(2, partitions))) % partitions
            yield Record(BEHAVIOUR_EVENTS, wrong, shopper.key, _stray(shopper, "w"))
        elif odd < 0.008:
            yield Record(BEHAVIOUR_EVENTS, right, rng.choice((None, b"", b"somebody")), _stray(shopper, "k"))
        elif odd < 0.009:
            yield Record(
                ITEM_LINKS, rng.randrange(partitions), None, rng.choice((None, b"", b"\x93\x01\x02\x03", b"links?"))
            )
        elif odd < 0.0095:
            yield next(_catalogue(rng, 1))
        elif odd < 0.016:
            yield Record(USER_SETTINGS, right, shopper.key, _wishes(shopper.id, rng))
        elif odd < 0.022:
            yield Record(NOTIFICATION_FEEDBACK, right, shopper.key, _feedback(shopper, rng))


def _stray(shopper: Shopper, mark: str) -> bytes:
    event = {**shopper._event(shopper.now_ms), "event_id": f"{shopper.id}-{mark}{shopper.count}"}
    return json.dumps(event).encode()


def _catalogue(rng: random.Random, count: int = 400) -> Iterator[Record]:
    for _ in range(count):
        aisle, item = rng.randrange(AISLES), rng.randrange(ITEMS_AN_AISLE)
        item_id = f"item-{aisle:02}-{item:03}"
        key = item_id.encode()
        value: bytes | None = json.dumps(
            {
                "item_id": item_id,
                "title": f"Thing {rng.randrange(1000)}",
                "category": f"Dept {aisle // 4} > Aisle {aisle}",
            }
        ).encode()
        odd = rng.random()
        if odd < 0.03:
            value = None
        elif odd < 0.05:
            key, value = rng.choice(((b"other", value), (key, b"{}")))
        yield Record(CATALOGUE, user_partition(key, 2), key, value)


def _wishes(user_id: str, rng: random.Random) -> bytes | None:
    odd = rng.random()
    if odd < 0.1:
        return None
    if odd < 0.15:
        return b'{"user_id": "' + user_id.encode() + b'"}'  # refused
    wishes: dict[str, Any] = {"user_id": user_id, "push_enabled": odd < 0.9}
    if odd < 0.4:
        wishes["cap_per_day"] = rng.randrange(0, 3)
    if odd > 0.6:
        clock = time.gmtime()
        minute = clock.tm_hour * 60 + clock.tm_min
        start, end = (minute - rng.randrange(5, 300)) % 1440, (minute + rng.randrange(1, 4)) % 1440
        wishes["quiet_hours"] = {"start": _hhmm(start), "end": _hhmm(end), "time_zone": "Etc/UTC"}
    return json.dumps(wishes).encode()


def _hhmm(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _feedback(shopper: Shopper, rng: random.Random) -> bytes:
    shopper.count += 1
    action = rng.choice(("delivered", "opened", "clicked", "dismissed", "converted", "failed", "eaten"))
    return json.dumps(
        {"event_id": f"{shopper.id}-{shopper.count}", "notification_id": f"{rng.randrange(1 << 60):032x}",
         "user_id": shopper.id, "action": action, "time": _now()}
    ).encode()  # fmt: skip

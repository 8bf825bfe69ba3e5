"""A small shop gone wrong: seeded logs of behaviour events in which everything docs/fold.md speaks of happens."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from streams.core.checkpoint import Checkpoint
from streams.core.hashing import user_partition
from streams.core.policy import LearningPolicy

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000
PARTITIONS, ITEM_PARTITIONS = 2, 3
TOPIC, LINKS_TOPIC, GENERATION = "topic-of-behaviour", "topic-of-links", 3
MAX_BYTES = 65_536
POLICIES = (
    LearningPolicy(),
    LearningPolicy(
        count_half_life_s=86_400.0,
        recency_half_life_s=40_000.0,
        affinity_half_life_s=2 * 86_400.0,
        gap_decay=0.7,
        profile_horizon_s=20 * 86_400.0,
        item_horizon_s=60 * 86_400.0,
        dormant_after_s=5 * 86_400.0,
        profile_unknown=False,
        rise_sessions=2,
        rise_before=0.2,
    ),
    LearningPolicy(
        session_gap_s=600.0,
        count_half_life_s=5 * 86_400.0,
        affinity_half_life_s=86_400.0,
        profile_horizon_s=100 * 86_400.0,
        item_horizon_s=20 * 86_400.0,
        dormant_after_s=3 * 86_400.0,
        core_up=0.1,
        core_down=0.06,
        active_up=0.04,
        active_down=0.03,
        rise_before=0.155,  # 4.03 of 26 sessions
    ),
    LearningPolicy(session_gap_s=3600.0, item_horizon_s=300.0, backward_recency=0.0),
)
TYPES = (
    "view",
    "click",
    "favourite",
    "share",
    "cart",
    "purchase",
    "rating",
    "dismiss",
    "unfavourite",
    "uncart",
    "return",
)
OFTEN = (30, 10, 4, 2, 8, 8, 5, 3, 2, 2, 3)


class Record(msgspec.Struct, frozen=True):
    """What `streams.core.records.SourceRecord` asks for."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def checkpoint(partition: int) -> Checkpoint:
    """Of a fresh partition of stage 1."""
    return Checkpoint(
        generation=GENERATION,
        topic_id=TOPIC,
        source_id="",
        partition=partition,
        partitions=PARTITIONS,
        item_partitions=ITEM_PARTITIONS,
        settings_hash=b"",
        watermark=0,
    )


def links_checkpoint(partition: int) -> Checkpoint:
    """Of a fresh partition of stage 2."""
    return Checkpoint(
        generation=GENERATION,
        topic_id=LINKS_TOPIC,
        source_id=TOPIC,
        partition=partition,
        partitions=ITEM_PARTITIONS,
        item_partitions=ITEM_PARTITIONS,
        settings_hash=b"",
        watermark=0,
        applied=(-1,) * PARTITIONS,
    )


def hostile_logs(seed: int, events: int) -> list[list[Record]]:
    """One log per partition; offsets have gaps."""
    rng = random.Random(seed)
    logs: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    users = [f"user {n}" for n in range(24)]
    clock = START_MS
    for burst in range(events // 6):
        clock += rng.choice((60_000, 900_000, 5_000_000, DAY_MS // 4))
        if rng.random() < 0.01:
            clock += 30 * DAY_MS
        user = rng.choices(users, weights=[n**3 for n in range(1, len(users) + 1)])[0]
        session = rng.choice((None, None, "", f"s{burst}"))
        theme = rng.randrange(60)
        walk: list[str] = []
        for _ in range(rng.randrange(1, 12) if rng.random() < 0.985 else 100):
            event = _event(rng, user, clock, session, theme)
            if user in users[::2]:  # on a grid, so that times are exactly a limit apart
                event["time"] -= event["time"] % 300_000
            if event["type"] in TYPES[:7]:  # those that make links: repeats about 50 steps back
                if len(walk) > 54:
                    event["item_id"] = walk[-rng.randrange(48, 54)]
                walk.append(event["item_id"])
            clock += rng.randrange(0, 120_000)
            _append(rng, logs, event, clock)
    return logs


def _event(rng: random.Random, user: str, clock: int, session: str | None, theme: int) -> dict[str, Any]:
    event: dict[str, Any] = {
        "event_id": f"{rng.getrandbits(40):x}",
        "user_id": user,
        "time": clock - rng.randrange(1000),
    }
    chance = rng.random()
    if chance < 0.06:
        event["time"] -= rng.choice((400_000, 1_500_000, 3_000_000, 2 * DAY_MS, 70 * DAY_MS))
    chance = max(rng.random(), 0.02 * (user in ("user 22", "user 23")))  # these two are never cleared
    if chance < 0.012:
        return event | {"type": "consent", "granted": rng.random() < 0.75}
    if chance < 0.014:
        return event | {"type": "forget"}
    category = theme if rng.random() < 0.7 else rng.randrange(60)
    if chance < 0.06:
        return event | {"type": "interest", "category": f"Category {category}", "granted": rng.random() < 0.7}
    event |= {"type": rng.choices(TYPES, OFTEN)[0], "item_id": f"item {int(700 * rng.random() ** 4)}"}
    if rng.random() < 0.9:
        event["category"] = f"Category {category}"
    if event["type"] == "rating":
        event["value"] = rng.choice((0, 0.5, 2.3, 5, 100))
    if session is not None and rng.random() < 0.8:
        event["session_id"] = session if rng.random() < 0.95 else "another"
    return event


def _append(rng: random.Random, logs: list[list[Record]], event: dict[str, Any], clock: int) -> None:
    key = event["user_id"].encode()
    home = user_partition(key, PARTITIONS)
    log = logs[home]
    value, timestamp = msgspec.json.encode(event), clock
    chance = rng.random()
    if chance < 0.01:
        key = rng.choice((None, b"", b"someone else"))
    elif chance < 0.02:
        log = logs[1 - home]
    elif chance < 0.03:
        timestamp -= DAY_MS + rng.randrange(-2000, 150_000)
    elif chance < 0.04:
        value = rng.choice((None, b"", b"{", b"[]", value.replace(b"event_id", b"id"), b"\xff"))
    copies = 1 + (rng.random() < 0.05)
    for _ in range(copies):
        log.append(Record(log[-1].offset + rng.choice((1, 1, 1, 7)) if log else 0, timestamp, key, value))
    if rng.random() < 0.02 and log[-1].value:
        again = value if rng.random() < 0.5 else msgspec.json.encode(event | {"surface": "home"})
        log.append(Record(log[-1].offset + 1, timestamp, key, again))

"""An independent reading of docs/push.md: what a journal makes of each user, and whether it kept its promises.

Written from that page alone; imports nothing of Driftline. Entries are the JSON objects of push-decisions.v1, of one
partition, in offset order; notifications those of notifications.v1.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

DAY_MS = 86_400_000
Entry = Mapping[str, Any]


def h(text: str) -> int:
    return xxh3_64_intdigest(text.encode())


def new_user() -> dict[str, Any]:
    return {
        "sends": [],
        "last_sent_ms": 0,
        "sent_items": [],
        "sent_causes": [],
        "causes": [],
        "setting": None,
        "deferral": None,  # (due, [cause ids])
        "feedback": {},
    }


def fold(entries: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """Per user what the state must hold (section 3)."""
    users: dict[str, dict[str, Any]] = defaultdict(new_user)
    for entry in entries:
        user, kind = users[entry["user_id"]], entry["kind"]
        if kind == "setting":
            user["setting"] = entry.get("setting")
        elif kind == "feedback":
            user["feedback"][entry["action"]] = user["feedback"].get(entry["action"], 0) + 1
        else:
            decide(user, entry)
    return dict(users)


def decide(user: dict[str, Any], entry: Entry) -> None:
    cause, kind = entry["cause"]["id"], entry["kind"]
    if h(cause) not in user["causes"] and entry.get("reason") != "other-generation":
        user["causes"] = [*user["causes"], h(cause)][-64:]
    waiting = user["deferral"]
    first = waiting is not None and waiting[1][0] == cause and entry.get("reason") != "duplicate"
    if kind == "deferred":
        user["deferral"] = (entry["due"], waiting[1] if first else [cause])
    elif kind == "merged" and waiting is not None:
        user["deferral"] = (waiting[0], [*waiting[1], cause][:5])
    elif kind in {"held", "sent"} and first:
        user["deferral"] = None
    if kind == "sent":
        now = entry["now"]
        user["sends"] = [*(at for at in user["sends"] if at > now - DAY_MS), now][-100:]
        user["last_sent_ms"] = max(user["last_sent_ms"], now)
        user["sent_items"] = [*user["sent_items"], *map(h, entry["item_ids"])][-256:]
        user["sent_causes"] = [*user["sent_causes"], h(cause)][-64:]


def faults(entries: Iterable[Entry], notifications: Iterable[Entry], cap: int, gap_s: float) -> list[str]:
    """Every broken promise of section 4, one sentence each; quiet hours are for whoever has a time zone database.

    cap, gap_s  the operator's push_cap_per_day and push_gap_s, the same all the time
    """
    found: list[str] = []
    sends: dict[str, list[int]] = defaultdict(list)
    settings: dict[str, Entry] = {}
    words: Counter[str] = Counter()
    sent: dict[str, Entry] = {}
    for entry in entries:
        user, now = entry["user_id"], entry["now"]
        if entry["kind"] == "setting":
            settings[user] = entry.get("setting") or {}
        if entry["kind"] in {"sent", "held", "merged"} and entry.get("reason") not in {"duplicate", "other-generation"}:
            words[entry["cause"]["id"]] += 1
        if entry["kind"] != "sent":
            continue
        asked = settings.get(user, {})
        own_cap = min(cap, asked.get("cap_per_day", cap))
        if sum(now - DAY_MS < at for at in sends[user]) >= own_cap:
            found.append(f"{user} at {now}: more than {own_cap} in 24 hours")
        if sends[user] and now - max(sends[user]) < gap_s * 1000:
            found.append(f"{user} at {now}: less than {gap_s} s after the one before")
        if not asked.get("push_enabled", True):
            found.append(f"{user} at {now}: notified although switched off")
        sends[user].append(now)
        name = xxh3_128_hexdigest(f"{user}\0{entry['cause']['id']}".encode())
        if entry["notification_id"] != name:
            found.append(f"{user} at {now}: id {entry['notification_id']} is not {name}")
        if name in sent:
            found.append(f"{user} at {now}: {name} was sent before")
        sent[name] = entry
    found += [f"cause {cause}: {count} last words" for cause, count in words.items() if count > 1]
    return found + delivery_faults(sent, notifications)


def delivery_faults(sent: Mapping[str, Entry], notifications: Iterable[Entry]) -> list[str]:
    """Journal and notifications.v1 name the same ids, each once, with the same items."""
    seen = Counter(notification["id"] for notification in notifications)
    found = [f"notification {name}: written {count} times" for name, count in seen.items() if count > 1]
    found += [f"notification {name}: not in the journal" for name in seen if name not in sent]
    found += [f"notification {name}: in the journal alone" for name in sent if name not in seen]
    for notification in notifications:
        entry = sent.get(notification["id"])
        if entry is not None and [item["item_id"] for item in notification["items"]] != entry["item_ids"]:
            found.append(f"notification {notification['id']}: other items than in the journal")
    return found

"""docs/fold.md as plain Python, slow and sure, for the chaos suite. Comments name its sections. Knows no `streams`."""

import math
from collections import defaultdict, namedtuple
from ctypes import Structure, c_float, c_uint32
from itertools import accumulate, islice
from types import SimpleNamespace as Plain  # a policy is anything with the fields of docs/fold.md

import msgspec
import numpy as np
import xxhash
from aiokafka.partitioner import murmur2

from schemas.behaviour import BehaviourEvent, content_hash, decode_behaviour

Row = namedtuple("Row", "offset ms session weight repeat item neighbours")  # noqa: PYI024
Change = namedtuple("Change", "id user_id category kind old new share visits items event_id time_ms")  # noqa: PYI024
VERDICTS = ("key-mismatch", "wrong-partition", "future-time", "duplicate", "id-conflict", "accepted")
LINKING = {"view": 1, "click": 1, "favourite": 3, "share": 3, "cart": 5, "purchase": 8, "rating": 5}
WEIGHT = LINKING | {"dismiss": -3, "unfavourite": -3, "uncart": -5, "return": -8}
Cell = type("Cell", (Structure,), {"_fields_": [*((x, c_float) for x in ("F1", "F", "B", "R")), ("ts", c_uint32)]})


def h(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())


def landmark(seconds: float, half_life: float, old: int) -> tuple[int, float, float]:  # epoch, factor of sums, g
    epoch = max(old, math.floor(seconds / (32 * half_life)))
    return epoch, math.exp2(-32 * (epoch - old)), math.exp2((seconds - 32 * half_life * epoch) / half_life)


def fold_behaviour(records: list, place: tuple[int, int], item_partitions: int, policy: Plain, topic_id: str) -> Plain:
    """(offset, timestamp, key, value)s. `verdicts`: (offset, verdict), `rows`: (row, item partitions it goes to)."""
    stage = Plain(users={}, newest_ms=0, verdicts=[], rows=[], changes=[])
    for offset, timestamp, key, value in records:
        event = decode_behaviour(value, max_bytes=65_536)
        if not isinstance(event, BehaviourEvent):
            stage.verdicts.append((offset, str(event.reason)))
            continue
        user, content = stage.users.get(event.user_id) or User().clear(), content_hash(event)
        astray, known = (murmur2(key or b"") & 0x7FFFFFFF) % place[1] != place[0], dict(user.ids).get(h(event.event_id))
        other, early = key != event.user_id.encode(), event.time_ms > timestamp + policy.future_limit_s * 1000
        verdict = VERDICTS[[other, astray, early, known == content, known is not None, True].index(True)]  # 1.1
        stage.verdicts.append((offset, verdict))
        if verdict == "accepted":
            stage.users[event.user_id], stage.newest_ms = user, max(stage.newest_ms, event.time_ms)
            row, changes = user.learn(event, content, offset, policy)
            seed = f"{topic_id}\0{event.user_id}\0{place[0]}\0{offset}\0"
            stage.changes += [x._replace(id=xxhash.xxh3_128_hexdigest((seed + x.category).encode())) for x in changes]
            stage.rows += [(row, sorted({x % item_partitions for x in (row.item, *row.neighbours)}))] if row else []
    return stage


class User(Plain):
    ids, consent, last_ms, sessions = (), "unknown", 0, 0

    def clear(self) -> "User":  # 1.2
        self.since, self.epoch, self.session_id, self.categories = self.sessions, 0, None, {}
        self.items = self.recent = self.bought = self.dismissed = ()
        return self

    def learn(self, event: BehaviourEvent, content: int, offset: int, policy: Plain) -> tuple[Row | None, list[Change]]:
        kind, c, t, item = event.type, event.category, event.time_ms, event.item_id
        if self.last_ms > 0 and t - self.last_ms > policy.profile_horizon_s * 1000:
            self.clear().last_ms, self.ids = 0, ()
        self.ids = (*self.ids, (h(event.event_id), content))[-32:]
        profiled = self.consent == "granted" or (self.consent == "unknown" and policy.profile_unknown)  # 1.3
        if kind == "forget" or (kind == "consent" and not (event.granted and profiled)):
            self.clear()
        self.consent = ("withdrawn", "granted")[event.granted] if kind == "consent" else self.consent
        if kind == "interest" and profiled and (event.granted or c in self.categories):
            (self.gain(c, 8, t, policy) if event.granted else self.categories[c]).declared = event.granted
        if kind in ("consent", "forget", "interest"):
            return None, []
        late = t < self.last_ms - policy.session_gap_s * 1000  # 1.4
        if not late:
            other = None not in (event.session_id, self.session_id) and event.session_id != self.session_id
            if self.sessions == 0 or t - self.last_ms > policy.session_gap_s * 1000 or other:
                self.sessions, self.session_id, self.items = self.sessions + 1, None, ()
            self.session_id = event.session_id if self.session_id is None else self.session_id
            self.last_ms = max(self.last_ms, t)
        session, held = (0, ()) if late else ((h(event.user_id) + self.sessions) % 2**64, self.items)  # 1.5
        row = Row(offset, t, session, 1.0, item in held[-50:], h(item), tuple(map(h, held[:-6:-1])))
        self.items = (*held, item)[-60:] if kind in LINKING and not late else self.items
        return row if kind in LINKING else None, [*self.attend(event, policy, late)] if profiled else []

    def attend(self, event: BehaviourEvent, policy: Plain, late: bool):
        kind, c, t, item = event.type, event.category, event.time_ms, event.item_id
        w = min(event.value, 5) if kind == "rating" else WEIGHT[kind]
        if kind in ("purchase", "return"):  # 1.7
            self.bought = (*filter(item.__ne__, self.bought), *[item] * (kind == "purchase"))[-64:]
        self.dismissed = (*filter(item.__ne__, self.dismissed), item)[-32:] if kind == "dismiss" else self.dismissed
        k = self.gain(c, w, t, policy) if c is not None and (c in self.categories or w > 0) else None  # 1.6
        if k and w > 0 and not late:
            self.recent, k.last_ms = (*self.recent, (item, c, kind, t))[-16:], max(k.last_ms, t)
            if k.session != self.sessions:
                k.history = (k.history << min(self.sessions - k.session, 32) | 1) & 0xFFFF_FFFF
                k.session, k.visits = self.sessions, k.visits + 1
                yield from self.judge(event, policy)

    def gain(self, c: str, w: float, t: int, policy: Plain) -> Plain:  # 1.6, 1 and 2
        new = Plain(affinity=0.0, tier="none", declared=False, risen=False, history=0, session=0, visits=0, last_ms=0)
        k, tracked = self.categories.setdefault(c, new), self.categories
        if len(tracked) > 32:
            del tracked[min(tracked, key=lambda x: (x == c, tracked[x].declared, tracked[x].affinity))]
        self.epoch, factor, g = landmark(t / 1000, policy.affinity_half_life_s, self.epoch)
        for each in tracked.values() if factor < 1 else ():
            each.affinity *= factor
        k.affinity = max(0.0, k.affinity + w * g)
        return k

    def judge(self, event: BehaviourEvent, policy: Plain):  # 1.8
        s, t, window = self.sessions - self.since, event.time_ms, policy.rise_window
        b, (*_, total) = min(s, 32) - window, accumulate(k.affinity for k in self.categories.values())  # sum() may not
        for c, k in self.categories.items():
            share, touched, old = k.affinity / total if total else 0.0, c == event.category, k.tier
            seen = k.history << min(self.sessions - k.session, 32) & 0xFFFF_FFFF
            recent, before = (seen & (1 << window) - 1).bit_count(), (seen >> window & (1 << max(0, b)) - 1).bit_count()
            often = recent >= policy.rise_sessions and b >= policy.rise_history and before <= policy.rise_before * b
            rises, k.risen = touched and often and not (k.risen and recent > 1), k.risen and recent > 1
            up, steady = touched and old != "core" and (s >= 3 or old == "active"), old in ("core", "active")
            core = (old == "core" and share >= policy.core_down) or (up and k.visits >= 4 and share >= policy.core_up)
            active = share >= policy.active_down if steady else up and k.visits >= 2 and share >= policy.active_up
            rest = "dormant" if old == "fading" and t - k.last_ms > policy.dormant_after_s * 1000 else old
            low = "fading" if steady or (old == "emerging" and not recent) else "emerging" if rises else rest
            k.tier, k.risen = "core" if core else "active" if active else low, k.risen or rises
            if rises or k.tier != old:
                kind = "rise" if rises else "fade" if k.tier == "fading" else "tier"
                items = [*dict.fromkeys(item for item, on, *_ in reversed(self.recent) if on == c)][:5]
                yield Change("", event.user_id, c, kind, old, k.tier, share, k.visits, items, event.event_id, t)


class Item(Plain):  # 2; `rows`: {neighbour: Cell}
    def touch(self, t: int, policy: Plain) -> float:
        if not vars(self) or (self.last > 0 and t - self.last > policy.item_horizon_s):
            super().__init__(events=0, repeats=0, last=0, epoch=0, D=0.0, oF1=0.0, oF=0.0, oB=0.0, Dr=0.0, rows={})
        self.epoch, factor, g = landmark(t, policy.count_half_life_s, self.epoch)
        for each in (self, *self.rows.values()) if factor < 1 else ():
            for name in ("D", "oF1", "oF", "oB") if each is self else ("F1", "F", "B"):
                setattr(each, name, getattr(each, name) * factor)
        return g

    def add(self, b: int, gains: tuple[float, float, float], recent: float, t: int, policy: Plain) -> None:
        (f1, f, back), g, tau = gains, self.touch(t, policy), policy.recency_half_life_s / math.log(2)
        if b not in self.rows and len(self.rows) == 128:
            least, _ = min(self.rows.items(), key=lambda x: (x[1].F + 0.3 * x[1].B) / (1 + max(0, t - x[1].ts) / tau))
            self.rows = {b if x == least else x: Cell(ts=t) if x == least else row for x, row in self.rows.items()}
        row = self.rows.get(b) or self.rows.setdefault(b, Cell(ts=t))
        row.F1, row.F, row.B = row.F1 + f1 * g, row.F + f * g, row.B + back * g
        self.oF1, self.oF, self.oB = self.oF1 + f1 * g, self.oF + f * g, self.oB + back * g
        row.R, row.ts = self.decayed(row.R, row.ts, recent, t, policy), max(row.ts, t)

    def decayed(self, value: float, since: int, more: float, t: int, policy: Plain) -> float:
        life = policy.recency_half_life_s
        return value * math.exp2(-max(0, t - since) / life) + more * math.exp2(-max(0, since - t) / life)


def decode_links(value: bytes) -> tuple[tuple[int, str, int], int, list[Row], dict[int, str]]:
    """docs/item-links.md: (generation, topic id, target), source, rows, names. Refuses only what cannot be read."""
    version, *fields = msgspec.msgpack.decode(value)
    assert version == 1
    generation, topic_id, source, target, base, base_ms, *columns, names = fields
    kinds = [f"<{kind}{len(x) // len(columns[4])}" for kind, x in zip("uiufuu", columns, strict=False)]
    *columns, near, hashes = (np.frombuffer(*x).tolist() for x in zip(columns, [*kinds, kinds[5], "<u8"], strict=True))
    near = map(hashes.__getitem__, near)
    rows = [
        Row(base + offset, base_ms + ms, session, weight, bool(flag & 1), hashes[i], tuple(islice(near, flag >> 1)))
        for offset, ms, session, weight, flag, i in zip(*columns, strict=True)
    ]
    return (generation, topic_id, target), source, rows, dict(zip(hashes, names, strict=False))


def fold_links(messages: list, place: tuple[int, int], policy: Plain, generation: int, topic_id: str) -> Plain:
    """(offset, value)s. `rows`: (source, row) as applied, `rejects`: offsets."""
    stage = Plain(items=defaultdict(Item), names={}, applied={}, newest_ms=0, rows=[], rejects=[])
    for at, value in messages:
        try:
            meant_for, source, rows, names = decode_links(value)
        except (msgspec.MsgspecError, ValueError, TypeError, IndexError, ArithmeticError):
            stage.rejects.append(at)
            continue
        stage.names |= names if meant_for == (generation, topic_id, place[0]) else {}
        for row in rows if meant_for == (generation, topic_id, place[0]) else ():
            if row.offset > stage.applied.get(source, -1):
                stage.applied[source], stage.newest_ms = row.offset, max(stage.newest_ms, row.ms)
                stage.rows.append((source, row))
                t, w, y = row.ms // 1000, row.weight, row.item
                mine = {x: stage.items[x] for x in (y, *row.neighbours) if x % place[1] == place[0]}
                if y in mine:
                    own, g = mine[y], mine[y].touch(t, policy)
                    own.events, own.repeats, own.D = own.events + 1, own.repeats + row.repeat, own.D + w * g
                    own.Dr, own.last = own.decayed(own.Dr, own.last, w, t, policy), max(own.last, t)
                for d, x in enumerate(row.neighbours):
                    v = w * policy.gap_decay**d
                    if x in mine:
                        mine[x].add(y, (w * (d == 0), v, 0.0), v, t, policy)
                    if y in mine and x != y:
                        mine[y].add(x, (0.0, 0.0, v), policy.backward_recency * v, t, policy)
    return stage

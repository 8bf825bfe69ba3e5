"""Views against the oracle. They may be older than the state, and say how old; never anything that was not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import SimpleNamespace as Plain

from streams.store.reader import SIMILAR_KEPT, TRENDING_KEPT
from tests.chaos.compare import World
from tests.chaos.findings import Findings

Stages = Mapping[int, Plain]


def compare_views(world: World, findings: Findings, stage1: Stages, stage2: Stages) -> None:
    """`interests` exactly, wherever its stamp lies behind the user's newest event. Of `similar` and `trending` what
    degrees, which may be some seconds old, cannot change: who may be in them, and in what range."""
    _interests(world, findings, stage1)
    _similar(world, findings, stage1, stage2)


def _interests(world: World, findings: Findings, stage1: Stages) -> None:
    for partition, stage in stage1.items():
        shard, accepted = world.keys.users(partition), {at for at, verdict in stage.verdicts if verdict == "accepted"}
        newest = {(m.key() or b"").decode(): m.offset() or 0 for m in world.events[partition] if m.offset() in accepted}
        views = {user: shard.interests(user) for user in stage.users if shard.interests(user) in world.types}
        world.accounted.update(views.values())
        for user, found in zip(views, world.valkeys.hashes(list(views.values())).values(), strict=True):
            stamp = int(found.pop("@"))
            findings.holds(
                "interests views", f"{user}: stamped {stamp}, the log is shorter", fine=stamp <= len(stage.verdicts)
            )
            findings.noted["interests views older than their user"] += stamp <= newest[user]
            if stamp > newest[user]:
                findings.equal("interests views", user, found, interests_view(stage.users[user]))


def interests_view(user: Plain) -> dict[str, str]:
    """What docs say the view holds: category to tier and share."""
    total = 0.0
    for category in user.categories.values():
        total += category.affinity
    return {name: f"{c.tier} {c.affinity / (total or 1.0):.6g}" for name, c in user.categories.items()}


def _similar(world: World, findings: Findings, stage1: Stages, stage2: Stages) -> None:
    met: dict[int, set[int]] = defaultdict(set)
    for stage in stage1.values():
        for row, _ in stage.rows:
            for x in row.neighbours:
                met[row.item].add(x)
                met[x].add(row.item)
    names = {item: name for stage in stage2.values() for item, name in stage.names.items()}
    for partition in stage2:
        shard = world.keys.items(partition)
        own = {item: name for item, name in names.items() if item % world.settings.item_partitions == partition}
        for item, name in own.items():
            key = shard.similar(name)
            if key not in world.types:
                continue
            world.accounted.add(key)
            found = world.valkeys.rankings([key])[key]
            allowed = {names[x] for x in met[item] if x in names}
            fine = (
                len(found) <= SIMILAR_KEPT
                and all(0 < s <= 1 + 1e-9 for s in found.values())
                and found.keys() <= allowed - {name}
            )
            findings.holds("similar views", f"{name}: {found}", fine=fine)
        world.accounted |= {shard.trending, shard.views} & world.types.keys()
        trending = world.valkeys.rankings([shard.trending])[shard.trending]
        findings.holds("trending views", f"{shard.trending}: {trending}", fine=trending.keys() <= set(own.values()))
        findings.holds(
            "trending views", f"{shard.trending}: {len(trending)} items", fine=len(trending) <= TRENDING_KEPT
        )

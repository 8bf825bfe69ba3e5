"""The demo's report: what a shop wants to see."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

from schemas.interest_change import InterestChange
from streams.store.reader import Reader
from workers.demo.watch import Watch

TIER_BLOCKS = {"none": "·", "emerging": "▂", "active": "▅", "core": "█", "fading": "▁", "dormant": "·"}
SHOWN_ITEMS, SHOWN_USERS, SHOWN_PUSHES = 6, 3, 6


def similar_items(console: Console, reader: Reader) -> None:
    """The most bought items of late and what belongs to them."""
    console.rule("what belongs together")
    table = Table("item", "cosine and name of the most similar", show_lines=True)
    for item in reader.trending(SHOWN_ITEMS):
        near = reader.similar([item], 4)[item]
        names = reader.titles([item, *(other for other, _ in near)])
        table.add_row(
            f"{names[item]}\n[dim]{item}[/]",
            "\n".join(f"{similarity:.2f}  {names[other]}" for other, similarity in near),
        )
    console.print(table)


def interests_over_time(console: Console, watch: Watch) -> list[str]:
    """A few shoppers' tiers month by month; returns whose."""
    console.rule("a few shoppers' interests over time")
    console.print(
        "a column a month;  █ core  ▅ active  ▂ emerging  ▁ fading  ↑ the month an interest rose", style="dim"
    )
    pushed = {notification.user_id for notification, _ in watch.notifications}
    ranked = sorted(watch.changes, key=lambda user: (user not in pushed, -_rises(watch.changes[user]), user))
    for user in ranked[:SHOWN_USERS]:
        changes = watch.changes[user]
        by_category: dict[str, list[InterestChange]] = defaultdict(list)
        for change in changes:
            by_category[change.category].append(change)
        table = Table("interest", "Jan to Dec", "now", title=f"household {user}", title_justify="left")
        best = sorted(by_category.items(), key=lambda pair: (-_rises(pair[1]), -pair[1][-1].affinity))
        for category, history in best[:6]:
            last = history[-1]
            table.add_row(category, _timeline(history), f"{last.to_tier} {last.affinity:.1%}")
        console.print(table)
    return ranked[:SHOWN_USERS]


def _rises(changes: list[InterestChange]) -> int:
    return sum(change.kind == "rise" for change in changes)


def _timeline(history: list[InterestChange]) -> str:
    cells = []
    for month in range(1, 13):
        until = [change for change in history if datetime.fromtimestamp(change.time / 1000, UTC).month <= month]
        rose = any(c.kind == "rise" and datetime.fromtimestamp(c.time / 1000, UTC).month == month for c in history)
        cells.append("↑" if rose else TIER_BLOCKS[until[-1].to_tier] if until else " ")
    return " ".join(cells)


def drifts(console: Console, watch: Watch) -> None:
    """How many interests changed, and how."""
    console.rule("drifts")
    users = sum(any(change.kind == "rise" for change in changes) for changes in watch.changes.values())
    console.print(
        f"{watch.kinds['rise']:,} interests rose (of {users} households), {watch.kinds['fade']:,} faded, "
        f"{watch.kinds['tier']:,} other tier changes",
        highlight=False,
    )


def pushes(console: Console, watch: Watch) -> None:
    """Some notifications with their texts and why."""
    console.rule(f"pushes: {len(watch.notifications):,}")
    step = max(1, len(watch.notifications) // SHOWN_PUSHES)
    for notification, _ in watch.notifications[::step][:SHOWN_PUSHES]:
        when = datetime.fromtimestamp(notification.created / 1000, UTC).strftime("%d %b")
        console.print(
            f"[bold]{notification.title}[/]  [dim]household {notification.user_id}, {when}[/]", highlight=False
        )
        console.print(f"  {notification.text}", highlight=False)
        console.print(f"  [dim]why: {notification.reason.explanation}[/]", highlight=False)


def holds(console: Console, watch: Watch) -> None:
    """Decisions not to send, by reason."""
    console.rule(f"held: {sum(watch.held.values()):,}")
    table = Table("reason", "times")
    for reason, count in watch.held.most_common():
        table.add_row(reason, f"{count:,}")
    console.print(table)


def speed(console: Console, history: int, backfill_s: float, live: int, live_s: float, latencies: list[float]) -> None:
    """Events per second to committed state, and how long a purchase takes to become a notification."""
    console.rule("speed")
    console.print(
        f"history: {history:,} events in {backfill_s:.1f} s to the state of both stages: "
        f"{history / backfill_s:,.0f} events/s",
        highlight=False,
    )
    if live:
        console.print(f"live: {live:,} events in {live_s:.1f} s", highlight=False)
    if len(latencies) > 1:
        p95 = quantiles(latencies, n=20)[-1]
        console.print(
            f"purchase → notification, live: median {median(latencies) * 1000:.0f} ms, "
            f"95 % within {p95 * 1000:.0f} ms ({len(latencies)} pushes)",
            highlight=False,
        )

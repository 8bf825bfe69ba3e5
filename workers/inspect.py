"""`driftline inspect user|item ID`: state as a person would read it."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from streams.core.forward_decay import EPOCH_HALF_LIVES
from streams.core.hashing import id_hash
from streams.core.interests import total_affinity
from streams.core.item_state import ItemState
from streams.core.user_state import Consent, Tier, UserState
from streams.incarnation import keyspace, serving_generation
from streams.settings import Settings
from streams.store.reader import Reader
from streams.store.redis import connect
from workers.commands import command_settings, errors_as_messages

TIER_STYLE = {
    Tier.CORE: "bold green",
    Tier.ACTIVE: "green",
    Tier.EMERGING: "cyan",
    Tier.FADING: "yellow",
    Tier.DORMANT: "dim",
    Tier.NONE: "",
}


@click.group()
def inspect() -> None:
    """Print the state of a shopper or an item.

    \b
    Examples:
      driftline inspect user u-1077
      driftline inspect item 995242
    """


@inspect.command()
@click.argument("user_id", metavar="ID")
@errors_as_messages
def user(user_id: str) -> None:
    """What is known of a shopper: session, interests with tiers, recent items."""
    settings = command_settings()
    reader = open_reader(settings)
    state = reader.user(user_id)
    if state is None:
        click.echo(f"nothing is known of user {user_id!r} in namespace {settings.namespace!r}", err=True)
        sys.exit(1)
    show_user(Console(), reader, user_id, state)


@inspect.command()
@click.argument("item_id", metavar="ID")
@errors_as_messages
def item(item_id: str) -> None:
    """What is known of an item: counts, the most similar items, its co-occurrences."""
    settings = command_settings()
    reader = open_reader(settings)
    state = reader.item(item_id)
    if state is None:
        click.echo(f"item {item_id!r} was never seen in namespace {settings.namespace!r}", err=True)
        sys.exit(1)
    show_item(Console(), reader, settings, item_id, state)


def open_reader(settings: Settings) -> Reader:
    """A reader of the generation that serves (or of DRIFTLINE_GENERATION)."""
    store = connect(settings.redis.get_secret_value())
    return Reader(store, keyspace(settings, settings.generation or serving_generation(settings, store)))


def moment(ms: int) -> str:
    """Epoch ms as a readable UTC time."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ms else "-"


def show_user(console: Console, reader: Reader, user_id: str, state: UserState) -> None:
    """A shopper's state as tables."""
    consent = Consent(state.consent).name.lower()
    console.print(
        f"[bold]user {user_id}[/]  newest event {moment(state.last_ms)}  sessions {state.sessions}  consent {consent}"
    )
    console.print(
        f"session: {len(state.session_items)} items; "
        f"{len(state.bought)} bought and {len(state.dismissed)} dismissed remembered"
    )
    total = total_affinity(state) or 1.0
    table = Table(
        "interest", "tier", "share", "visits", "last visit", "last 32 sessions, newest first", title="interests"
    )
    for interest in sorted(state.interests, key=lambda i: -i.affinity):
        tier = Tier(interest.tier)
        passed = min(state.sessions - interest.last_session, 32)
        bits = f"{(interest.history << passed) & 0xFFFFFFFF:032b}"[::-1].replace("0", "·").replace("1", "█")
        marks = ("↑" if interest.risen else "") + ("♥" if interest.declared else "")
        share = interest.affinity / total
        table.add_row(
            f"{interest.category} {marks}",
            f"[{TIER_STYLE[tier]}]{tier.name.lower()}[/]" if TIER_STYLE[tier] else tier.name.lower(),
            f"{share:.1%} {'▇' * round(share * 20)}",
            str(interest.visits),
            moment(interest.last_ms),
            bits,
        )
    console.print(table)
    names = reader.titles([recent.item_id for recent in state.recent])
    recents = Table("when", "what", "item", "category", title="recent")
    for recent in reversed(state.recent):
        recents.add_row(moment(recent.time_ms), recent.type, names[recent.item_id], recent.category)
    console.print(recents)


def show_item(console: Console, reader: Reader, settings: Settings, item_id: str, state: ItemState) -> None:
    """An item's state as tables."""
    head = state.head
    half_life = settings.learning.count_half_life_s
    landmark_s = EPOCH_HALF_LIVES * half_life * head.epoch
    scale = math.exp2(-(head.last - landmark_s) / half_life) if head.last else 1.0
    title = reader.titles([item_id])[item_id]
    console.print(f"[bold]item {item_id}[/]  {title}  (hash {id_hash(item_id):016x})")
    console.print(
        f"{head.events} events, {head.repeats} repeats, newest {moment(head.last * 1000)}; "
        f"decayed degree {head.degree * scale:.2f}, recent {head.recent_degree:.2f}; {head.rows} of 128 neighbour rows"
    )
    near = reader.similar([item_id], 20)[item_id]
    names = reader.titles([other for other, _ in near])
    table = Table("item", "title", "similarity", title="most similar")
    for other, similarity in near:
        table.add_row(other, names[other], f"{similarity:.4f}")
    console.print(table)
    rows = sorted(state.rows.tolist(), key=lambda row: -(row[2] + row[3]))[:20]
    known = reader.names([row[0] for row in rows])
    counts = Table(
        "neighbour", "next", "after (≤ 5 steps)", "before", "recent", "newest", title="co-occurrence, decayed"
    )
    for neighbour, following, forward, backward, recent, ts in rows:
        shown = [f"{value * scale:.2f}" for value in (following, forward, backward)]
        counts.add_row(known.get(neighbour, f"{neighbour:016x}"), *shown, f"{recent:.2f}", moment(ts * 1000))
    console.print(counts)

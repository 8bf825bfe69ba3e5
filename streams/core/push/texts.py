"""Every sentence a user may read, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.fields import SEPARATOR
from schemas.push_decision import DecisionCause
from streams.core.push.candidates import Candidate

TITLE_MAX = 120
TEXT_MAX = 400
_DID: Mapping[str, str] = {
    "favourite": "saved",
    "share": "shared",
    "cart": "put {} into your cart",
    "purchase": "bought",
    "rating": "rated",
}


def title(causes: Sequence[DecisionCause]) -> str:
    """What the notification is about.

    >>> title([DecisionCause(id="c", offset=0, category="Garden > Tools", time=0, visits=3)])
    'New in Tools'
    """
    return _cut(f"New in {joined([last_level(cause.category) for cause in causes])}", TITLE_MAX)


def text(chosen: Sequence[Candidate], titles: Mapping[str, str]) -> str:
    """Why these items, naming the item of the user that speaks for the first one; ids stand in for missing titles."""
    names = joined([titles.get(candidate.item_id, candidate.item_id) for candidate in chosen])
    seed = chosen[0].evidence[0]
    return _cut(f"Because you {did(seed.type, titles.get(seed.item_id, seed.item_id))}: {names}", TEXT_MAX)


def explanation(causes: Sequence[DecisionCause]) -> str:
    """Why now, for a support desk or a curious user.

    >>> explanation([DecisionCause(id="c", offset=0, category="Garden > Tools", time=0, visits=3)])
    'You came back to Tools lately: 3 visits so far, hardly any of them before.'
    """
    newest = causes[-1]
    visits = "1 visit" if newest.visits == 1 else f"{newest.visits} visits"
    names = joined([last_level(cause.category) for cause in causes])
    return f"You came back to {names} lately: {visits} so far, hardly any of them before."


def did(kind: str, name: str) -> str:
    """What the user did with an item, in the past tense.

    >>> did("view", "Spade"), did("cart", "Spade")
    ('looked at Spade', 'put Spade into your cart')
    """
    verb = _DID.get(kind, "looked at")
    return verb.format(name) if "{}" in verb else f"{verb} {name}"


def last_level(category: str) -> str:
    """The last level of a category path."""
    return category.rpartition(SEPARATOR)[2]


def joined(names: Sequence[str]) -> str:
    """An English list of distinct names.

    >>> joined(["A", "B", "C", "A"])
    'A, B and C'
    """
    distinct = list(dict.fromkeys(names))
    return " and ".join(filter(None, (", ".join(distinct[:-1]), distinct[-1]))) if distinct else ""


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

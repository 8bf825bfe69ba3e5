"""What is recommended, and why."""

from __future__ import annotations

import pytest

from schemas.push_decision import DecisionCause
from streams.core.hashing import id_hash
from streams.core.push import texts
from streams.core.push.candidates import Candidate, Evidence, candidates, seeds
from streams.core.user_state import RecentItem

TOOLS = "Garden > Tools"


def did(item: str, category: str = TOOLS, kind: str = "view") -> RecentItem:
    return RecentItem(item, category, kind, 0)


def risen(category: str) -> DecisionCause:
    return DecisionCause(id=category, offset=0, category=category, time=0, visits=3)


def test_seeds_are_the_newest_interactions_in_the_category_or_below() -> None:
    recent = [did("a"), did("b", "Garden"), did("c", TOOLS + " > Spades"), did("a", kind="cart"), did("d", "Gardening")]
    assert seeds(recent, {TOOLS}) == [did("a", kind="cart"), did("c", TOOLS + " > Spades")]
    assert [seed.item_id for seed in seeds(recent, {"Garden"})] == ["a", "c", "b"]


def test_a_score_is_the_sum_of_similarities_by_rank_and_type() -> None:
    found = candidates(
        [did("new", kind="cart"), did("old")], {"new": [("x", 0.5), ("y", 0.1)], "old": [("x", 0.2), ("z", 1.0)]}, ()
    )
    assert [(c.item_id, c.score) for c in found] == [
        ("x", pytest.approx(2 * 0.5 + 0.8 * 0.2)),
        ("z", pytest.approx(0.8)),
        ("y", pytest.approx(0.2)),
    ]
    assert found[0].evidence == (Evidence("new", "cart", 0.5), Evidence("old", "view", 0.2))


def test_what_the_user_has_or_had_is_left_out() -> None:
    similar = {"seed": [("seed", 1.0), ("bought", 0.9), ("sent", 0.8), ("other", 0.7), ("none", 0.0)]}
    found = candidates([did("seed")], similar, {id_hash("bought"), id_hash("sent")})
    assert [c.item_id for c in found] == ["other"]


def test_ties_go_by_item_id() -> None:
    assert [c.item_id for c in candidates([did("s")], {"s": [("b", 0.5), ("a", 0.5)]}, ())] == ["a", "b"]


def test_texts_name_the_evidence_and_the_items() -> None:
    chosen = [Candidate(item, 1.0, (Evidence("w", "cart", 0.5),)) for item in ("s", "r", "unnamed")]
    titles = {"w": "Wheelbarrow", "s": "Spade", "r": "Rake"}
    assert texts.text(chosen, titles) == "Because you put Wheelbarrow into your cart: Spade, Rake and unnamed"
    causes = [risen(TOOLS), risen("Shoes")]
    assert texts.title(causes) == "New in Tools and Shoes"
    assert len(texts.title([risen("x" * 64), risen("y" * 64)])) == texts.TITLE_MAX

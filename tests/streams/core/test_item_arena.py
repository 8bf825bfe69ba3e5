"""What an arena says about its items, beside their bytes."""

from __future__ import annotations

from streams.core.item_arena import ItemArena
from streams.core.links import LinkRow, decode_links, encode_links
from streams.core.policy import LearningPolicy

ITEM = 7
POLICY = LearningPolicy()


def see(arena: ItemArena, times: int, first_offset: int, at_ms: int = 1_700_000_000_000) -> None:
    """Events of one item, all at one time."""
    rows = [LinkRow(first_offset + n, at_ms, 1, 1.0, False, ITEM, (), "seven") for n in range(times)]
    ((_, data),) = encode_links(rows, generation=1, topic_id="t", source=0, item_partitions=1)
    assert arena.apply(decode_links(data), first_offset - 1, {0: ITEM}) == times


def test_an_item_is_named_when_its_counts_grew_by_three_percent() -> None:
    arena = ItemArena(POLICY)
    arena.put(ITEM, None)
    see(arena, 100, 0)
    assert arena.grown([ITEM]) == [ITEM]
    assert arena.grown([ITEM]) == []
    see(arena, 2, 100)
    assert arena.grown([ITEM]) == [], "102 is less than 3 % more than 100"
    see(arena, 2, 102)
    assert arena.grown([ITEM]) == [ITEM], "small growth adds up"


def test_an_item_that_came_back_into_memory_or_moved_its_landmark_is_named() -> None:
    arena = ItemArena(POLICY)
    arena.put(ITEM, None)
    see(arena, 100, 0)
    arena.grown([ITEM])
    (data,) = arena.pack([ITEM])
    again = ItemArena(POLICY)
    again.put(ITEM, data)
    assert again.grown([ITEM]) == [ITEM]
    see(again, 1, 100, at_ms=1_700_000_000_000 + int(33 * POLICY.count_half_life_s * 1000))
    assert again.grown([ITEM]) == [ITEM]

"""Laws of similarity and of forward decay."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.forward_decay import EPOCH_HALF_LIVES, epoch_of, rescale, weight_at
from streams.core.similarity import cosine

COUNTS = st.floats(1e-6, 1e12)
TIMES = st.floats(0, 4e9)
HALF_LIVES = st.floats(60.0, 1e8)


@given(c=st.floats(0, 1e12), a=COUNTS, b=COUNTS)
def test_a_similarity_lies_between_zero_and_one_and_is_symmetric(c: float, a: float, b: float) -> None:
    assert 0 <= float(cosine(c, a, b)) <= 1
    assert float(cosine(c, a, b)) == float(cosine(c, b, a))


@given(a=COUNTS, more=st.floats(0, 1e12), c=st.floats(0, 1e12))
def test_more_shared_steps_never_make_items_less_alike(a: float, more: float, c: float) -> None:
    assert float(cosine(c + more, a, a)) >= float(cosine(c, a, a))


@given(a=COUNTS)
def test_items_that_always_come_together_are_alike_entirely(a: float) -> None:
    assert float(cosine(a, a, a)) == pytest.approx(1.0)


@given(c=st.floats(1e-3, 1e3), a=st.floats(1e-3, 1e3), b=st.floats(1e-3, 1e3), epochs=st.integers(1, 3))
def test_a_similarity_does_not_depend_on_the_landmark(c: float, a: float, b: float, epochs: int) -> None:
    k = rescale(epochs)
    assert float(cosine(c * k, a * k, b * k)) == pytest.approx(float(cosine(c, a, b)), rel=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (1.0, -1.0), (math.nan, 1.0)])
def test_an_unseen_item_has_no_similarity(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="both must be positive"):
        cosine(1.0, a, b)


@given(t=TIMES, s=st.floats(0, 1e8), h=HALF_LIVES)
def test_decay_over_s_then_t_is_decay_over_both(t: float, s: float, h: float) -> None:
    epoch = epoch_of(t, h)
    ratio = weight_at(t, h, epoch) / weight_at(t + min(s, 100 * h), h, epoch)
    assert ratio == pytest.approx(math.exp2(-min(s, 100 * h) / h), rel=1e-6)


@given(t=TIMES, h=HALF_LIVES)
def test_within_its_epoch_an_event_weighs_from_one_to_two_to_the_32(t: float, h: float) -> None:
    assert 1 - 1e-6 <= weight_at(t, h, epoch_of(t, h)) <= 2.0**EPOCH_HALF_LIVES * (1 + 1e-6)


@given(t=TIMES, h=HALF_LIVES, k=st.integers(1, 3))
def test_moving_the_landmark_keeps_what_a_sum_says(t: float, h: float, k: int) -> None:
    epoch = epoch_of(t, h)
    assert weight_at(t, h, epoch) * rescale(k) == pytest.approx(weight_at(t, h, epoch + k), rel=1e-5)

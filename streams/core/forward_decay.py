"""Forward decay: an event at time t adds g = 2**((t - L) / H), so nothing ever has to be decayed when time passes.

A landmark L = 32 * H * epoch is shared by all sums of one owner; ratios of sums under one landmark need no rescaling,
and the order of arrival does not matter. The landmark moves only when numbers would grow large: then every sum is
multiplied by 2**(-32 k).

Cormode, Shkapenyuk, Srivastava, Xu. Forward decay: a practical time decay model for streaming systems. ICDE 2009.
"""

from __future__ import annotations

import math

EPOCH_HALF_LIVES = 32


def epoch_of(t_s: float, half_life_s: float) -> int:
    """The epoch a time in seconds belongs to: floor(t / (32 H)).

    >>> epoch_of(6400.0, 100.0)
    2
    """
    return math.floor(t_s / (EPOCH_HALF_LIVES * half_life_s))


def weight_at(t_s: float, half_life_s: float, epoch: int) -> float:
    """What an event of weight 1 at time t adds under the landmark of `epoch`.

    In [1, 2**32) within the epoch, less before it.

    >>> weight_at(6500.0, 100.0, 2)
    2.0
    """
    return math.exp2((t_s - EPOCH_HALF_LIVES * half_life_s * epoch) / half_life_s)


def rescale(epochs: int) -> float:
    """The factor that carries a sum over to a landmark `epochs` later.

    >>> rescale(1) == 2.0**-32
    True
    """
    return math.exp2(-EPOCH_HALF_LIVES * epochs)

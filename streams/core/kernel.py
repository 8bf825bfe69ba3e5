"""The compiled inner loop of stage 2: link rows into item tables, row by row (docs/fold.md 2).

Everything lives in flat arrays ("arena"): per item slot a row of `ints` and of `sums`, and one block of neighbour rows
in `table`, seven 32-bit words each. Blocks come in size classes of 4, 8, .. 128 rows; freed blocks are chained through
their first word.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from streams.core.forward_decay import EPOCH_HALF_LIVES

# columns of `ints` (int64)
ROWS, CLASS, BLOCK, EPOCH, EVENTS, REPEATS, LAST, TOUCHED = range(8)
INTS = 8
# columns of `sums` (float64)
DEGREE, RECENT, OUT_NEXT, OUT_FORWARD, OUT_BACKWARD = range(5)
SUMS = 5
# words of a neighbour row
LOW, HIGH, F1, F, B, R, TS = range(7)
WORDS = 7

SMALLEST_BLOCK = 4
CLASSES = 6  # 4, 8, 16, 32, 64, 128
CAP = SMALLEST_BLOCK << (CLASSES - 1)
HEAD_WORDS = 16
BACKWARD_WORTH = 0.3  # of a backward step when rows compete for a place

# entries of `params` (float64)
COUNT_HALF_LIFE, RECENCY_HALF_LIFE, BACKWARD_RECENCY, HORIZON = range(4)
STEP_WEIGHTS = 4  # from here on: the weight of a step of 1, 2, .. items


@njit(cache=True)
def allocate(free, top, table, size_class):
    """First row of a free block; `free[c]` heads the chain of class c, `top[0]` is the first row never used."""
    block = free[size_class]
    if block >= 0:
        free[size_class] = np.int64(table[block, 0]) - 1
        return block
    block = top[0]
    top[0] += SMALLEST_BLOCK << size_class
    return block


@njit(cache=True)
def release(free, table, block, size_class):
    """Chain a block for the next one that asks for its class."""
    table[block, 0] = np.uint32(free[size_class] + 1)
    free[size_class] = block


@njit(cache=True)
def touch(slot, t, params, ints, sums, table, real, free):
    """Expire and rescale an item before it is changed at time t; the forward-decay weight of an event at t."""
    last = ints[slot, LAST]
    if last > 0 and t - last > params[HORIZON]:
        if ints[slot, CLASS] >= 0:
            release(free, table, ints[slot, BLOCK], ints[slot, CLASS])
        touched = ints[slot, TOUCHED]
        ints[slot, :] = 0
        ints[slot, CLASS] = -1
        ints[slot, TOUCHED] = touched
        sums[slot, :] = 0.0
    half_life = params[COUNT_HALF_LIFE]
    epoch = np.int64(np.floor(t / (EPOCH_HALF_LIVES * half_life)))
    if epoch > ints[slot, EPOCH]:
        factor = np.exp2(-np.float64(EPOCH_HALF_LIVES * (epoch - ints[slot, EPOCH])))
        sums[slot, DEGREE] *= factor
        sums[slot, OUT_NEXT] *= factor
        sums[slot, OUT_FORWARD] *= factor
        sums[slot, OUT_BACKWARD] *= factor
        start = ints[slot, BLOCK]
        for i in range(start, start + ints[slot, ROWS]):
            real[i, F1] = np.float32(np.float64(real[i, F1]) * factor)
            real[i, F] = np.float32(np.float64(real[i, F]) * factor)
            real[i, B] = np.float32(np.float64(real[i, B]) * factor)
        ints[slot, EPOCH] = epoch
    return np.exp2((t - EPOCH_HALF_LIVES * half_life * ints[slot, EPOCH]) / half_life)


@njit(cache=True)
def row_of(slot, neighbour, t, params, ints, table, real, free, top):
    """The table row of `slot` on `neighbour`, made (or taken from the least one) if there is none."""
    low, high = np.uint32(neighbour & np.uint64(0xFFFFFFFF)), np.uint32(neighbour >> np.uint64(32))
    start, n = ints[slot, BLOCK], ints[slot, ROWS]
    for i in range(start, start + n):
        if table[i, LOW] == low and table[i, HIGH] == high:
            return i
    size_class = ints[slot, CLASS]
    if n == CAP:
        found = _least(start, t, params, table, real)
    else:
        if size_class < 0 or n == SMALLEST_BLOCK << size_class:
            block = allocate(free, top, table, size_class + 1)
            for i in range(n):
                table[block + i, :] = table[start + i, :]
            if size_class >= 0:
                release(free, table, start, size_class)
            ints[slot, CLASS], ints[slot, BLOCK] = size_class + 1, block
            start = block
        found = start + n
        ints[slot, ROWS] = n + 1
    table[found, LOW], table[found, HIGH], table[found, TS] = low, high, np.uint32(t)
    real[found, F1], real[found, F], real[found, B], real[found, R] = 0.0, 0.0, 0.0, 0.0
    return found


@njit(cache=True)
def _least(start, t, params, table, real):
    tau = params[RECENCY_HALF_LIFE] / np.log(2.0)
    least, worth = start, np.inf
    for i in range(start, start + CAP):
        mass = np.float64(real[i, F]) + BACKWARD_WORTH * np.float64(real[i, B])
        value = mass / (1.0 + max(0, t - np.int64(table[i, TS])) / tau)
        if value < worth:
            least, worth = i, value
    return least


@njit(cache=True)
def add_recency(row, weight, t, params, table, real):
    """`R` gets a weight at time t: decayed to the newest of both times, whatever order they arrive in."""
    age = t - np.int64(table[row, TS])
    old = np.float64(real[row, R])
    if age >= 0:
        real[row, R] = np.float32(old * np.exp2(-age / params[RECENCY_HALF_LIFE]) + weight)
        table[row, TS] = np.uint32(t)
    else:
        real[row, R] = np.float32(old + weight * np.exp2(age / params[RECENCY_HALF_LIFE]))


@njit(cache=True)
def add_event(slot, t, weight, g, repeat, params, ints, sums):
    """An item's own event: its counts, its degree, its recent degree."""
    ints[slot, EVENTS] += 1
    ints[slot, REPEATS] += repeat
    sums[slot, DEGREE] += weight * g
    age = t - ints[slot, LAST]
    if age >= 0:
        sums[slot, RECENT] = sums[slot, RECENT] * np.exp2(-age / params[RECENCY_HALF_LIFE]) + weight
        ints[slot, LAST] = t
    else:
        sums[slot, RECENT] += weight * np.exp2(age / params[RECENCY_HALF_LIFE])


@njit(cache=True)
def apply_rows(
    mark,
    offsets,
    seconds,
    weights,
    flags,
    items,
    neighbours,
    starts,
    hashes,
    slots,
    params,
    ints,
    sums,
    table,
    free,
    top,
):
    """Apply the rows whose source offset lies above `mark`; how many they were.

    slots[k] is the arena slot of hashes[k] if this partition owns it, else -1; `table` must have room for every block
    these rows can ask for (see ItemArena.apply).
    """
    real = table.view(np.float32)
    applied = 0
    for row in range(len(offsets)):
        if offsets[row] <= mark:
            continue
        applied += 1
        t, w, y = seconds[row], np.float64(weights[row]), items[row]
        own = slots[y]
        g_own = 0.0
        if own >= 0:
            g_own = touch(own, t, params, ints, sums, table, real, free)
            add_event(own, t, w, g_own, flags[row] & 1, params, ints, sums)
        for at in range(starts[row], starts[row + 1]):
            x = neighbours[at]
            v = w * params[STEP_WEIGHTS + at - starts[row]]
            theirs = slots[x]
            if theirs >= 0:
                g = touch(theirs, t, params, ints, sums, table, real, free)
                i = row_of(theirs, hashes[y], t, params, ints, table, real, free, top)
                if at == starts[row]:
                    real[i, F1] = np.float32(np.float64(real[i, F1]) + w * g)
                    sums[theirs, OUT_NEXT] += w * g
                real[i, F] = np.float32(np.float64(real[i, F]) + v * g)
                sums[theirs, OUT_FORWARD] += v * g
                add_recency(i, v, t, params, table, real)
            if own >= 0 and x != y:
                i = row_of(own, hashes[x], t, params, ints, table, real, free, top)
                real[i, B] = np.float32(np.float64(real[i, B]) + v * g_own)
                sums[own, OUT_BACKWARD] += v * g_own
                add_recency(i, params[BACKWARD_RECENCY] * v, t, params, table, real)
    return applied


@njit(cache=True)
def pack(chosen, name_bytes, version, ints, sums, table, out, ends):
    """Heads and rows of the chosen slots as 32-bit words, one item after another; item i stops at ends[i] in `out`."""
    at = 0
    head = np.empty(SUMS, np.float64)
    for i in range(len(chosen)):
        slot = chosen[i]
        n = ints[slot, ROWS]
        out[at] = np.uint32(version | (n << 16))
        out[at + 1] = np.uint32(ints[slot, EPOCH] & 0xFFFFFFFF)
        out[at + 2] = np.uint32(ints[slot, EVENTS])
        out[at + 3] = np.uint32(ints[slot, REPEATS])
        out[at + 4] = np.uint32(ints[slot, LAST])
        out[at + 5] = np.uint32(name_bytes[i])
        head[:] = sums[slot, :]
        out[at + 6 : at + HEAD_WORDS] = head.view(np.uint32)
        at += HEAD_WORDS
        start = ints[slot, BLOCK]
        for j in range(start, start + n):
            for word in range(WORDS):
                out[at] = table[j, word]
                at += 1
        ends[i] = at

"""The packed layout of one item's state: what Redis holds, what readers see.

| bytes        | content                                                              |
|--------------|----------------------------------------------------------------------|
| 0            | layout version                                                       |
| 1            | 0                                                                    |
| 2..3         | number of rows n, u16                                                |
| 4..7         | epoch of the landmark, i32                                           |
| 8..11        | events, u32                                                          |
| 12..15       | repeats, u32                                                         |
| 16..19       | last: event time of the newest event, u32 s                          |
| 20..23       | length of the name in bytes, u32                                     |
| 24..63       | D, Dr, oF1, oF, oB, float64                                          |
| 64..         | name, UTF-8, padded with zeros to a multiple of 4                    |
| ..           | n rows of 28 bytes: neighbour u64, F1, F, B, R float32, ts u32 s     |

All little-endian. Sums under a landmark (D, oF1, oF, oB, F1, F, B) are forward-decayed with `count_half_life_s`; Dr is
decayed to `last` and R to `ts` with `recency_half_life_s`.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.core.checkpoint import UnknownVersionError

VERSION = 1
ROWS_MAX = 128
HEAD = struct.Struct("<BBHiIIIIddddd")
HEAD_BYTES = HEAD.size
ROW = np.dtype([("neighbour", "<u8"), ("f1", "<f4"), ("f", "<f4"), ("b", "<f4"), ("r", "<f4"), ("ts", "<u4")])


class ItemHead(msgspec.Struct, frozen=True):
    """An item's own numbers: see the module's table. `degree` is D under the landmark of `epoch`."""

    rows: int
    epoch: int
    events: int
    repeats: int
    last: int
    name_bytes: int
    degree: float
    recent_degree: float
    out_next: float
    out_forward: float
    out_backward: float


class ItemState(msgspec.Struct, frozen=True):
    """An item as a reader sees it: head, name ("" if it was never seen itself) and its neighbour rows."""

    head: ItemHead
    name: str
    rows: NDArray[np.void]


def decode_head(data: bytes) -> ItemHead:
    """The head of packed item bytes (at least 64 of them). Raises UnknownVersionError for another layout."""
    version_and_pad = 2
    return ItemHead(*_unpacked_head(data)[version_and_pad:])


def _unpacked_head(data: bytes) -> tuple[Any, ...]:
    if len(data) < HEAD_BYTES or data[0] != VERSION:
        raise UnknownVersionError(f"item layout {data[:1].hex() or 'empty'}, this release reads {VERSION:02x}")
    return HEAD.unpack_from(data)


def read_degree(data: bytes) -> tuple[float, int, bytes]:
    """(degree, epoch of its landmark, name) of packed item bytes: what a similarity needs, read quickly.

    Raises UnknownVersionError for another layout.
    """
    values = _unpacked_head(data)
    return values[8], values[3], data[HEAD_BYTES : HEAD_BYTES + values[7]]


def decode_name(data: bytes) -> str:
    """The name in packed item bytes that hold at least head and name; "" if the item has none yet."""
    size = decode_head(data).name_bytes
    return data[HEAD_BYTES : HEAD_BYTES + size].decode()


def decode_item(data: bytes) -> ItemState:
    """An item from its packed bytes. Raises UnknownVersionError for another layout."""
    head = decode_head(data)
    start = HEAD_BYTES + padded(head.name_bytes)
    return ItemState(head, decode_name(data), np.frombuffer(data, ROW, head.rows, start))


def padded(size: int) -> int:
    """The next multiple of 4."""
    return -size % 4 + size

"""item-links.v1: what one flush of a source partition tells each item partition, in one columnar message.

See docs/item-links.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.core.checkpoint import UnknownVersionError

VERSION = 1
NEIGHBOURS_MAX = 5
_REPEAT = 1
_NARROW = 1 << 16
_I32 = 1 << 31


class LinkRow(NamedTuple):
    """All links of one event.

    offset      source offset
    time_ms     event time, epoch ms
    session     global session id, 0 for a late event
    weight      of one step, > 0
    repeat      whether the item is among the session's last 50
    item        XXH3-64 of the item
    neighbours  of the last <= 5 items of the session, nearest first
    name        the item's id as a string
    """

    offset: int
    time_ms: int
    session: int
    weight: float
    repeat: bool
    item: int
    neighbours: tuple[int, ...]
    name: str


class BadLinksError(ValueError):
    """Bytes that are not an item-links message."""


class LinkMessage(msgspec.Struct, frozen=True):
    """A decoded message: r rows over k hashes, arrays as in docs/item-links.md but with absolute offsets and times.

    offsets int64[r]; times int64[r] in ms; weights float32[r]; flags uint8[r]; items int64[r] and neighbours
    int64[sum m] are indices into hashes uint64[k]; starts int64[r + 1] bounds each row's neighbours; names belong to
    hashes[: len(names)].
    """

    generation: int
    topic_id: str
    source: int
    target: int
    offsets: NDArray[np.int64]
    times: NDArray[np.int64]
    sessions: NDArray[np.uint64]
    weights: NDArray[np.float32]
    flags: NDArray[np.uint8]
    items: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    starts: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    names: tuple[str, ...]


def encode_links(
    rows: Sequence[LinkRow], *, generation: int, topic_id: str, source: int, item_partitions: int
) -> Iterator[tuple[int, bytes]]:
    """(target partition, message) for every partition that owns an item of the rows, targets rising.

    rows  of one flush, offsets rising; the same rows give the same bytes
    """
    if not rows:
        return
    at, times_ms, in_session, weight, repeat, item, nearest, name = zip(*rows, strict=True)
    names = dict(zip(item, name, strict=True))
    counts = np.fromiter(map(len, nearest), np.int64, len(rows))
    items = np.array(item, np.uint64)
    neighbours = np.fromiter(chain.from_iterable(nearest), np.uint64, int(counts.sum()))
    offsets = np.array(at, np.int64)
    times = np.array(times_ms, np.int64)
    sessions = np.array(in_session, np.uint64)
    weights = np.array(weight, np.float32)
    flags = np.array(repeat, np.uint8) * _REPEAT | (counts << 1).astype(np.uint8)

    of_neighbour = np.repeat(np.arange(len(rows)), counts)
    known, ranks = np.unique(np.concatenate([items, neighbours]), return_inverse=True)
    item_rank, neighbour_rank = ranks[: len(rows)], ranks[len(rows) :]
    owner = (known % np.uint64(item_partitions)).astype(np.int64)
    goes = np.zeros((item_partitions, len(rows)), np.bool_)
    goes[owner[item_rank], np.arange(len(rows))] = True
    goes[owner[neighbour_rank], of_neighbour] = True
    place = np.empty(len(known), np.int64)
    for target in np.nonzero(goes.any(axis=1))[0].tolist():
        chosen = np.nonzero(goes[target])[0]
        theirs = goes[target][of_neighbour]
        used, named = np.zeros(len(known), np.bool_), np.zeros(len(known), np.bool_)
        named[item_rank[chosen]] = True
        used[neighbour_rank[theirs]] = True
        used |= named
        named &= owner == target
        own, rest = np.nonzero(named)[0], np.nonzero(used & ~named)[0]
        hashes = known[np.concatenate([own, rest])]
        place[own] = np.arange(len(own))
        place[rest] = np.arange(len(own), len(hashes))
        narrow = "<u2" if len(hashes) < _NARROW else "<u4"

        base_offset, base_ms = int(offsets[chosen[0]]), int(times[chosen].min())
        since = times[chosen] - base_ms
        message = (
            VERSION,
            generation,
            topic_id,
            source,
            target,
            base_offset,
            base_ms,
            (offsets[chosen] - base_offset).astype("<u4").tobytes(),
            since.astype("<i4" if since.max() < _I32 else "<i8").tobytes(),
            sessions[chosen].astype("<u8").tobytes(),
            weights[chosen].astype("<f4").tobytes(),
            flags[chosen].tobytes(),
            place[item_rank[chosen]].astype(narrow).tobytes(),
            place[neighbour_rank[theirs]].astype(narrow).tobytes(),
            hashes.astype("<u8").tobytes(),
            [names[item] for item in known[own].tolist()],
        )
        yield target, _ENCODER.encode(message)


class _Versioned(msgspec.Struct, array_like=True, frozen=True):
    """The one field that every version has, whatever follows it."""

    version: int


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    version: int
    generation: int
    topic_id: str
    source: int
    target: int
    base_offset: int
    base_ms: int
    offset: bytes
    time: bytes
    session: bytes
    weight: bytes
    flags: bytes
    item: bytes
    neighbours: bytes
    hashes: bytes
    names: tuple[str, ...]


def decode_links(value: bytes | None) -> LinkMessage:
    """A message from its bytes.

    Raises BadLinksError if anything in it does not fit together, UnknownVersionError for a message of another release:
    dropping that one would lose links for good, so whoever reads it must stop.
    """
    if value is None:
        raise BadLinksError("value: absent")
    try:
        version = _VERSION_DECODER.decode(value).version
        if version == VERSION:
            return _checked(_DECODER.decode(value))
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise BadLinksError(str(error)) from error
    raise UnknownVersionError(f"item-links version {version}, this release reads {VERSION}: update the workers")


def _checked(wire: _Wire) -> LinkMessage:
    rows = len(wire.flags)
    width = 2 if len(wire.item) == 2 * rows else 4
    flags = np.frombuffer(wire.flags, np.uint8)
    counts = (flags >> 1).astype(np.int64)
    starts = np.zeros(rows + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    since = np.frombuffer(wire.time, "<i4" if len(wire.time) == 4 * rows else "<i8").astype(np.int64)
    hashes = np.frombuffer(wire.hashes, "<u8").astype(np.uint64)
    items = np.frombuffer(wire.item, f"<u{width}").astype(np.int64)
    neighbours = np.frombuffer(wire.neighbours, f"<u{width}").astype(np.int64)
    message = LinkMessage(
        wire.generation,
        wire.topic_id,
        wire.source,
        wire.target,
        np.frombuffer(wire.offset, "<u4").astype(np.int64) + wire.base_offset,
        since + wire.base_ms,
        np.frombuffer(wire.session, "<u8").astype(np.uint64),
        np.frombuffer(wire.weight, "<f4").astype(np.float32),
        flags,
        items,
        neighbours,
        starts,
        hashes,
        wire.names,
    )
    lengths = {len(message.offsets), len(since), len(message.sessions), len(message.weights), len(items)}
    if rows == 0 or lengths != {rows} or len(neighbours) != starts[-1]:
        raise BadLinksError(f"columns of {sorted(lengths)} and {len(neighbours)} neighbours for {rows} rows")
    if counts.max() > NEIGHBOURS_MAX or max(items.max(initial=0), neighbours.max(initial=0)) >= len(hashes):
        raise BadLinksError("an index or a neighbour count is out of range")
    if len(wire.names) > len(hashes) or (np.diff(message.offsets) <= 0).any():
        raise BadLinksError("more names than hashes, or offsets that do not rise")
    return message


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Wire)
_VERSION_DECODER = msgspec.msgpack.Decoder(_Versioned)

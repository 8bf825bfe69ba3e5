"""Stage 2: link messages of one item partition become item states (docs/fold.md 2)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from schemas.reasons import Reason, Rejection
from streams.core.checkpoint import Checkpoint
from streams.core.item_arena import ItemArena
from streams.core.links import BadLinksError, LinkMessage, decode_links
from streams.core.records import Rejected, SourceRecord, UnreadableBatch, unreadable

Decoded = tuple[SourceRecord, LinkMessage | Rejection]


class NeighboursDecision(msgspec.Struct):
    """What a run of messages comes to. `dirty` items changed in the arena; `dropped` rows had been applied before."""

    checkpoint: Checkpoint
    dirty: list[int]
    rejects: list[Rejected]
    applied: int
    dropped: int


def decode(records: Sequence[SourceRecord]) -> list[Decoded]:
    """Every record with its message or the reason it is refused."""
    return [(record, _message(record)) for record in records]


def _message(record: SourceRecord) -> LinkMessage | Rejection:
    if isinstance(record.value, UnreadableBatch):
        return unreadable(record.value)
    try:
        return decode_links(record.value)
    except BadLinksError as error:
        return Rejection(Reason.BAD_LINKS, str(error)[:500])


def counts_here(message: LinkMessage | Rejection, checkpoint: Checkpoint) -> bool:
    """Is the message meant for this state: its generation, its incarnation of the source, its partition?"""
    return (
        isinstance(message, LinkMessage)
        and message.generation == checkpoint.generation
        and message.topic_id == checkpoint.source_id
        and message.target == checkpoint.partition
        and 0 <= message.source < len(checkpoint.applied)
    )


def owned_items(message: LinkMessage, checkpoint: Checkpoint) -> dict[int, int]:
    """Index in message.hashes -> hash, for the items that this partition owns."""
    mine = np.nonzero(message.hashes % np.uint64(checkpoint.item_partitions) == np.uint64(checkpoint.partition))[0]
    return dict(zip(mine.tolist(), message.hashes[mine].tolist(), strict=True))


def fold(checkpoint: Checkpoint, decoded: Sequence[Decoded], arena: ItemArena) -> NeighboursDecision:
    """Apply messages in order.

    checkpoint  as loaded; its watermark is the offset of the first message or lies before it
    decoded     at least one message, offsets rising
    arena       holds every item of `owned_items` of every message that counts here; changed in place
    """
    marks = list(checkpoint.applied)
    dirty: dict[int, None] = {}
    rejects = []
    applied_rows = dropped = 0
    newest = checkpoint.newest_ms
    for record, message in decoded:
        if isinstance(message, Rejection):
            rejects.append(Rejected(record, message))
        elif counts_here(message, checkpoint):
            mark = marks[message.source]
            last = int(message.offsets[-1])
            if last <= mark:
                dropped += len(message.offsets)
                continue
            owned = owned_items(message, checkpoint)
            applied = arena.apply(message, mark, owned)
            dirty.update(dict.fromkeys(owned.values()))
            marks[message.source] = last
            applied_rows += applied
            dropped += len(message.offsets) - applied
            newest = max(newest, int(message.times[message.offsets > mark].max()))
    after = msgspec.structs.replace(
        checkpoint,
        watermark=decoded[-1][0].offset + 1,
        newest_ms=newest,
        accepted=checkpoint.accepted + applied_rows,
        rejected=checkpoint.rejected + len(rejects),
        applied=tuple(marks),
    )
    return NeighboursDecision(after, list(dirty), rejects, applied_rows, dropped)

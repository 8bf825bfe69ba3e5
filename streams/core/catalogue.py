"""Catalogue records of one partition become item metadata (docs/fold.md 3)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from schemas.catalogue import CatalogueItem, Tombstone, decode_catalogue, encode_catalogue
from schemas.reasons import Reason, Rejection
from streams.core.checkpoint import Checkpoint
from streams.core.records import Rejected, SourceRecord, UnreadableBatch, unreadable


class CatalogueDecision(msgspec.Struct):
    """Metadata to store by item id; empty bytes for a deleted item."""

    checkpoint: Checkpoint
    metadata: dict[str, bytes]
    rejects: list[Rejected]


def fold(checkpoint: Checkpoint, records: Sequence[SourceRecord]) -> CatalogueDecision:
    """Apply records in order: the newest valid one of an item stays.

    checkpoint  as loaded; its watermark is the offset of the first record or lies before it
    """
    metadata: dict[str, bytes] = {}
    rejects = []
    for record in records:
        entry = _entry(record)
        if isinstance(entry, Rejection):
            rejects.append(Rejected(record, entry))
        elif isinstance(entry, CatalogueItem):
            metadata[entry.item_id] = encode_catalogue(entry)
        else:
            metadata[entry.item_id] = b""
    after = msgspec.structs.replace(
        checkpoint,
        watermark=records[-1].offset + 1,
        newest_ms=max(checkpoint.newest_ms, *(record.timestamp for record in records)),
        accepted=checkpoint.accepted + len(records) - len(rejects),
        rejected=checkpoint.rejected + len(rejects),
    )
    return CatalogueDecision(after, metadata, rejects)


def _entry(record: SourceRecord) -> CatalogueItem | Tombstone | Rejection:
    if isinstance(record.value, UnreadableBatch):
        return unreadable(record.value)
    entry = decode_catalogue(record.key, record.value)
    if isinstance(entry, CatalogueItem) and record.key != entry.item_id.encode():
        return Rejection(
            Reason.KEY_MISMATCH, f"key {record.key!r:.80} is not item_id {entry.item_id!r}; set the record's key"
        )
    return entry

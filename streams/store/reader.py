"""Reading what the workers wrote: for the push worker, the commands and the demo. Never writes."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.catalogue import CatalogueItem, decode_stored
from streams.core.checkpoint import Checkpoint, decode_checkpoint
from streams.core.hashing import id_hash, item_partition, user_partition
from streams.core.item_state import ItemState, decode_item, decode_name
from streams.core.user_state import UserState, decode_user
from streams.store.keys import Keyspace, Shard
from streams.store.protocol import Store

TRENDING_KEPT = 200
SIMILAR_KEPT = 50


class Reader:
    """State and views of one generation, by id. Raises StoreUnavailableError like the store it reads."""

    def __init__(self, store: Store, keys: Keyspace) -> None:
        self.store = store
        self.keys = keys

    def user_shard(self, user_id: str) -> Shard:
        return self.keys.users(user_partition(user_id.encode(), self.keys.user_partitions))

    def item_shard(self, item_hash: int) -> Shard:
        return self.keys.items(item_partition(item_hash, self.keys.item_partitions))

    def user(self, user_id: str) -> UserState | None:
        """A shopper's state, None if nothing is known of them."""
        (data,) = self.store.read([self.user_shard(user_id).user(user_id)])
        return None if data is None else decode_user(data)

    def item(self, item_id: str) -> ItemState | None:
        """An item's counts and neighbour table, None if it was never seen."""
        item = id_hash(item_id)
        (data,) = self.store.read([self.item_shard(item).item(item)])
        return None if data is None else decode_item(data)

    def names(self, hashes: Sequence[int]) -> dict[int, str]:
        """Ids of items by hash; an item that was never seen under its own name is left out."""
        keys = [self.item_shard(item).item(item) for item in hashes]
        found = self.store.read(keys)
        named = ((item, decode_name(data)) for item, data in zip(hashes, found, strict=True) if data)
        return {item: name for item, name in named if name}

    def similar(self, item_ids: Sequence[str], count: int = SIMILAR_KEPT) -> dict[str, list[tuple[str, float]]]:
        """Per item its most similar ones and their similarity in (0, 1], highest first; [] for an unknown item."""
        keys = [self.item_shard(id_hash(item)).similar(item) for item in item_ids]
        return dict(zip(item_ids, self.store.rankings(keys, count), strict=True))

    def trending(self, count: int) -> list[str]:
        """The items with the largest recent degree over all shards, highest first."""
        shards = [self.keys.items(p).trending for p in range(self.keys.item_partitions)]
        merged = [pair for ranking in self.store.rankings(shards, count) for pair in ranking]
        return [item for item, _ in sorted(merged, key=lambda pair: (-pair[1], pair[0]))[:count]]

    def catalogue(self, item_ids: Sequence[str]) -> dict[str, CatalogueItem]:
        """Metadata of the items that have some."""
        n = self.keys.catalogue_partitions
        found = self.store.read([self.keys.catalogue(user_partition(i.encode(), n)).meta(i) for i in item_ids])
        return {item: decode_stored(data) for item, data in zip(item_ids, found, strict=True) if data}

    def titles(self, item_ids: Sequence[str]) -> dict[str, str]:
        """What to call items: their catalogue titles, their ids where there is none."""
        known = self.catalogue(item_ids)
        return {item: known[item].title if item in known else item for item in item_ids}

    def checkpoints(self, shards: Sequence[Shard]) -> list[Checkpoint | None]:
        """The checkpoints of some shards, None where there is none."""
        found = self.store.read([shard.checkpoint for shard in shards])
        return [None if data is None else decode_checkpoint(data) for data in found]

"""The products of the demo's data as catalogue.v1 records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schemas.catalogue import CatalogueItem, encode_catalogue
from streams import kafka_clients
from streams.settings import Settings
from streams.topics import CATALOGUE, full_name
from workers.replay import target
from workers.replay.completejourney import levels, table


def completejourney_catalogue() -> Iterator[CatalogueItem]:
    """All 92,331 products. Title: the most specific name there is, size, and whether it is the shop's own brand.

    Raises FileError when the package is not installed.
    """
    products = table("products")
    columns = ("product_id", "department", "product_category", "product_type", "package_size", "brand")
    for item, department, category, kind, size, brand in zip(
        *(products[name].tolist() for name in columns), strict=True
    ):
        names = [name for name in (kind, category, department) if isinstance(name, str) and name.strip()]
        yield CatalogueItem(
            item_id=str(item),
            title=title_of(names[0] if names else f"product {item}", size, brand),
            category=levels(department, category, kind) or None,
        )


def title_of(name: str, size: object, brand: object) -> str:
    """A product's title.

    >>> title_of("TRAY PACK/CHOC CHIP COOKIES", "14 OZ", "Private"), title_of("ROSES", float("nan"), "National")
    ('TRAY PACK/CHOC CHIP COOKIES, 14 OZ (Private)', 'ROSES')
    """
    sized = f"{name.strip()}, {size.strip()}" if isinstance(size, str) and size.strip() else name.strip()
    return f"{sized} (Private)" if brand == "Private" else sized


def publish(items: Iterable[CatalogueItem], settings: Settings) -> int:
    """Sends items to catalogue.v1 keyed by item and returns how many were acknowledged.

    Raises TopicError when the topic is not as the settings say, SendError when a record is not acknowledged.
    """
    producer = kafka_clients.producer(settings)
    target.check_topic(producer, settings, CATALOGUE)
    sink = target.KafkaSink(producer, full_name(settings.namespace, CATALOGUE))
    count = 0
    for count, item in enumerate(items, start=1):
        sink.put(item.item_id.encode(), encode_catalogue(item))
        if count % target.FLUSH_EVERY == 0:
            sink.flush()
    sink.flush()
    return count

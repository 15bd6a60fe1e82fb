"""What the toy shop's tools do and refuse."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from connectors.shop.orders import stocked
from connectors.shop.shop import BY_SLUG, Shop, ToolError

TODAY = date(2026, 11, 23)


@pytest.fixture
def shop() -> Shop:
    return Shop(TODAY)


def do(shop: Shop, tool: str, **arguments: Any) -> dict[str, Any]:
    return shop.execute(BY_SLUG[tool], arguments, user_id="cust-1")


def test_the_stock_has_orders_in_every_state_and_moves_with_the_day() -> None:
    orders = stocked(TODAY).values()
    delivered = [order.age_days(TODAY) for order in orders if order.status == "delivered"]
    assert {order.status for order in orders} == {"unfulfilled", "in_transit", "delivered", "returned", "cancelled"}
    assert len(orders) == 30
    assert min(delivered) < 30 < max(delivered)
    later = stocked(TODAY + timedelta(days=9))
    assert [order.age_days(TODAY + timedelta(days=9)) for order in later.values() if order.status == "delivered"] == delivered
    assert all(email.endswith("@example.com") for email in {order.email for order in orders})


@pytest.mark.parametrize("written", ["1002", "#1002", " #1002 ", "ORD-1002"])
def test_an_order_is_found_however_its_number_is_written(shop: Shop, written: str) -> None:
    assert do(shop, "SHOPIFY_GET_ORDER", order_id=written)["order_id"] == "1002"


def test_a_return_is_made_once_and_repeated_by_its_key(shop: Shop) -> None:
    made = do(shop, "SHOPIFY_CREATE_RETURN", order_id="1003", idempotency_key="k1")
    assert do(shop, "SHOPIFY_CREATE_RETURN", order_id="1003", idempotency_key="k1") == made
    assert do(shop, "SHOPIFY_GET_ORDER", order_id="1003")["returned"] is True
    with pytest.raises(ToolError, match="already been returned"):
        do(shop, "SHOPIFY_CREATE_RETURN", order_id="1003", idempotency_key="k2")
    assert do(shop, "SHOPIFY_GENERATE_RETURN_LABEL", return_id=made["return_id"])["label_url"].endswith("RET-1003.pdf")


@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("SHOPIFY_GET_ORDER", {"order_id": "#4711"}, "not found"),
        ("SHOPIFY_GET_ORDER", {}, "fields are missing"),
        ("SHOPIFY_GET_ORDER", {"order_id": 1003}, "valid string"),
        ("SHOPIFY_GET_ORDER", {"order_id": "1003", "colour": "red"}, "Unknown field"),
        ("SHOPIFY_CREATE_RETURN", {"order_id": "1001"}, "only a delivered order"),
        ("SHOPIFY_CREATE_RETURN", {"order_id": "1005"}, "store_credit"),
        ("SHOPIFY_CREATE_RETURN", {"order_id": "1003", "resolution": "gold"}, "one of"),
        ("SHOPIFY_GENERATE_RETURN_LABEL", {"return_id": "RET-1"}, "create the return first"),
        ("GMAIL_SEND_EMAIL", {"recipient_email": "nobody", "subject": "a", "body": "b"}, "no e-mail address"),
    ],
)
def test_a_refusal_says_why_and_is_counted(shop: Shop, tool: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        do(shop, tool, **arguments)
    assert [(action.tool, action.successful) for action in shop.actions] == [(tool, False)]


def test_after_thirty_days_store_credit_is_possible(shop: Shop) -> None:
    assert do(shop, "SHOPIFY_CREATE_RETURN", order_id="1005", resolution="store_credit")["resolution"] == "store_credit"


def test_orders_of_a_customer_come_newest_first(shop: Shop) -> None:
    found = do(shop, "SHOPIFY_LIST_ORDERS", customer_email="Ada.Novak@example.com", limit=2)
    assert found["count"] == 4
    assert [order["placed_at"] for order in found["orders"]] == sorted((o["placed_at"] for o in found["orders"]), reverse=True)

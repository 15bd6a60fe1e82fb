"""What the toy shop sold: thirty orders in every state an end customer writes about, dated relative to a given day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

RETURN_WINDOW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Item:
    title: str
    quantity: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """One order. `status` is unfulfilled, in_transit, delivered, returned or cancelled."""

    order_id: str
    status: str
    customer: str
    email: str
    placed: date
    items: tuple[Item, ...]
    shipped: date | None = None
    delivered: date | None = None
    expected: date | None = None
    carrier: str | None = None
    tracking_number: str | None = None
    return_id: str | None = None
    currency: str = "EUR"

    @property
    def total(self) -> Decimal:
        return sum((item.price * item.quantity for item in self.items), Decimal(0))

    def age_days(self, today: date) -> int:
        """Days since delivery; since it was placed when it has not been delivered."""
        return (today - (self.delivered or self.placed)).days

    def as_json(self, today: date) -> dict[str, Any]:
        """The order as `get_order` shows it."""
        return {
            "order_id": self.order_id,
            "order_number": f"#{self.order_id}",
            "status": self.status,
            "placed_at": self.placed.isoformat(),
            "shipped_at": _iso(self.shipped),
            "delivered_at": _iso(self.delivered),
            "estimated_delivery": _iso(self.expected),
            "age_days": self.age_days(today),
            "returned": self.status == "returned",
            "return_id": self.return_id,
            "carrier": self.carrier,
            "tracking_number": self.tracking_number,
            "items": [{"title": item.title, "quantity": item.quantity, "price": str(item.price)} for item in self.items],
            "total": str(self.total),
            "currency": self.currency,
            "customer_name": self.customer,
            "customer_email": self.email,
        }


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


_CUSTOMERS = (
    ("Ada Novak", "ada.novak@example.com"),
    ("Bruno Keller", "bruno.keller@example.com"),
    ("Chiara Conti", "chiara.conti@example.com"),
    ("Dmitri Laan", "dmitri.laan@example.com"),
    ("Elif Arslan", "elif.arslan@example.com"),
    ("Femi Okoye", "femi.okoye@example.com"),
    ("Gaëlle Roux", "gaelle.roux@example.com"),
    ("Hugo Prado", "hugo.prado@example.com"),
)
_GOODS = (
    ("Linen shirt, sand", "49.90"),
    ("Trail running shoes", "119.00"),
    ("Ceramic pour-over set", "38.50"),
    ("Wool blanket", "84.00"),
    ("Desk lamp, brass", "67.25"),
    ("Rain jacket", "139.00"),
    ("Notebook, pack of three", "14.40"),
)
_CARRIERS = ("DHL", "DPD", "UPS")
# State, days since placed, shipped, delivered (None: not yet). Numbers follow the order of the lines from #1001 on.
_HISTORY: tuple[tuple[str, int, int | None, int | None], ...] = (
    ("unfulfilled", 1, None, None),
    ("in_transit", 4, 2, None),
    ("delivered", 9, 7, 5),
    ("delivered", 14, 12, 10),
    ("delivered", 52, 50, 47),
    ("returned", 25, 23, 20),
    ("cancelled", 6, None, None),
    ("in_transit", 6, 4, None),
    ("unfulfilled", 0, None, None),
    ("delivered", 6, 4, 2),
    ("delivered", 40, 38, 35),
    ("returned", 60, 58, 54),
    ("in_transit", 12, 10, None),
    ("delivered", 21, 19, 17),
    ("delivered", 33, 30, 28),
    ("delivered", 35, 33, 31),
    ("cancelled", 20, None, None),
    ("unfulfilled", 3, None, None),
    ("in_transit", 2, 1, None),
    ("delivered", 4, 3, 1),
    ("delivered", 120, 118, 114),
    ("returned", 15, 13, 11),
    ("delivered", 11, 9, 8),
    ("in_transit", 9, 7, None),
    ("delivered", 28, 26, 24),
    ("delivered", 90, 87, 85),
    ("unfulfilled", 2, None, None),
    ("delivered", 16, 14, 12),
    ("in_transit", 5, 3, None),
    ("delivered", 8, 6, 4),
)


def stocked(today: date) -> dict[str, Order]:
    """Order id → order, as of `today`. The same day gives the same shop."""
    return {order.order_id: order for order in (_order(at, today) for at in range(len(_HISTORY)))}


def _order(at: int, today: date) -> Order:
    status, placed, shipped, delivered = _HISTORY[at]
    name, email = _CUSTOMERS[at % len(_CUSTOMERS)]
    number = 1001 + at
    goods = (at % len(_GOODS), (at * 3 + 1) % len(_GOODS))[: 1 + at % 2]
    order = Order(
        order_id=str(number),
        status=status,
        customer=name,
        email=email,
        placed=today - timedelta(days=placed),
        items=tuple(Item(_GOODS[good][0], 1 + (at + nth) % 2, Decimal(_GOODS[good][1])) for nth, good in enumerate(goods)),
        return_id=f"RET-{number}" if status == "returned" else None,
    )
    if shipped is not None:
        order = replace(
            order,
            shipped=today - timedelta(days=shipped),
            carrier=_CARRIERS[at % len(_CARRIERS)],
            tracking_number=f"TRK{number * 7919:010d}",
            expected=today + timedelta(days=1 + at % 3),
        )
    if delivered is not None:
        order = replace(order, delivered=today - timedelta(days=delivered), expected=None)
    return order

"""The toy shop's state and what its tools do to it. It keeps no clock: the day and the time are given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from connectors.shop.orders import RETURN_WINDOW_DAYS, Order, stocked
from connectors.shop.tools import TOOLS, Tool


class ToolError(Exception):
    """The tool was reached and refused: told to the caller as `successful: false`."""


@dataclass(frozen=True, slots=True)
class Action:
    """One executed tool, as `GET /shop/actions` lists it."""

    number: int
    tool: str
    user_id: str
    arguments: Mapping[str, Any]
    successful: bool
    error: str | None
    read_only: bool


@dataclass(slots=True)
class Shop:
    """Orders, returns, mails and messages in memory; gone with the process."""

    today: date
    orders: dict[str, Order] = field(init=False)
    actions: list[Action] = field(default_factory=list)
    _returns: dict[str, dict[str, Any]] = field(default_factory=dict)
    _by_key: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.orders = stocked(self.today)
        for order in self.orders.values():
            if order.return_id:
                self._returns[order.return_id] = self._receipt(order, order.return_id, "refund")

    def execute(self, tool: Tool, arguments: Mapping[str, Any], *, user_id: str) -> dict[str, Any]:
        """Carry the tool out and note it. Raises ToolError; the refusal is noted too."""
        error: str | None = None
        try:
            _check(tool, arguments)
            return self._handlers()[tool.slug](arguments)
        except ToolError as refused:
            error = str(refused)
            raise
        finally:
            number = len(self.actions) + 1
            self.actions.append(Action(number, tool.slug, user_id, dict(arguments), error is None, error, tool.read_only))

    def _handlers(self) -> dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
        return {
            "SHOPIFY_GET_ORDER": lambda given: self._order(given["order_id"]).as_json(self.today),
            "SHOPIFY_LIST_ORDERS": self._list_orders,
            "SHOPIFY_GET_TRACKING_INFO": self._tracking,
            "SHOPIFY_CREATE_RETURN": self._create_return,
            "SHOPIFY_GENERATE_RETURN_LABEL": self._label,
            "GMAIL_SEND_EMAIL": self._send_email,
            "SLACK_SEND_MESSAGE": self._send_message,
        }

    def _order(self, given: str) -> Order:
        digits = re.sub(r"\D", "", given)
        if (order := self.orders.get(digits)) is None:
            raise ToolError(f"Order {given!r} not found: there is no order with this number.")
        return order

    def _list_orders(self, given: Mapping[str, Any]) -> dict[str, Any]:
        email = given["customer_email"].strip().lower()
        found = [order for order in self.orders.values() if order.email == email]
        found.sort(key=lambda order: (order.placed, order.order_id), reverse=True)
        return {"orders": [order.as_json(self.today) for order in found[: given.get("limit", 10)]], "count": len(found)}

    def _tracking(self, given: Mapping[str, Any]) -> dict[str, Any]:
        order = self._order(given["order_id"])
        days = (("placed", order.placed), ("shipped", order.shipped), ("delivered", order.delivered))
        return {
            "order_id": order.order_id,
            "status": order.status,
            "carrier": order.carrier,
            "tracking_number": order.tracking_number,
            "tracking_url": f"https://tracking.example.com/{order.tracking_number}" if order.tracking_number else None,
            "estimated_delivery": order.expected.isoformat() if order.expected else None,
            "delivered_at": order.delivered.isoformat() if order.delivered else None,
            "events": [{"event": name, "date": day.isoformat()} for name, day in days if day],
        }

    def _create_return(self, given: Mapping[str, Any]) -> dict[str, Any]:
        order = self._order(given["order_id"])
        key = given.get("idempotency_key")
        if key and (made := self._by_key.get(key)):
            return self._returns[made]
        if order.status == "returned":
            raise ToolError(f"Order #{order.order_id} has already been returned (return {order.return_id}).")
        if order.status != "delivered":
            raise ToolError(f"Order #{order.order_id} is {order.status}: only a delivered order can be returned.")
        resolution = given.get("resolution", "refund")
        if resolution == "refund" and order.age_days(self.today) > RETURN_WINDOW_DAYS:
            raise ToolError(
                f"Order #{order.order_id} was delivered {order.age_days(self.today)} days ago: after {RETURN_WINDOW_DAYS} days "
                "only resolution 'store_credit' is possible."
            )
        return_id = f"RET-{order.order_id}"
        self.orders[order.order_id] = replace(order, status="returned", return_id=return_id)
        self._returns[return_id] = self._receipt(order, return_id, resolution)
        if key:
            self._by_key[key] = return_id
        return self._returns[return_id]

    def _receipt(self, order: Order, return_id: str, resolution: str) -> dict[str, Any]:
        return {
            "return_id": return_id,
            "order_id": order.order_id,
            "status": "open",
            "resolution": resolution,
            "amount": str(order.total),
            "currency": order.currency,
            "customer_email": order.email,
        }

    def _label(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return_id = given["return_id"].strip()
        if return_id not in self._returns:
            raise ToolError(f"Return {return_id!r} not found: create the return first.")
        return {"return_id": return_id, "label_url": f"https://labels.example.com/{return_id}.pdf", "carrier": "DHL"}

    def _send_email(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", given["recipient_email"].strip()):
            raise ToolError(f"Invalid To header: {given['recipient_email']!r} is no e-mail address.")
        number = f"{len(self.actions) + 1:012x}"
        return {"id": number, "threadId": number, "labelIds": ["SENT"]}

    def _send_message(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"ok": True, "channel": given["channel"], "ts": f"{len(self.actions) + 1}.000000"}


def _check(tool: Tool, arguments: Mapping[str, Any]) -> None:
    missing = [name for name in tool.required if arguments.get(name) in (None, "")]
    if missing:
        raise ToolError(f"Invalid request data provided\n- Following fields are missing: {set(missing)}")
    types = {"string": str, "integer": int}
    for name, value in arguments.items():
        if (schema := tool.properties.get(name)) is None:
            raise ToolError(f"Invalid request data provided\n- Unknown field {name!r}; this tool takes {sorted(tool.properties)}")
        if not isinstance(value, types[schema["type"]]) or isinstance(value, bool):
            raise ToolError(f"Invalid request data provided\n- Input should be a valid {schema['type']} on parameter `{name}`")
        if "enum" in schema and value not in schema["enum"]:
            raise ToolError(f"Invalid request data provided\n- Input should be one of {schema['enum']} on parameter `{name}`")


BY_SLUG = {tool.slug: tool for tool in TOOLS}

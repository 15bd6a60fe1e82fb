"""Plain sentences from what tools and earlier steps found. It repeats facts; it adds none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.rehearsal.lexicon import bag

_STATES = {
    "unfulfilled": "has been received and is being prepared; it has not been shipped yet",
    "in_transit": "is on its way",
    "shipped": "has been shipped",
    "delivered": "has been delivered",
    "returned": "has been returned",
    "cancelled": "was cancelled",
}
_LESS_TELLING = bag(
    "order_id order_number id ok ts threadid labelids age_days placed_at customer_name customer_email events items"
)
_MOST_FACTS = 6


def about(data: Mapping[str, Any]) -> str:
    """What a tool's result says, as sentences; empty when it says nothing."""
    if isinstance(data.get("orders"), list):
        return _orders(data["orders"])
    if data.get("return_id") and "resolution" in data:
        return _receipt(data)
    if data.get("label_url"):
        return f"The return label is ready: {data['label_url']}."
    if "order_id" in data and isinstance(data.get("status"), str):
        return _order(data)
    if "ok" in data and "channel" in data:
        return f"The team has been told in {data['channel']}."
    if "labelIds" in data:
        return "A confirmation has been sent by e-mail."
    return _facts(data)


def _order(data: Mapping[str, Any]) -> str:
    state = str(data["status"])
    sentences = [f"Order #{str(data['order_id']).lstrip('#')} {_STATES.get(state, 'has the status ' + spoken(state))}."]
    if state in ("in_transit", "shipped") and data.get("carrier"):
        shipped = f" on {data['shipped_at']}" if data.get("shipped_at") else ""
        sentences.append(f"It was handed to {data['carrier']}{shipped}.")
    if state == "delivered" and data.get("delivered_at"):
        sentences[0] = sentences[0].rstrip(".") + f" on {data['delivered_at']}."
    if data.get("tracking_number") and state in ("in_transit", "shipped", "delivered"):
        where = f" ({data['tracking_url']})" if data.get("tracking_url") else ""
        sentences.append(f"The tracking number is {data['tracking_number']}{where}.")
    if data.get("estimated_delivery"):
        sentences.append(f"Delivery is expected on {data['estimated_delivery']}.")
    if data.get("return_id"):
        sentences.append(f"Its return is {data['return_id']}.")
    return " ".join(sentences)


def _orders(orders: Sequence[Any]) -> str:
    known = [order for order in orders if isinstance(order, Mapping) and "order_id" in order]
    if not known:
        return "There are no orders under this e-mail address."
    return " ".join(_order({"status": "known", **order}) for order in known[:3])


def _receipt(data: Mapping[str, Any]) -> str:
    gets = "store credit" if data["resolution"] == "store_credit" else "a refund"
    amount = f" of {data['amount']} {data.get('currency', '')}".rstrip() if data.get("amount") else ""
    return f"Return {data['return_id']} is registered for order #{data.get('order_id', '')}: you get {gets}{amount}."


def _facts(data: Mapping[str, Any]) -> str:
    told = []
    for key, value in data.items():
        if key.lower() in _LESS_TELLING or value in (None, "", [], {}):
            continue
        shown = value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False, default=str)[:200]
        told.append(f"{spoken(key).capitalize()}: {shown}.")
    return " ".join(told[:_MOST_FACTS])


def spoken(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")


def sentence(text: str) -> str:
    """`text` ending as a sentence does."""
    text = text.strip()
    return text if not text or text[-1] in ".!?…。！？:)" else f"{text}."

"""The tools the toy shop offers, as Composio describes tools: slugs, JSON Schemas, tags. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

VERSION = "20261101_00"


@dataclass(frozen=True, slots=True)
class Toolkit:
    slug: str
    name: str
    description: str
    category: str


@dataclass(frozen=True, slots=True)
class Tool:
    """One action. `tags` are Composio's hints: readOnlyHint, idempotentHint, createHint, updateHint, important."""

    toolkit: str
    action: str
    name: str
    description: str
    properties: Mapping[str, Mapping[str, Any]]
    required: Sequence[str]
    data: Mapping[str, Mapping[str, Any]]
    tags: Sequence[str] = field(default_factory=tuple)

    @property
    def slug(self) -> str:
        return f"{self.toolkit}_{self.action}".upper()

    @property
    def read_only(self) -> bool:
        return "readOnlyHint" in self.tags

    def input_parameters(self) -> dict[str, Any]:
        return {
            "title": f"{_camel(self.action)}Request",
            "type": "object",
            "properties": {key: {"title": key.replace("_", " ").title(), **value} for key, value in self.properties.items()},
            "required": list(self.required),
        }

    def output_parameters(self) -> dict[str, Any]:
        return {
            "title": f"{_camel(self.action)}Response",
            "type": "object",
            "properties": {
                "data": {"type": "object", "description": "What the action returned", "properties": dict(self.data)},
                "error": {"type": "string", "nullable": True, "description": "Why it failed, if it failed"},
                "successful": {"type": "boolean", "description": "Whether the action was carried out"},
            },
            "required": ["data", "successful"],
        }


def _camel(action: str) -> str:
    return "".join(word.capitalize() for word in action.split("_"))


TOOLKITS = (
    Toolkit("shopify", "Shopify", "Orders, shipments and returns of an online shop.", "e-commerce"),
    Toolkit("gmail", "Gmail", "Sends e-mail on behalf of the shop.", "communication"),
    Toolkit("slack", "Slack", "Posts messages to the team's channels.", "communication"),
)

_ORDER_ID = {
    "type": "string",
    "description": "Number of the order, with or without a leading '#', for example '#1001'.",
    "examples": ["1001", "#1001"],
}
_ORDER_DATA: dict[str, dict[str, Any]] = {
    "order_id": {"type": "string"},
    "status": {"type": "string", "enum": ["unfulfilled", "in_transit", "delivered", "returned", "cancelled"]},
    "placed_at": {"type": "string", "format": "date"},
    "delivered_at": {"type": "string", "format": "date", "nullable": True},
    "age_days": {"type": "integer", "description": "Days since delivery, or since it was placed if not delivered"},
    "returned": {"type": "boolean"},
    "return_id": {"type": "string", "nullable": True},
    "tracking_number": {"type": "string", "nullable": True},
    "customer_email": {"type": "string"},
    "total": {"type": "string"},
    "currency": {"type": "string"},
    "items": {"type": "array", "items": {"type": "object"}},
}

TOOLS = (
    Tool(
        "shopify",
        "get_order",
        "Get order",
        "Look up one order by its number: state, dates, items, customer, tracking number and whether it was returned.",
        {"order_id": _ORDER_ID},
        ("order_id",),
        _ORDER_DATA,
        ("important", "readOnlyHint", "idempotentHint"),
    ),
    Tool(
        "shopify",
        "list_orders",
        "List orders of a customer",
        "List the orders of one customer, newest first, by the customer's e-mail address.",
        {
            "customer_email": {"type": "string", "description": "E-mail address of the customer."},
            "limit": {"type": "integer", "description": "At most this many orders.", "default": 10, "minimum": 1, "maximum": 50},
        },
        ("customer_email",),
        {"orders": {"type": "array", "items": {"type": "object", "properties": _ORDER_DATA}}},
        ("readOnlyHint", "idempotentHint"),
    ),
    Tool(
        "shopify",
        "get_tracking_info",
        "Get tracking information",
        "Where the parcel of an order is: carrier, tracking number, last event and expected delivery.",
        {"order_id": _ORDER_ID},
        ("order_id",),
        {
            "carrier": {"type": "string", "nullable": True},
            "tracking_number": {"type": "string", "nullable": True},
            "status": {"type": "string"},
            "estimated_delivery": {"type": "string", "format": "date", "nullable": True},
            "events": {"type": "array", "items": {"type": "object"}},
        },
        ("readOnlyHint", "idempotentHint"),
    ),
    Tool(
        "shopify",
        "create_return",
        "Create return",
        "Register the return of a delivered order. Within 30 days of delivery the resolution may be a refund; afterwards "
        "only store credit. An order can be returned once.",
        {
            "order_id": _ORDER_ID,
            "reason": {"type": "string", "description": "Why the customer returns it, in a few words."},
            "resolution": {
                "type": "string",
                "enum": ["refund", "store_credit"],
                "default": "refund",
                "description": "What the customer gets back.",
            },
            "idempotency_key": {
                "type": "string",
                "description": "Optional. A repeat with the same key answers with the return made the first time.",
            },
        },
        ("order_id",),
        {
            "return_id": {"type": "string"},
            "order_id": {"type": "string"},
            "resolution": {"type": "string"},
            "amount": {"type": "string"},
            "currency": {"type": "string"},
        },
        ("important", "createHint"),
    ),
    Tool(
        "shopify",
        "generate_return_label",
        "Generate return label",
        "Make the prepaid shipping label of a registered return. Asking again gives the same label.",
        {"return_id": {"type": "string", "description": "Id of the return, as create_return gave it, for example 'RET-1003'."}},
        ("return_id",),
        {"return_id": {"type": "string"}, "label_url": {"type": "string"}, "carrier": {"type": "string"}},
        ("createHint", "idempotentHint"),
    ),
    Tool(
        "gmail",
        "send_email",
        "Send e-mail",
        "Send one e-mail to one recipient.",
        {
            "recipient_email": {"type": "string", "description": "E-mail address of the recipient."},
            "subject": {"type": "string", "description": "Subject line."},
            "body": {"type": "string", "description": "Text of the e-mail."},
        },
        ("recipient_email", "subject", "body"),
        {"id": {"type": "string"}, "threadId": {"type": "string"}, "labelIds": {"type": "array", "items": {"type": "string"}}},
        ("important", "createHint"),
    ),
    Tool(
        "slack",
        "send_message",
        "Send message",
        "Post a message to a channel of the team.",
        {
            "channel": {
                "type": "string",
                "description": "Name of the channel, for example '#support'.",
                "default": "#support-escalations",
            },
            "text": {"type": "string", "description": "Text of the message."},
        },
        ("channel", "text"),
        {"ok": {"type": "boolean"}, "channel": {"type": "string"}, "ts": {"type": "string"}},
        ("important", "createHint"),
    ),
)

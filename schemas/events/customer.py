"""What customers write and read: the message that comes in, the response that goes out. JSON by default, Avro accepted."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Event, Json, JsonObject, Millis, Personal, PersonalText, Usd

Name = Annotated[str, Field(min_length=1, max_length=256)]


class InboundMessage(BaseModel):
    """One message of an end customer, as any producer may put it on `customer.messages`.

    The same `message_id` in one conversation is answered once. Without one, topic, partition and offset stand in.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    TYPE: ClassVar[str] = "hil.customer.message"

    text: Annotated[PersonalText, Field(max_length=200_000)]
    conversation_id: Name
    message_id: Name | None = None
    customer_id: Annotated[Name, Personal()] | None = None
    customer_email: Annotated[Name, Personal()] | None = None
    workflow: Name | None = None
    """`name` or `name@version`; the configured default without one."""
    context: Annotated[JsonObject, Personal()] = Field(default_factory=dict)


class TraceEntry(BaseModel):
    """What became of one node of the run that made a response."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    node: str
    agent: str
    status: str
    """`executed`, `skipped` or `failed`."""
    duration_ms: Millis = 0
    attempts: int = 0
    cost_usd: Usd = Decimal(0)
    tools: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    preview: Annotated[str, Personal()] = ""
    error: str | None = None


class CustomerResponse(Event):
    """The one answer to one message. A repeat of it has the same `id`: drop what you have seen."""

    TYPE: ClassVar[str] = "hil.customer.response"

    message_id: str
    run_id: str
    status: str
    """`completed`, `failed`, `handed_over` (a person will look) or `refused` (too many messages waiting)."""
    text: PersonalText
    outputs: Annotated[JsonObject, Personal()] = Field(default_factory=dict)
    """Node id → that node's output, for every node that ran."""
    cost_usd: Usd = Decimal(0)
    duration_ms: Millis = 0
    trace: list[TraceEntry] = Field(default_factory=list)
    workflow: str = ""
    """name@version of the definition that answered."""
    error: str | None = None
    metadata: Json = None

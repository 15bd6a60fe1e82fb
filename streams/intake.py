"""Admits: checks each record of `customer.messages`, pins its workflow, and re-keys it by conversation. Stateless."""

from __future__ import annotations

from schemas.codec import Undecodable, decode_inbound
from schemas.events import InboundMessage, MessageReceived
from schemas.ids import derive
from streams.definitions import Definitions, UnknownWorkflow, Workflow
from streams.origin import first_place
from streams.runtime import Record, Step
from streams.wire import outgoing


class Intake:
    def __init__(self, definitions: Definitions, *, default_workflow: str) -> None:
        self._definitions = definitions
        self._default_workflow = default_workflow

    async def handle(self, record: Record, step: Step[None]) -> None:
        message = decode_inbound(record.value, record.headers)
        try:
            workflow = self._definitions.resolve(message.workflow or self._default_workflow)
        except UnknownWorkflow as error:
            raise Undecodable("unknown_workflow", str(error)) from error
        step.publish(outgoing(admit(record, message, workflow)))


def admit(record: Record, message: InboundMessage, workflow: Workflow) -> MessageReceived:
    """The event of an admitted message. Its id comes from the producer's message id, else from where the record first lay."""
    topic, partition, offset = first_place(record.headers, (record.topic, record.partition, record.offset))
    origin = f"{topic}-{partition}-{offset}"
    message_id = message.message_id or origin
    return MessageReceived(
        id=derive(message.conversation_id, message_id),
        time_ms=max(0, record.timestamp_ms),
        conversation_id=message.conversation_id,
        message_id=message_id,
        text=message.text,
        workflow=workflow.published.name,
        version=workflow.published.version,
        digest=workflow.published.digest,
        customer_id=message.customer_id,
        customer_email=message.customer_email,
        context=message.context,
        origin=origin,
        ordinal_base=max(0, record.timestamp_ms),
    )

"""Admits: checks each record of `customer.messages`, pins its workflow, stamps the time, and re-keys it. Stateless.

A record's time is what its producer claims. It is kept for reports; what is decided by goes by the time of admission.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from schemas.bounds import END_OF_TIME_MS
from schemas.codec import Undecodable, decode_inbound
from schemas.events import InboundMessage, MessageReceived
from schemas.ids import derive
from streams.core.bounds import MESSAGE_BYTES, RULES, message_bytes
from streams.definitions import Definitions, UnknownWorkflow, Workflow
from streams.origin import first_place
from streams.runtime import Record, Step
from streams.wire import outgoing

SHOWN = 5
"""Names told in a reason."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Which workflows messages may ask for."""

    default: str
    """`name` or `name@version`, for messages that name none."""
    named: Collection[str] | None = None
    """Names of the others that a message may name; None: any that is published."""

    def resolve(self, definitions: Definitions, asked: str | None) -> Workflow:
        """The version a message is answered by. Raises Undecodable."""
        spec = asked or self.default
        try:
            workflow = definitions.resolve(spec)
        except UnknownWorkflow as error:
            raise Undecodable("unknown_workflow", str(error)) from error
        published = workflow.published
        if asked is None:
            return workflow
        if self.named is not None and asked != self.default and published.name not in self.named:
            allowed = ", ".join(sorted({self.default, *self.named}))
            raise Undecodable(
                "workflow_not_allowed",
                f"messages may ask for {allowed} here, and this one asks for {spec}. Leave `workflow` out, or let "
                "HIL_MESSAGE_WORKFLOWS of the intake name it.",
            )
        if published.deprecated:
            raise Undecodable("deprecated_workflow", _instead(definitions, published.name, spec))
        return workflow


class Intake:
    def __init__(self, definitions: Definitions, admission: Admission, *, clock_ms: Callable[[], int]) -> None:
        self._definitions = definitions
        self._admission = admission
        self._clock_ms = clock_ms

    async def handle(self, record: Record, step: Step[None]) -> None:
        message = decode_inbound(record.value, record.headers)
        workflow = self._admission.resolve(self._definitions, message.workflow)
        check(message, workflow)
        step.publish(outgoing(admit(record, message, workflow, at_ms=self._clock_ms())))


def check(message: InboundMessage, workflow: Workflow) -> None:
    """Raises Undecodable for what the workflow could take for something else, or what is too large to be passed on."""
    names = workflow.graph.names
    if not names.isdisjoint(message.context):
        taken = sorted(names.intersection(message.context))
        shown = ", ".join(f"`{name[:100]}`" for name in taken[:SHOWN]) + (" and more" if len(taken) > SHOWN else "")
        raise Undecodable(
            "reserved_name",
            f"in {workflow.graph.label} {shown} {'is' if len(taken) == 1 else 'are'} no name for the context: nodes and words of "
            "the dialect are called so. Call it something else.",
        )
    size = message_bytes(message.text, message.context, {})
    if size > MESSAGE_BYTES:
        raise Undecodable(
            "too_large",
            f"text and context have {size:,} bytes when they are written out, and {MESSAGE_BYTES:,} are accepted. "
            "Send a shorter message, or a link to the rest.",
        )


def admit(record: Record, message: InboundMessage, workflow: Workflow, *, at_ms: int) -> MessageReceived:
    """The event of an admitted message. Its id comes from the producer's message id, else from where the record first lay.

    The same record gives the same id again, at another time; who reads it knows it by its id.
    """
    topic, partition, offset = first_place(record.headers, (record.topic, record.partition, record.offset))
    origin = f"{topic}-{partition}-{offset}"
    message_id = message.message_id or origin
    return MessageReceived(
        id=derive(message.conversation_id, message_id),
        time_ms=at_ms,
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
        ordinal_base=at_ms,
        produced_ms=min(max(record.timestamp_ms, 0), END_OF_TIME_MS),
        rules=RULES,
    )


def _instead(definitions: Definitions, name: str, spec: str) -> str:
    try:
        newest = definitions.resolve(name).graph.label
    except UnknownWorkflow:
        return f"{spec} is deprecated, and so is every version of {name}: publish one, or ask for another workflow."
    return f"{spec} is deprecated: ask for {newest}, or for {name}, which means the newest version."

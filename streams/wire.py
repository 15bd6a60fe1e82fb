"""Events on the wire: which topic carries an event, what its record looks like, and what a processor will read."""

from __future__ import annotations

from typing import TypeVar

from schemas.base import Event
from schemas.codec import Undecodable, decode, encode
from schemas.events import NodeTask
from schemas.topics import TASK_TOPICS, TOPICS
from streams.runtime import Outgoing, Record

TOPIC_OF: dict[type, str] = {kind: topic.name for topic in TOPICS.values() for kind in topic.carries}

E = TypeVar("E", bound=Event)


def outgoing(event: Event) -> Outgoing:
    """The record of an event. A task goes to the workers of its agent's type; every other event has one topic."""
    topic = TASK_TOPICS[event.agent_type] if isinstance(event, NodeTask) else TOPIC_OF[type(event)]
    value, headers = encode(event)
    return Outgoing(topic, event.key.encode(), value, headers)


def incoming(record: Record, *kinds: type[E]) -> E:
    """The event of a record, one of `kinds`. Raises Undecodable, also for an event that does not belong on this topic."""
    event = decode(record.value, record.headers)
    if not isinstance(event, kinds):
        expected = ", ".join(kind.TYPE for kind in kinds)
        raise Undecodable("unknown_event_type", f"{event.TYPE} does not belong on {record.topic}, which carries {expected}")
    return event

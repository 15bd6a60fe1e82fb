"""Events on their way out: which topic carries an event, and what its record looks like."""

from __future__ import annotations

from schemas.base import Event
from schemas.codec import encode
from schemas.events import NodeTask
from schemas.topics import TASK_TOPICS, TOPICS
from streams.runtime import Outgoing

TOPIC_OF: dict[type, str] = {kind: topic.name for topic in TOPICS.values() for kind in topic.carries}


def outgoing(event: Event) -> Outgoing:
    """The record of an event. A task goes to the workers of its agent's type; every other event has one topic."""
    topic = TASK_TOPICS[event.agent_type] if isinstance(event, NodeTask) else TOPIC_OF[type(event)]
    value, headers = encode(event)
    return Outgoing(topic, event.key.encode(), value, headers)

"""Whose a conversation is: the first customer's who is named in it. Pure.

It is about history, which workflows show to models: what one customer wrote must not be told to another who knows, or guesses,
the conversation's id. A message that names nobody is refused as well where there is an owner, or leaving the name out would do.
"""

from __future__ import annotations

import msgspec

from schemas.events import MessageReceived, RerunRequested
from streams.core.state import NOBODY
from streams.core.turn import Turn


class Refusal(msgspec.Struct, frozen=True):
    """The event is not one that may happen to this conversation: a dead letter, which changes nothing."""

    code: str
    """One of schemas.codec.CODES."""
    reason: str


def claim(turn: Turn, event: MessageReceived | RerunRequested, *, new: bool) -> Refusal | None:
    """Make the conversation the sender's, if it is nobody's yet. Why it may not be written to, if it is another's.

    What follows the rules of before there were owners is not asked, and claims nothing.
    """
    owner = turn.conversation.owner
    if not event.rules or owner == NOBODY:
        return None
    if owner is None:
        graph = turn.definitions.get(event.digest)
        if new and graph is not None and graph.shared:
            turn.update(owner=NOBODY)
        elif event.customer_id is not None:
            turn.update(owner=event.customer_id)
        return None
    if owner == event.customer_id:
        return None
    says = "names another" if event.customer_id is not None else "names none"
    return Refusal(
        "other_customer",
        f"the conversation belongs to the customer id that it was first told, and this message {says}. Send it with that "
        "customer_id, begin another conversation, or let its workflow say `conversations: shared`",
    )

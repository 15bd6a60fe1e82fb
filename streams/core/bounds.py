"""How large the parts of a conversation may be, so that whatever is put together of them can be written. Pure.

Sizes are those of a value's JSON or MessagePack, whichever is longer. With these bounds the largest records come to, in bytes:

    record                  what is in it                                                                      at most
    conversation state      the message answered, those that wait, outputs and errors           1,000,000 +  3 × 1 MiB + rest
    a node's task           the message's text three times, its context, outputs                3,000,000 +  2 × 1 MiB + rest
    a customer's response   outputs and errors twice, their words quoted once more                           6 × 1 MiB + rest
    a request to run again  the message, the old outputs                                        1,000,000 +  2 × 1 MiB + rest

The rest is ids, names, and what is cut to a length of its own. What topics accept (schemas.topics.MAX_MESSAGE_BYTES) is 8 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from schemas.events import MessageReceived, RerunRequested

RULES = 1
"""What is admitted today says that it follows these rules (schemas.events.MessageReceived.rules)."""
MESSAGE_BYTES = 1_000_000
"""Of the text, the context and the input of a message together."""
QUEUE_BYTES = 1_048_576
"""Of all messages of a conversation that wait. Not less than one message."""
OUTPUTS_BYTES = 2 * 1_048_576
"""Of the outputs and errors of all nodes of a run."""
ERROR_CHARACTERS = 2_000
"""Of a node's error; the rest is cut off."""
SHORT_ERROR_CHARACTERS = 200
"""The same, when the run's outputs and errors have used up what they may have."""
SMALL_BYTES = 1_024
"""Smaller values are taken to be as long as their JSON: they do not matter, and there are many of them."""

_JSON, _MSGPACK = msgspec.json.Encoder(), msgspec.msgpack.Encoder()


def size_of(value: Any) -> int:
    """Bytes of a JSON value, as it is written in events and in the state. Null takes none."""
    if value is None:
        return 0
    written = len(_JSON.encode(value))
    if written < SMALL_BYTES:
        return written
    try:
        return max(written, len(_MSGPACK.encode(value)))
    except OverflowError:  # an integer beyond 64 bits, which the state keeps as something shorter
        return written


def message_bytes(text: str, context: Mapping[str, Any], input: Mapping[str, Any]) -> int:
    """Bytes of what a message brings along."""
    return size_of(text) + (size_of(context) if context else 0) + (size_of(input) if input else 0)


def waiting_bytes(event: MessageReceived | RerunRequested) -> int:
    """Bytes of a message that is to wait, with the outputs it takes over if it is run again."""
    own = message_bytes(event.text, event.context, event.input)
    if isinstance(event, RerunRequested):
        own += sum(size_of(node.output) + size_of(node.error) + size_of(node.reason) for node in event.nodes)
    return own


def shortened(error: str, others: Iterable[int]) -> tuple[str, int]:
    """A node's error as it is kept, and its bytes beside those of the run's other nodes."""
    if len(error) > ERROR_CHARACTERS:
        error = f"{error[: ERROR_CHARACTERS - 1]}…"
    size = size_of(error)
    if len(error) > SHORT_ERROR_CHARACTERS and size > OUTPUTS_BYTES - sum(others):
        error = f"{error[: SHORT_ERROR_CHARACTERS - 1]}…"
        size = size_of(error)
    return error, size


def too_large(node_bytes: int, others: Iterable[int]) -> str | None:
    """Why a node's output does not fit beside those of its run; None when it does."""
    left = OUTPUTS_BYTES - sum(others)
    if node_bytes <= left:
        return None
    return (
        f"its output has {node_bytes:,} bytes, and the outputs of one run may have {OUTPUTS_BYTES:,} together, of which "
        f"{max(0, left):,} are left: have it answer less, or keep the rest elsewhere and answer with a link"
    )

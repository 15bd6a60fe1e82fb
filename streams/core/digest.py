"""A short digest of what a run had come to when it ended, so that a replay can compare states and not only outputs. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from streams.core.state import Conversation, Run

VERSION = "1"
"""Names the fields below, and stands before the digest. State may grow without changing what version 1 covers; a field that
ought to be covered begins version 2, and the replay then tells the two apart."""
_HEX_DIGITS = 16
_ENCODER = msgspec.json.Encoder()  # not msgpack: outputs may hold integers beyond 64 bits


def state_digest(conversation: Conversation, run: Run) -> str:
    """`version:hex` over the conversation and its run at the moment the run ended, before the next one begins."""
    covered: tuple[Any, ...] = (
        conversation.epoch,
        conversation.ordinal,
        conversation.seen,
        [message.event_id for message in conversation.queue],
        run.run_id,
        run.message.event_id,
        run.ordinal,
        run.started_ms,
        [
            (
                name,
                node.phase,
                node.attempt,
                node.output,
                node.error,
                node.handled,
                node.parked,
                node.cost_micro_usd,
                node.duration_ms,
                node.models,
                node.tools,
            )
            for name, node in run.nodes.items()
        ],
        list(run.tokens.items()),
        run.order,
    )
    return f"{VERSION}:{sha256(_ENCODER.encode(covered)).hexdigest()[:_HEX_DIGITS]}"

"""Hears a model while it writes, whatever stands between: `async with aclosing(pieces(model, request)) as heard`."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from agents.ports import ChatModel, ChatPiece, ChatRequest, StreamingModel


def pieces(model: ChatModel, request: ChatRequest) -> AsyncGenerator[ChatPiece, None]:
    """The answer as it comes; from a model that cannot be heard on the way, all of it at once."""
    return model.stream(request) if isinstance(model, StreamingModel) else _whole(model, request)


async def _whole(model: ChatModel, request: ChatRequest) -> AsyncGenerator[ChatPiece, None]:
    reply = await model.complete(request)
    if reply.text:
        yield ChatPiece(reply.text)
    yield ChatPiece(reply=reply)

"""A request on its way through the models that were chosen for it: one is asked after the other until one has answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.errors import NodeFailure, attempts_of, note_attempts
from agents.ports import ChatPiece, ChatReply, ChatRequest, ModelAttempt
from agents.router.course import Course
from agents.router.request import CallContext
from agents.router.streaming import StreamedTry
from agents.router.trying import Outcome

if TYPE_CHECKING:
    from agents.router.router import Router


@dataclass(frozen=True, slots=True)
class Bound:
    """agents.ports.StreamingModel for the calls of one attempt of one node."""

    _router: Router
    _context: CallContext

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises Retryable or Fatal; both carry the tries that were made."""
        course = Course(request)
        try:
            return await self._along(course)
        except NodeFailure as failure:
            failure.attempts = tuple(course.attempts)
            raise
        except asyncio.CancelledError as cancelled:
            note_attempts(cancelled, (*course.attempts, *attempts_of(cancelled)))
            raise

    async def _along(self, course: Course) -> ChatReply:
        router, request = self._router, course.request
        decision = router.decide(request, self._context)
        for choice in course.through(decision):
            provider = router.providers[choice.model.provider]
            outcome = await router.tries.once(choice, decision, provider, request, first=not course.attempts)
            course.came_of(choice, outcome)
            if outcome.reply is not None:
                router.learn(choice, outcome, request, self._context)
                return _reply(outcome, course.attempts)
        raise course.end(decision, router.health, router.clock())

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatPiece, None]:
        """The next model is asked only as long as nothing was read. Raises as `complete`."""
        course = Course(request)
        try:
            async with aclosing(self._streamed(course)) as pieces:
                async for piece in pieces:
                    yield piece
        except (NodeFailure, asyncio.CancelledError) as ended:
            note_attempts(ended, tuple(course.attempts))
            raise

    async def _streamed(self, course: Course) -> AsyncGenerator[ChatPiece, None]:
        router, request = self._router, course.request
        decision = router.decide(request, self._context, streaming=True)
        for choice in course.through(decision):
            begun = await router.tries.begin(choice, decision, request, first=not course.attempts)
            if isinstance(begun, Outcome):
                course.came_of(choice, begun)
                continue
            tried = StreamedTry(begun, router.providers[choice.model.provider])
            try:
                async with aclosing(tried.pieces()) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                if tried.cut_off is not None:
                    course.tried(tried.cut_off)
            assert tried.outcome is not None
            course.came_of(choice, tried.outcome, read=bool(tried.heard))
            if tried.outcome.reply is not None:
                router.learn(choice, tried.outcome, request, self._context)
                yield ChatPiece(reply=_reply(tried.outcome, course.attempts))
                return
        raise course.end(decision, router.health, router.clock())


def _reply(outcome: Outcome, attempts: Sequence[ModelAttempt]) -> ChatReply:
    reply, attempt, usage = outcome.reply, outcome.attempt, outcome.usage
    assert reply is not None
    assert attempt is not None
    return ChatReply(
        text=reply.text,
        tool_calls=reply.tool_calls,
        provider=attempt.provider,
        model=attempt.model,
        input_text_tokens=usage.input_text_tokens,
        output_text_tokens=usage.output_text_tokens,
        cached_text_tokens=usage.cached_text_tokens,
        cost_micro_usd=attempt.cost_micro_usd,
        latency_ms=reply.latency_ms,
        finish_reason=reply.finish_reason,
        cache_write_text_tokens=usage.cache_write_text_tokens,
        reasoning_text_tokens=usage.reasoning_text_tokens,
        first_token_ms=reply.first_token_ms,
        attempts=tuple(attempts),
    )

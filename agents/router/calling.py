"""A request on its way through the models that were chosen for it: one is asked after the other until one has answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.errors import NodeFailure, Retryable, attempts_of, note_attempts
from agents.ports import ChatPiece, ChatReply, ChatRequest, ModelAttempt
from agents.router.budget import OverBudget
from agents.router.course import Course
from agents.router.request import CallContext
from agents.router.streaming import StreamedTry
from agents.router.trying import Outcome

if TYPE_CHECKING:
    from agents.router.router import Router

SHORTEST_WAIT_S = 0.2
HELD_WAIT_S = 1.0
"""For what other calls have reserved of a budget."""
SPREAD = 1.2


@dataclass(frozen=True, slots=True)
class Bound:
    """agents.ports.StreamingModel for the calls of one attempt of one node."""

    _router: Router
    _context: CallContext
    _began_s: float

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises Retryable or Fatal; both carry the tries that were made.

        Where nobody may be asked just now, it waits, as long as the context has patience: to have been refused without being
        asked is no failed attempt.
        """
        course = Course(request)
        try:
            while True:
                try:
                    return await self._along(course)
                except NodeFailure as failure:
                    wait_s = self._worth_waiting(failure)
                    if wait_s is None:
                        raise
                await self._router.sleep(wait_s)
                course = Course(request, attempts=[each for each in course.attempts if each.provider])
        except NodeFailure as failure:
            failure.attempts = tuple(course.attempts)
            raise
        except asyncio.CancelledError as cancelled:
            note_attempts(cancelled, (*course.attempts, *attempts_of(cancelled)))
            raise

    def _worth_waiting(self, failure: NodeFailure) -> float | None:
        """Seconds after which somebody may be asked, when nobody was and the context's patience lasts until then."""
        if failure.reached:
            return None
        wait_s = HELD_WAIT_S if isinstance(failure, OverBudget) and failure.held else None
        if isinstance(failure, Retryable) and failure.retry_after_seconds is not None:
            wait_s = max(failure.retry_after_seconds, SHORTEST_WAIT_S)
        left_s = self._began_s + self._context.patience_s - self._router.clock()
        # Not all at once: who waits for the same model would flood it.
        return None if wait_s is None or wait_s * SPREAD >= left_s else wait_s * random.uniform(1, SPREAD)  # noqa: S311

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
        attached=reply.attached,
    )

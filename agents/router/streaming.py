"""One streamed try: pieces go to the reader as they come, and however it ends it is settled and written down.

The reader's own time is not the model's: what passes between two pieces while nobody asks for the next counts nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from agents.ports import ChatPiece, ModelAttempt, Usage
from agents.router.ports import Provider, ProviderFailure, ProviderReply
from agents.router.trying import Outcome, Try


@dataclass(slots=True)
class StreamedTry:
    """Hear `pieces` once; then there is an `outcome`, or what was written down when it was cut off."""

    begun: Try
    provider: Provider
    outcome: Outcome | None = None
    cut_off: ModelAttempt | None = None
    heard: list[str] = field(default_factory=list)
    """What has reached the reader."""
    _paid: Usage | None = None
    _reply: ProviderReply | None = None
    _first_token_ms: int | None = None
    _held_s: float = 0.0

    async def pieces(self) -> AsyncGenerator[ChatPiece, None]:
        """Text alone. Ends without raising when the provider has failed."""
        try:
            async with aclosing(self._deltas()) as deltas:
                async for text in deltas:
                    yield ChatPiece(text)
            reply = self._reply
            if reply is None:
                raise TypeError(f"the provider {self.provider.name} has ended a stream without its reply")
            passed = max(0, reply.latency_ms - round(self._held_s * 1000))
            self.outcome = await self.begun.answered(replace(reply, latency_ms=passed))
        except ProviderFailure as failure:
            self.outcome = await self.begun.failed(failure)
        except asyncio.CancelledError:
            self.cut_off = await (self._stopped("cancelled", "given up while it wrote") if self.heard else self.begun.given_up())
            raise
        except GeneratorExit:
            self.cut_off = await self._stopped("stopped", "its reader has heard enough")
            raise
        except BaseException:
            await self.begun.abandoned()
            raise  # a provider with a defect

    async def _deltas(self) -> AsyncGenerator[str, None]:
        """Keeps what is known of the answer up to date, and takes the time the reader takes."""
        clock = self.begun.tries.clock
        async with aclosing(self.provider.stream(self.begun.choice.model, self.begun.request)) as deltas:
            async for delta in deltas:
                self._paid, self._reply = delta.paid or self._paid, delta.reply
                if delta.text:
                    if self._first_token_ms is None:
                        self._first_token_ms = self.begun.since_ms()
                    self.heard.append(delta.text)
                    given = clock()
                    try:
                        yield delta.text
                    finally:
                        self._held_s += clock() - given

    async def _stopped(self, outcome: str, why: str) -> ModelAttempt:
        usage = self._paid or self.begun.usage_of("".join(self.heard))
        latency_ms = max(0, self.begun.since_ms() - round(self._held_s * 1000))
        return await self.begun.stopped(
            outcome, f"{why}; booked for what had come", usage, latency_ms=latency_ms, first_token_ms=self._first_token_ms
        )

"""What a node worker remembers of an execution, and how it becomes durable before anything else happens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from agents.errors import Fatal
from agents.journal import Entry
from schemas.codec.positional import whole
from streams.runtime import Outgoing, StateTooLarge, Step

RESULT_BYTES = 1024 * 1024
"""What must be left for the result of an action before it is begun: nobody could say later what came of it."""

FIRST_FIELDS = 4
"""How many fields an execution had when there were the fewest."""


class Execution(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is remembered of one execution. Entries outlive an attempt, so the next one goes on where it failed."""

    entries: dict[str, Entry] = {}
    finished_attempt: int = 0
    finished_ms: int = 0
    completion: tuple[bytes, tuple[tuple[str, bytes], ...]] | None = None
    """The record that was published, value and headers."""
    spent_micro_usd: int = 0
    """By all attempts that have ended."""
    agent: str = ""
    """Who works on it, when that is another than was asked for: a journal makes sense to none but the agent that wrote it."""


class ExecutionCodec:
    """Execution ⇄ changelog value."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Execution)

    def encode(self, state: Execution) -> bytes:
        return self._encoder.encode(state)

    def decode(self, data: bytes) -> Execution:
        """Raises ValueError, or what msgspec raises, for what was never an execution."""
        return self._decoder.decode(whole(data, FIRST_FIELDS))


class StepJournal:
    """agents.journal.Journal on the partition's state.

    Intents, and results of what may not be repeated, are durable before the agent goes on. Other results become durable beside
    its next step: an agent with a single model call never writes here, its completion says it all.
    """

    def __init__(self, step: Step[Execution], execution_id: str, execution: Execution) -> None:
        self._step = step
        self._execution_id = execution_id
        self._execution = execution
        self._entries = dict(execution.entries)
        self._unsaved = False
        self._saving: list[asyncio.Future[None]] = []
        self.overflow: Fatal | None = None
        """Why no step can be kept any more: the execution ends."""

    def lookup(self, step: str) -> Entry | None:
        if self.overflow is not None:
            raise self.overflow
        if self._unsaved and step not in self._entries:
            self._begin_saving()
        return self._entries.get(step)

    async def intent(self, step: str, detail: Mapping[str, Any]) -> None:
        await self._step.act()
        before = self._entries.get(step)
        self._entries[step] = Entry(intent=detail)
        try:
            await self._save_now(RESULT_BYTES)
        except Fatal:  # nothing was begun
            self._step.acted()
            if before is None:
                del self._entries[step]
            else:
                self._entries[step] = before
            raise

    async def result(self, step: str, value: Mapping[str, Any]) -> None:
        entry = self._entries.get(step) or Entry()
        self._entries[step] = Entry(entry.intent, value)
        if entry.intent is None:
            self._unsaved = True
        else:
            await self._save_now()
            self._step.acted()

    async def noted(self, step: str, value: Mapping[str, Any]) -> None:
        self._entries[step] = Entry(None, value)
        await self._save_now()

    async def settled(self) -> None:
        """Everything asked to be durable is. Raises Fenced even when an agent swallowed it: who lost it publishes nothing.

        What was too large is not, and `overflow` says so.
        """
        for saving in self._saving:
            with suppress(Fatal):
                await saving

    def spent_micro_usd(self, attempt: int) -> tuple[int, int]:
        """By attempts that have ended, and by this one before it was interrupted."""
        calls = (entry.value for entry in self._entries.values() if entry.value is not None and "cost" in entry.value)
        mine = sum(int(call.get("spent", call["cost"])) for call in calls if call.get("attempt") == attempt)
        return self._execution.spent_micro_usd, mine

    def finished(self, attempt: int, at_ms: int, completion: Outgoing, cost_micro_usd: int, *, keep: bool) -> Execution:
        assert completion.value is not None
        kept = self._entries if keep else {step: entry for step, entry in self._entries.items() if entry.intent is not None}
        spent = self._execution.spent_micro_usd + cost_micro_usd
        agent = self._execution.agent if kept else ""
        return Execution(kept, attempt, at_ms, (completion.value, completion.headers), spent, agent)

    def done(self, attempt: int, at_ms: int, completion: Outgoing) -> Execution:
        """As `finished`, when there is no room for the steps. An execution that has ended for good asks for none of them."""
        return replace(self.finished(attempt, at_ms, completion, 0, keep=False), entries={})

    async def _save_now(self, spare: int = 0) -> None:
        await asyncio.shield(self._begin_saving(spare))

    def _begin_saving(self, spare: int = 0) -> asyncio.Future[None]:
        saving = asyncio.ensure_future(self._save(spare))
        saving.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # a handler that was cut off asks no more
        self._saving.append(saving)
        return saving

    async def _save(self, spare: int) -> None:
        self._unsaved = False
        try:
            await self._step.journal(self._execution_id, replace(self._execution, entries=dict(self._entries)), spare=spare)
        except StateTooLarge as error:
            self.overflow = too_large(error)
            raise self.overflow from error


def too_large(error: StateTooLarge) -> Fatal:
    return Fatal(f"its journal is too large, {error}: let it take fewer steps, or ask its tools for less")

"""What an agent remembers: the conversation so far, as of the message it answers, and the knowledge base."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, cast

import asyncpg

from agents.errors import Retryable
from agents.ports import HistoryMessage, Passage
from connectors.embeddings import EmbeddingsError
from connectors.postgres.errors import StorageError
from connectors.postgres.knowledge import KnowledgeStore
from connectors.postgres.pool import Pool
from connectors.postgres.values import clean_text

_HISTORY = """
SELECT ordinal, role, text FROM messages
WHERE conversation_id = $1 AND ordinal < $2 ORDER BY ordinal DESC LIMIT $3
"""
_FIRST_LOOK_SECONDS = 0.01
_SLOWEST_LOOK_SECONDS = 0.2


class PostgresMemory:
    """Implements agents.ports.Memory. `patience_seconds` is how long it waits for the projection to catch up with the log."""

    def __init__(self, pool: Pool, knowledge: KnowledgeStore, *, patience_seconds: float = 3.0) -> None:
        self._pool = pool
        self._knowledge = knowledge
        self._patience_seconds = patience_seconds

    async def history(self, conversation_id: str, *, before: int, limit: int) -> Sequence[HistoryMessage]:
        """Ordinals count 1, 2, 3, … (message, answer, message, …), so what is missing is known without asking the log."""
        wanted = min(limit, before - 1)
        if wanted <= 0:
            return []
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience_seconds
        pause = _FIRST_LOOK_SECONDS
        while True:
            rows = await self._rows(conversation_id, before, wanted)
            # Newest first and without a gap: the newest that should be there is, and as many as there should be.
            if [row["ordinal"] for row in rows] == list(range(before - 1, before - 1 - wanted, -1)):
                return [HistoryMessage(cast(Literal["customer", "agent"], row["role"]), row["text"]) for row in reversed(rows)]
            if loop.time() >= give_up:
                newest = rows[0]["ordinal"] if rows else 0
                raise Retryable(
                    f"the history of conversation {conversation_id} ends at message {newest} in Postgres, "
                    f"and {before - 1} is needed: the projector is more than {self._patience_seconds:g} s behind, "
                    "or is not running",
                    retry_after_seconds=1.0,
                )
            await asyncio.sleep(min(pause, max(0.0, give_up - loop.time())))
            pause = min(pause * 2, _SLOWEST_LOOK_SECONDS)

    async def knowledge(self, query: str, *, top_k: int) -> Sequence[Passage]:
        if not self._knowledge.searches:
            return []  # said once, when the process started
        try:
            found = await self._knowledge.search(query, top_k=top_k)
        except (EmbeddingsError, StorageError) as error:
            raise Retryable(f"the knowledge base cannot be searched: {error}") from error
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Retryable(f"the knowledge base cannot be searched in Postgres: {error}") from error
        return [Passage(hit.title, hit.text, hit.score) for hit in found]

    async def _rows(self, conversation_id: str, before: int, limit: int) -> list[asyncpg.Record]:
        try:
            return await self._pool.fetch(_HISTORY, clean_text(conversation_id), before, limit)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Retryable(f"the history of conversation {conversation_id} cannot be read from Postgres: {error}") from error

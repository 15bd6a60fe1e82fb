"""The knowledge base: documents in, passages out. Documents live here and nowhere else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from connectors.embeddings import Embedder, EmbeddingsError, NoEmbedder
from connectors.postgres.chunks import Chunk, chunks, title_of
from connectors.postgres.errors import StorageError
from connectors.postgres.pool import Connection, Pool
from connectors.postgres.values import clean_text, json_text

MAX_BYTES = 2_000_000
"""Of a document, in UTF-8: a long book."""
MAX_CHUNKS = 5_000
"""Passages of a document: each is embedded, and kept with its vector."""
MAX_NAME = 500
"""Characters of a source or a title."""
MAX_DIMENSIONS = 2000
"""The longest vector that pgvector's HNSW index takes."""
_WRITING = 0x68696C6B  # "hilk": one writer of documents at a time, so that a change of embedder sees all of them
_BATCH = 256
_BINARY = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_QUERY_CHARACTERS = 4_000
"""As long as the longest chunk; more would only blur what is looked for."""


_KNOWN = """
UPDATE knowledge_documents SET metadata = coalesce($2::text::jsonb, metadata) WHERE document_id = $1 RETURNING 1
"""


def search_statement(dimensions: int) -> str:
    """Parameters: the vector as text, the embedder, what the metadata must contain, how many.

    The planner uses the HNSW index of this length.
    """
    distance = f"c.embedding::vector({dimensions}) <=> $1::text::vector({dimensions})"
    return (
        f"SELECT c.document_id, d.source, d.title, c.heading, c.text, 1 - ({distance}) AS score "  # noqa: S608  # an int
        "FROM knowledge_chunks AS c JOIN knowledge_documents AS d USING (document_id) "
        f"WHERE c.dimensions = {dimensions} AND c.embedder = $2 AND d.metadata @> $3::text::jsonb ORDER BY {distance} LIMIT $4"
    )


@dataclass(frozen=True, slots=True)
class Document:
    document_id: str
    source: str
    """Where it came from, a file name for example; adding the same source again replaces it."""
    title: str
    metadata: Mapping[str, Any]
    added_at: datetime
    chunks: int
    embedder: str


@dataclass(frozen=True, slots=True)
class Hit:
    document_id: str
    source: str
    title: str
    """The document's title and the headings above the passage."""
    text: str
    score: float
    """Cosine similarity, -1..1."""


@dataclass(frozen=True, slots=True)
class Added:
    document_id: str
    title: str
    chunks: int
    change: Literal["added", "replaced", "unchanged"]


class KnowledgeStore:
    """Documents, their chunks and vectors. All of one database are embedded by one embedder, the one last used to write."""

    def __init__(self, pool: Pool, embedder: Embedder) -> None:
        self._pool = pool
        self._embedder = embedder
        self._checked = False

    @property
    def searches(self) -> bool:
        """Whether anything can be looked up: not without an embedder."""
        return not isinstance(self._embedder, NoEmbedder)

    async def add(
        self, source: str, content: str, *, title: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Added:
        """Keep a markdown or plain text. The same content twice is one document; other content of the same source replaces it.

        Raises StorageError when there is no text in it or too much, EmbeddingsError when no vectors can be made.
        """
        size = len(content.encode("utf-8", "surrogatepass"))
        if size > MAX_BYTES:
            raise StorageError(f"{source[:MAX_NAME]} has {size:,} bytes, and a document at most {MAX_BYTES:,}: split it")
        if is_binary(content):
            raise StorageError(f"{source[:MAX_NAME]} is no text: give a markdown or text file, not a PDF, image or archive")
        source, content = clean_text(source)[:MAX_NAME], clean_text(content)
        title = (clean_text(title) if title else title_of(content, source))[:MAX_NAME]
        pieces = chunks(content)
        if len(pieces) > MAX_CHUNKS:
            raise StorageError(
                f"{source} has {len(pieces):,} passages, and a document at most {MAX_CHUNKS:,}: split it, or use fewer headings"
            )
        if not pieces:
            raise StorageError(f"{source} has no text to keep: give a markdown or text file with at least one paragraph")
        await self._adopt()
        document_id = hashlib.sha256(f"{title}\0{content}".encode()).hexdigest()[:16]
        about = None if metadata is None else json_text(dict(metadata))
        if await self._pool.fetchval(_KNOWN, document_id, about):
            return Added(document_id, title, len(pieces), "unchanged")
        vectors = await self._vectors(title, pieces)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _WRITING)
            if await connection.fetchval(_KNOWN, document_id, about):  # somebody else has just added the same
                return Added(document_id, title, len(pieces), "unchanged")
            replaced = await connection.fetchval("DELETE FROM knowledge_documents WHERE source = $1 RETURNING 1", source)
            await connection.execute(
                "INSERT INTO knowledge_documents (document_id, source, title, content, metadata) "
                "VALUES ($1, $2, $3, $4, coalesce($5::text::jsonb, '{}'))",
                document_id,
                source,
                title,
                content,
                about,
            )
            await self._insert(connection, document_id, pieces, vectors)
        return Added(document_id, title, len(pieces), "replaced" if replaced else "added")

    async def documents(self) -> list[Document]:
        """Every document, by source."""
        rows = await self._pool.fetch(
            "SELECT d.document_id, d.source, d.title, d.metadata, d.added_at, count(c.position) AS chunks, "
            "coalesce(min(c.embedder), '') AS embedder "
            "FROM knowledge_documents AS d LEFT JOIN knowledge_chunks AS c USING (document_id) "
            "GROUP BY d.document_id ORDER BY d.source"
        )
        return [Document(**{**dict(row), "metadata": json.loads(row["metadata"])}) for row in rows]

    async def remove(self, name: str) -> bool:
        """Forget the document with this id or source; False when there is none."""
        gone = await self._pool.fetch(
            "DELETE FROM knowledge_documents WHERE document_id = $1 OR source = $1 RETURNING document_id", clean_text(name)
        )
        return bool(gone)

    async def search(self, query: str, *, top_k: int = 5, filters: Mapping[str, Any] | None = None) -> Sequence[Hit]:
        """The nearest passages, best first; only of documents whose metadata contains `filters`.

        Raises EmbeddingsError when no vector of the query can be made, StorageError when another embedder has taken over.
        """
        if not query.strip() or top_k <= 0:
            return []
        if not self._checked:
            await self._adopt()
        vector = (await self._embedder.embed([query[:_QUERY_CHARACTERS]]))[0]
        size = _checked_length(vector)
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            # As many candidates as asked for at least, and further ones when the filter drops some.
            await connection.execute(f"SET LOCAL hnsw.ef_search = {max(40, min(1000, top_k * 4))}")
            await connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            rows = await connection.fetch(
                search_statement(size), _written(vector), self._embedder.name, json_text(dict(filters or {})), top_k
            )
            if not rows:
                await self._explain_nothing(connection)
        return [
            Hit(row["document_id"], row["source"], _title(row["title"], row["heading"]), row["text"], float(row["score"]))
            for row in rows
        ]

    async def reembed(self) -> int:
        """Make the vectors again that another embedder made; how many there were."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _WRITING)
            stale = await connection.fetch(
                "SELECT d.document_id, d.title, d.content FROM knowledge_documents AS d WHERE EXISTS ("
                "SELECT 1 FROM knowledge_chunks AS c WHERE c.document_id = d.document_id AND c.embedder <> $1)",
                self._embedder.name,
            )
            remade = 0
            for row in stale:
                pieces = chunks(row["content"])
                vectors = await self._vectors(row["title"], pieces)
                await connection.execute("DELETE FROM knowledge_chunks WHERE document_id = $1", row["document_id"])
                await self._insert(connection, row["document_id"], pieces, vectors)
                remade += len(pieces)
        self._checked = True
        return remade

    async def _adopt(self) -> None:
        """Once a process: let our embedder be the one of this database."""
        if not self.searches:
            raise EmbeddingsError(NoEmbedder.remedy)
        if not self._checked:
            await self.reembed()

    async def _explain_nothing(self, connection: Connection) -> None:
        """An empty answer is right only when there is nothing to find."""
        other = await connection.fetchval(
            "SELECT embedder FROM knowledge_chunks WHERE embedder <> $1 LIMIT 1", self._embedder.name
        )
        if other is not None:
            raise StorageError(
                f"the knowledge base was embedded again with {other}, and this process uses {self._embedder.name}: "
                "restart it with the same HIL_EMBEDDINGS_MODEL"
            )

    async def _vectors(self, title: str, pieces: Sequence[Chunk]) -> list[list[float]]:
        # Title and headings say what the passage is about; they are part of what is looked for.
        texts = [f"{_title(title, piece.heading)}\n{piece.text}" for piece in pieces]
        vectors: list[list[float]] = []
        for start in range(0, len(texts), _BATCH):
            vectors += await self._embedder.embed(texts[start : start + _BATCH])
        return vectors

    async def _insert(
        self, connection: Connection, document_id: str, pieces: Sequence[Chunk], vectors: Sequence[Sequence[float]]
    ) -> None:
        size = _checked_length(vectors[0])
        await connection.execute(
            "INSERT INTO knowledge_chunks (document_id, position, heading, text, embedder, dimensions, embedding) "
            "SELECT $1, position, heading, text, $2, $3, embedding::vector "
            "FROM unnest($4::integer[], $5::text[], $6::text[], $7::text[]) AS c (position, heading, text, embedding)",
            document_id,
            self._embedder.name,
            size,
            list(range(len(pieces))),
            [piece.heading for piece in pieces],
            [piece.text for piece in pieces],
            [_written(vector) for vector in vectors],
        )
        await connection.execute(
            f"CREATE INDEX IF NOT EXISTS knowledge_chunks_hnsw_{size} ON knowledge_chunks "
            f"USING hnsw ((embedding::vector({size})) vector_cosine_ops) WHERE dimensions = {size}"
        )


def is_binary(content: str) -> bool:
    """Control characters that no text has. (Text of strange encodings is refused where it is decoded.)"""
    return _BINARY.search(content) is not None


def _title(title: str, heading: str) -> str:
    """The headings under the title; a document whose first heading is its title does not say it twice."""
    if not heading or heading == title or heading.startswith(f"{title} › "):
        return heading or title
    return f"{title} › {heading}"


def _checked_length(vector: Sequence[float]) -> int:
    if not 0 < len(vector) <= MAX_DIMENSIONS:
        raise StorageError(
            f"the embedder makes vectors of {len(vector)} numbers, and at most {MAX_DIMENSIONS} can be indexed: "
            "set HIL_EMBEDDINGS_DIMENSIONS to a smaller number, such as 1024"
        )
    return len(vector)


def _written(vector: Sequence[float]) -> str:
    """pgvector's text form."""
    return "[" + ",".join(map(repr, vector)) + "]"

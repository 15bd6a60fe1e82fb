"""The knowledge base on a real pgvector: add, replace, list, remove, search, another embedder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from agents.errors import Retryable
from connectors.embeddings import WordLlamaEmbedder
from connectors.postgres.errors import StorageError
from connectors.postgres.knowledge import KnowledgeStore, search_statement
from connectors.postgres.memory import PostgresMemory
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool

pytestmark = pytest.mark.postgres

RETURNS = "# Returns\n\nYou can return shoes within 30 days for a refund.\n\n## Labels\n\nPrint the return label at home."
OPENING = "# Opening hours\n\nOur shop in Berlin opens at nine in the morning."
PAYMENT = "# Payment\n\nWe take credit cards and bank transfers."


class LettersEmbedder:
    """Another embedder: how often each vowel occurs."""

    name = "test/letters"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[1.0, *(float(text.lower().count(letter)) for letter in "aeiou")] for text in texts]


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database)
    await migrate(pool)
    yield pool
    await pool.close()


@pytest.fixture
async def store(pool: Pool) -> KnowledgeStore:
    store = KnowledgeStore(pool, WordLlamaEmbedder())
    for source, content in (("returns.md", RETURNS), ("opening.md", OPENING), ("payment.md", PAYMENT)):
        await store.add(source, content, metadata={"topic": source.removesuffix(".md")})
    return store


async def test_the_passage_about_it_comes_first(store: KnowledgeStore) -> None:
    hits = await store.search("how long do I have to send my shoes back?", top_k=2)
    assert (hits[0].source, hits[0].title) == ("returns.md", "Returns")
    assert "30 days" in hits[0].text
    assert 1 >= hits[0].score >= hits[1].score >= -1


async def test_headings_are_part_of_the_title(store: KnowledgeStore) -> None:
    (hit,) = await store.search("print a return label", top_k=1)
    assert hit.title == "Returns › Labels"


async def test_filters_narrow_the_documents(store: KnowledgeStore) -> None:
    hits = await store.search("return shoes", top_k=5, filters={"topic": "payment"})
    assert {hit.source for hit in hits} == {"payment.md"}
    assert await store.search("return shoes", filters={"topic": "none"}) == []


async def test_the_same_content_twice_is_one_document(store: KnowledgeStore) -> None:
    again = await store.add("returns.md", RETURNS)
    elsewhere = await store.add("copy of returns.md", RETURNS)
    assert (again.change, elsewhere.change) == ("unchanged", "unchanged")
    assert [document.source for document in await store.documents()] == ["opening.md", "payment.md", "returns.md"]


async def test_added_by_several_at_once_it_is_one_document(pool: Pool) -> None:
    stores = [KnowledgeStore(pool, WordLlamaEmbedder()) for _ in range(4)]
    added = await asyncio.gather(*(store.add("returns.md", RETURNS) for store in stores))
    assert sorted(one.change for one in added) == ["added", "unchanged", "unchanged", "unchanged"]
    assert len(await stores[0].documents()) == 1


async def test_other_content_of_the_same_source_replaces_it(store: KnowledgeStore) -> None:
    added = await store.add("returns.md", "# Returns\n\nNo returns at all.")
    assert added.change == "replaced"
    hits = await store.search("return shoes", top_k=10)
    assert [hit.text for hit in hits if hit.source == "returns.md"] == ["No returns at all."]


async def test_documents_say_what_made_their_vectors(store: KnowledgeStore) -> None:
    document = (await store.documents())[-1]
    assert (document.source, document.title, document.chunks) == ("returns.md", "Returns", 2)
    assert document.embedder == WordLlamaEmbedder.name
    assert document.metadata == {"topic": "returns"}


async def test_a_removed_document_is_not_found(store: KnowledgeStore) -> None:
    (opening,) = [document for document in await store.documents() if document.source == "opening.md"]
    assert await store.remove("returns.md")
    assert await store.remove(opening.document_id)
    assert not await store.remove("returns.md")
    assert {hit.source for hit in await store.search("return shoes", top_k=10)} == {"payment.md"}


async def test_nothing_in_and_nothing_out(pool: Pool) -> None:
    store = KnowledgeStore(pool, WordLlamaEmbedder())
    assert await store.search("anything") == []
    assert await store.search("   ") == []
    with pytest.raises(StorageError, match=r"empty.md has no text"):
        await store.add("empty.md", "# Only a heading\n")


@pytest.mark.parametrize("text", ["\0", "\ud800", "q" * 300_000, "'; DROP TABLE knowledge_chunks; --"])
async def test_any_query_is_taken_and_any_document_that_is_text(store: KnowledgeStore, text: str) -> None:
    assert len(await store.search(text, top_k=3)) == 3
    if "\0" in text:
        with pytest.raises(StorageError, match="is no text"):
            await store.add("odd.md", text)
    else:
        assert (await store.add("odd.md", text)).chunks >= 1


async def test_another_embedder_makes_all_vectors_again(pool: Pool, store: KnowledgeStore) -> None:
    other = KnowledgeStore(pool, LettersEmbedder())
    assert len(await other.search("return shoes", top_k=10)) == 4
    assert {document.embedder for document in await other.documents()} == {"test/letters"}
    assert await other.reembed() == 0
    indexes = await pool.fetch("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'knowledge_chunks_hnsw_%' ORDER BY 1")
    assert [row["indexname"] for row in indexes] == ["knowledge_chunks_hnsw_256", "knowledge_chunks_hnsw_6"]


async def test_a_process_with_the_former_embedder_says_so_instead_of_finding_nothing(pool: Pool, store: KnowledgeStore) -> None:
    await KnowledgeStore(pool, LettersEmbedder()).reembed()
    with pytest.raises(StorageError, match="embedded again with test/letters"):
        await store.search("return shoes")
    with pytest.raises(Retryable, match="HIL_EMBEDDINGS_MODEL"):
        await PostgresMemory(pool, store).knowledge("return shoes", top_k=3)


async def test_vectors_too_long_for_the_index_are_refused_in_words(pool: Pool) -> None:
    class Wide:
        name = "test/wide"

        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            return [[1.0] * 3072 for _ in texts]

    with pytest.raises(StorageError, match="HIL_EMBEDDINGS_DIMENSIONS"):
        await KnowledgeStore(pool, Wide()).add("a.md", "text")


async def test_with_many_passages_the_search_uses_the_index(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO knowledge_documents (document_id, source, title, content) VALUES ('d', 's', 't', 'c');"
        "INSERT INTO knowledge_chunks SELECT 'd', n, '', 'text', 'e', 256,"
        " (SELECT array_agg(sin(n * i)) FROM generate_series(1, 256) AS i)::vector FROM generate_series(1, 3000) AS n;"
        "ANALYZE"
    )
    plan = await pool.fetch("EXPLAIN " + search_statement(256), str([1.0] * 256), "e", "{}", 5)
    assert any("knowledge_chunks_hnsw_256" in row[0] for row in plan)


async def test_memory_gives_passages(pool: Pool, store: KnowledgeStore) -> None:
    passages = await PostgresMemory(pool, store).knowledge("credit card", top_k=1)
    assert [(passage.title, "credit cards" in passage.text) for passage in passages] == [("Payment", True)]

"""Texts as vectors, offline and at an endpoint."""

from __future__ import annotations

import json
import math
import sys

import httpx
import openai
import pytest

from connectors.embeddings import (
    WORDLLAMA_DIMENSIONS,
    EmbeddingsError,
    EndpointEmbedder,
    NoEmbedder,
    WordLlamaEmbedder,
    configured_embedder,
    embed,
    in_words,
    load_wordllama,
)
from connectors.postgres.knowledge import KnowledgeStore
from connectors.postgres.memory import PostgresMemory


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _client(answer: httpx.MockTransport) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0, http_client=httpx.AsyncClient(transport=answer)
    )


async def test_vectors_are_of_unit_length_and_closer_for_closer_meaning() -> None:
    order, parcel, weather = await WordLlamaEmbedder().embed(
        ["Where is my order?", "My parcel has not arrived", "It rains in Spain"]
    )
    assert len(order) == WORDLLAMA_DIMENSIONS
    assert math.isclose(_cosine(order, order), 1, rel_tol=1e-5)
    assert _cosine(order, parcel) > _cosine(order, weather)


def test_the_same_text_gives_the_same_vector_alone_and_in_company() -> None:
    assert embed(["a return", "x" * 5000])[0] == embed(["a return"])[0]


@pytest.mark.parametrize("text", ["\0", "\ud800", "👩‍👩‍👧", "ñ" * 10_000])
def test_any_text_has_a_vector(text: str) -> None:
    assert math.isclose(math.hypot(*embed([text])[0]), 1, rel_tol=1e-5)


def test_an_empty_text_is_zero_and_no_text_is_nothing() -> None:
    assert set(embed([""])[0]) == {0.0}
    assert embed([]) == []


def test_the_tokenizer_counts_text_tokens() -> None:
    vectors, tokenizer = load_wordllama()
    assert len(vectors.ids("Where is my order?")) == 5
    assert vectors.ids("hello") == tokenizer.encode("hello", add_special_tokens=False).ids


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    load_wordllama.cache_clear()
    with pytest.raises(EmbeddingsError, match=r"pip install 'hil-agents\[embedded\]'"):
        load_wordllama()


async def test_an_endpoint_is_asked_in_batches_and_its_order_restored() -> None:
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        asked.append(len(body["input"]))
        assert (body["model"], body["dimensions"]) == ("tiny", 2)
        data = [{"object": "embedding", "index": at, "embedding": [len(text), 0.0]} for at, text in enumerate(body["input"])]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return httpx.Response(200, json={"object": "list", "model": "tiny", "data": data[::-1], "usage": usage})

    embedder = EndpointEmbedder(_client(httpx.MockTransport(answer)), "tiny", dimensions=2)
    vectors = await embedder.embed(["text", "", *["x"] * 98])
    await embedder.close()
    assert asked == [64, 36]
    assert vectors == [[1.0, 0.0]] * 100
    assert embedder.name == "127.0.0.1/tiny/2"


async def test_an_endpoint_that_fails_is_named_with_what_to_check() -> None:
    embedder = EndpointEmbedder(_client(httpx.MockTransport(lambda _: httpx.Response(401, json={}))), "tiny")
    with pytest.raises(EmbeddingsError, match=r"127\.0\.0\.1:9/v1.*'tiny'.*HIL_EMBEDDINGS_API_KEY"):
        await embedder.embed(["text"])
    await embedder.close()


async def test_the_environment_chooses() -> None:
    assert isinstance(configured_embedder({}), WordLlamaEmbedder)
    assert isinstance(configured_embedder({"HIL_EMBEDDINGS_MODEL": "wordllama"}), WordLlamaEmbedder)
    endpoint = configured_embedder({"HIL_EMBEDDINGS_MODEL": "tiny", "HIL_EMBEDDINGS_BASE_URL": "http://127.0.0.1:9/v1"})
    assert isinstance(endpoint, EndpointEmbedder)
    await endpoint.close()
    with pytest.raises(EmbeddingsError, match="there is no key"):
        configured_embedder({"HIL_EMBEDDINGS_MODEL": "tiny"})
    with pytest.raises(EmbeddingsError, match="whole number"):
        configured_embedder({"HIL_EMBEDDINGS_MODEL": "tiny", "HIL_EMBEDDINGS_DIMENSIONS": "many"})


OPENAI = {"OPENAI_API_KEY": "k"}
LOCAL = {"HIL_LLM_BASE_URL": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize(
    ("installed", "environment", "chosen"),
    [
        (True, {}, "wordllama/l2_supercat_256"),
        (True, {"OPENAI_API_KEY": "k"}, "wordllama/l2_supercat_256"),
        (False, {"OPENAI_API_KEY": "k"}, "api.openai.com/text-embedding-3-small"),
        (False, {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", **LOCAL}, "api.openai.com/text-embedding-3-small"),
        (False, {"ANTHROPIC_API_KEY": "k"}, "none"),
        (False, LOCAL, "none"),
        (False, {**LOCAL, "HIL_EMBEDDINGS_MODEL": "nomic"}, "127.0.0.1/nomic"),
        (
            False,
            {"OPENAI_API_KEY": "k", "HIL_EMBEDDINGS_MODEL": "big", "HIL_EMBEDDINGS_DIMENSIONS": "64"},
            "api.openai.com/big/64",
        ),
    ],
)
async def test_what_is_chosen_works_with_what_is_configured(
    installed: bool, environment: dict[str, str], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment with Anthropic's key, or a local endpoint, alone must start: it looks nothing up, and says so."""
    monkeypatch.setattr("connectors.embeddings.is_installed", lambda: installed)
    embedder = configured_embedder(environment)
    assert embedder.name == chosen
    said = in_words(embedder)
    assert ("not searched" in said and "HIL_EMBEDDINGS_MODEL" in said) if chosen == "none" else chosen in said
    if isinstance(embedder, EndpointEmbedder):
        await embedder.close()


@pytest.mark.parametrize("dimensions", ["many", "0", "-1", "1e3", "9" * 5_000, "٣"])
def test_dimensions_that_are_none_are_refused_in_words(dimensions: str) -> None:
    with pytest.raises(EmbeddingsError, match="whole number"):
        configured_embedder({"HIL_EMBEDDINGS_MODEL": "tiny", "HIL_EMBEDDINGS_DIMENSIONS": dimensions, **LOCAL})


async def test_without_an_embedder_nothing_is_found_and_nothing_is_added() -> None:
    store = KnowledgeStore(None, NoEmbedder())  # type: ignore[arg-type]  # it asks no database
    assert await PostgresMemory(None, store).knowledge("anything", top_k=3) == []  # type: ignore[arg-type]  # nor does this
    with pytest.raises(EmbeddingsError, match="OPENAI_API_KEY"):
        await store.add("a.md", "some text")

"""Texts as vectors of unit length: `wordllama` from its wheel, without a network, or any OpenAI-compatible endpoint.

Nothing here downloads a model: the weights and the tokenizer are read from the installed package or not at all.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from schemas.shown import masked

if TYPE_CHECKING:
    import numpy as np
    import openai
    from numpy.typing import NDArray

WORDLLAMA_DIMENSIONS = 256
OPENAI_MODEL = "text-embedding-3-small"
_WEIGHTS = Path("weights") / "l2_supercat_256.safetensors"
_TOKENIZER = Path("tokenizers") / "l2_supercat_tokenizer_config.json"
_BATCH = 64
"""Texts a request to an endpoint; well under what any of them accepts."""


class EmbeddingsError(RuntimeError):
    """No vectors can be made; the message says what is missing and what to do."""


class Embedder(Protocol):
    """Makes vectors. Two embedders with the same `name` make the same vector of the same text."""

    @property
    def name(self) -> str:
        """Recorded beside the vectors it made: vectors of two embedders cannot be compared."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector of unit length a text, in order; all zeros for a text with nothing in it.

        Raises EmbeddingsError.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class WordVectors:
    """A matrix with one row per text token. A text's vector is the normalised mean of its rows."""

    rows: NDArray[np.float32]
    tokenizer: Any

    def ids(self, text: str) -> list[int]:
        """The text tokens of `text`; their number is what a model of the Llama 2 family would count."""
        ids: list[int] = self.tokenizer.encode(well_formed(text), add_special_tokens=False).ids
        return ids

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (texts, 256), each row of unit length, or zero when its text is empty."""
        import numpy as np

        vectors = np.zeros((len(texts), self.rows.shape[1]), dtype=np.float32)
        for at, text in enumerate(texts):
            if ids := self.ids(text):
                mean = self.rows[ids].mean(axis=0, dtype=np.float32)
                vectors[at] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return vectors


@cache
def load_wordllama() -> tuple[WordVectors, Any]:
    """The word vectors and the tokenizer of the installed wheel, read once a process (0.3 s, 32 MB).

    Raises EmbeddingsError when the extra `embedded` is not installed.
    """
    # The package itself is not imported: that would pull in an HTTP client and configure logging for everyone.
    spec = importlib.util.find_spec("wordllama")
    try:
        import numpy as np
        from safetensors import safe_open
        from tokenizers import Tokenizer
    except ImportError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddingsError(
            "the offline embedder wordllama is not installed: `pip install 'hil-agents[embedded]'`, "
            "or set HIL_EMBEDDINGS_MODEL to use an endpoint"
        )
    home = Path(next(iter(spec.submodule_search_locations)))
    for part in (_WEIGHTS, _TOKENIZER):
        if not (home / part).is_file():
            raise EmbeddingsError(
                f"wordllama is installed without {part.name}: "
                "reinstall it (`pip install --force-reinstall 'wordllama>=0.4.0.post1,<0.5'`)"
            )
    tokenizer = Tokenizer.from_file(str(home / _TOKENIZER))
    tokenizer.no_truncation()
    with safe_open(home / _WEIGHTS, framework="np") as weights:
        rows = np.ascontiguousarray(weights.get_tensor("embedding.weight"), dtype=np.float32)
    return WordVectors(rows, tokenizer), tokenizer


def embed(texts: Sequence[str]) -> list[list[float]]:
    """wordllama's vectors, for callers without an event loop."""
    vectors: list[list[float]] = load_wordllama()[0].embed(texts).tolist()
    return vectors


def well_formed(text: str) -> str:
    """`text` without lone surrogates, which no tokenizer and no wire accepts."""
    return text.encode("utf-8", "replace").decode("utf-8")


class WordLlamaEmbedder:
    """The offline embedder: 256 numbers a text."""

    name = f"wordllama/l2_supercat_{WORDLLAMA_DIMENSIONS}"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return await asyncio.to_thread(embed, texts)


class EndpointEmbedder:
    """An OpenAI-compatible `/embeddings`. `dimensions` is asked of the model when given, else its own."""

    def __init__(self, client: openai.AsyncOpenAI, model: str, *, dimensions: int | None = None) -> None:
        self._client = client
        self._model = model
        self._dimensions = dimensions
        self.name = f"{client.base_url.host}/{model}" + (f"/{dimensions}" if dimensions else "")

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        import openai  # half a second, and only an endpoint needs it

        vectors: list[list[float]] = []
        for start in range(0, len(texts), _BATCH):
            # Endpoints refuse an empty text; a space has a vector, and callers with nothing to say get one too.
            batch = [well_formed(text) or " " for text in texts[start : start + _BATCH]]
            try:
                reply = await self._client.embeddings.create(
                    model=self._model,
                    input=batch,
                    encoding_format="float",
                    dimensions=self._dimensions if self._dimensions else openai.omit,
                )
            except openai.OpenAIError as error:
                raise EmbeddingsError(
                    masked(f"{self._client.base_url} made no embeddings with {self._model!r} ({error}): check ")
                    + "HIL_EMBEDDINGS_MODEL, HIL_EMBEDDINGS_BASE_URL and HIL_EMBEDDINGS_API_KEY"
                ) from error
            if len(reply.data) != len(batch):
                raise EmbeddingsError(
                    masked(f"{self._client.base_url} answered {len(batch)} texts with {len(reply.data)} vectors")
                )
            vectors.extend(_unit(item.embedding) for item in sorted(reply.data, key=lambda item: item.index))
        return vectors

    async def close(self) -> None:
        await self._client.close()


class NoEmbedder:
    """Where no vectors can be made: nothing is looked up, and adding documents says what to set."""

    name = "none"
    remedy = (
        "no vectors can be made here: set OPENAI_API_KEY, or HIL_EMBEDDINGS_MODEL to a model of HIL_EMBEDDINGS_BASE_URL "
        "(or of HIL_LLM_BASE_URL), or install the offline embedder (`pip install 'hil-agents[embedded]'`)"
    )

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        raise EmbeddingsError(self.remedy)


def configured_embedder(environment: Mapping[str, str]) -> WordLlamaEmbedder | EndpointEmbedder | NoEmbedder:
    """What works with what is configured.

    HIL_EMBEDDINGS_MODEL at HIL_EMBEDDINGS_BASE_URL; else at OpenAI, where there is a key for it; else at the local endpoint
    HIL_LLM_BASE_URL. Without a model's name: the offline embedder where it is installed, which an image for production does
    not have; else OpenAI's small model with OPENAI_API_KEY; else none, for Anthropic offers no embeddings and nobody can guess
    the name of a local endpoint's model. Raises EmbeddingsError for settings that cannot be used.
    """

    def setting(name: str) -> str:
        return environment.get(name, "").strip()

    model, base_url, own_key = (setting(f"HIL_EMBEDDINGS_{name}") for name in ("MODEL", "BASE_URL", "API_KEY"))
    dimensions, openai_key = setting("HIL_EMBEDDINGS_DIMENSIONS"), setting("OPENAI_API_KEY")
    if dimensions and not (dimensions.isascii() and dimensions.isdigit() and len(dimensions) < 6 and int(dimensions)):
        raise EmbeddingsError(f"HIL_EMBEDDINGS_DIMENSIONS is {dimensions[:80]!r}: write a whole number such as 512")
    if model == "wordllama" or (not model and is_installed()):
        return WordLlamaEmbedder()
    if not model:
        if base_url:
            raise EmbeddingsError("HIL_EMBEDDINGS_BASE_URL is set without HIL_EMBEDDINGS_MODEL: name the model to ask there")
        if not (own_key or openai_key):
            return NoEmbedder()
        model = OPENAI_MODEL
    key = own_key or openai_key
    if not base_url and not key:
        base_url, key = setting("HIL_LLM_BASE_URL"), setting("HIL_LLM_API_KEY")
        if not base_url:
            raise EmbeddingsError(
                f"HIL_EMBEDDINGS_MODEL is {model!r} but there is no key: "
                "set HIL_EMBEDDINGS_API_KEY, or HIL_EMBEDDINGS_BASE_URL for a local endpoint"
            )
    import openai  # half a second, and only an endpoint needs it

    client = openai.AsyncOpenAI(base_url=base_url or None, api_key=key or "none", max_retries=2, timeout=30.0)
    return EndpointEmbedder(client, model, dimensions=int(dimensions) if dimensions else None)


def is_installed() -> bool:
    """Whether the offline embedder is there."""
    return importlib.util.find_spec("wordllama") is not None


def in_words(embedder: Embedder) -> str:
    """What was chosen, for the log of a start."""
    if isinstance(embedder, NoEmbedder):
        return f"the knowledge base is not searched: {embedder.remedy}"
    return f"the knowledge base is searched with {embedder.name}"


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector] if length else list(vector)

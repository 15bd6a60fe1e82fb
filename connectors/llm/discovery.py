"""Which models an OpenAI-compatible endpoint has, as it says itself (`GET /models`)."""

from __future__ import annotations

import openai

from connectors.llm import failures, guard
from connectors.llm.endpoint import Endpoint
from connectors.llm.reading import string
from connectors.llm.secrets import Secrets

PATIENCE_S = 5.0
MOST_MODELS = 1000


class NotListed(Exception):
    """The endpoint does not say what it has. The message says what happened instead, without secrets."""


async def models_at(endpoint: Endpoint, *, patience_s: float = PATIENCE_S) -> list[str]:
    """Their ids, in its order. Raises NotListed."""
    guard.check(endpoint.base_url)
    client = openai.AsyncOpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=0, timeout=patience_s)
    try:
        async with client:
            page = await client.models.list()
            found = [model.id for model in page.data[:MOST_MODELS] if string(getattr(model, "id", None))]
    except openai.APIStatusError as error:
        said = string(failures.error_object(error.body).get("message")) or "no reason given"
        words = f"it answered {error.status_code}: {said}"
    except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:  # the last three: what it sent is no list
        words = f"{type(error).__name__}: {error}"
    else:
        return found
    raise NotListed(Secrets(endpoint.api_key).out_of(words))

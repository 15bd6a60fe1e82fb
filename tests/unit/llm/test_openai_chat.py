"""The chat model with one model a profile: what it makes of a provider's replies and failures."""

from __future__ import annotations

import contextlib

import pytest

from agents.errors import Fatal, Retryable
from agents.ports import ChatMessage, ChatRequest
from connectors.llm.endpoint import Endpoint, Patience
from connectors.llm.openai_chat import OpenAIChat
from connectors.llm.profiles import LlmSettings, catalogue
from tests.unit.llm.dialects import KEY, OPENAI
from tests.unit.llm.misbehaving import SILENCE, answer, closed_port, serving


@contextlib.asynccontextmanager
async def model_at(url, *, patience=None):
    settings = LlmSettings(Endpoint("local", f"{url}/v1", KEY), {"fast": catalogue()["gpt-5.4-mini"]})
    async with OpenAIChat(settings, patience=patience) as chat:
        yield chat


async def ask(*script, patience=None, profile="fast"):
    async with serving(*script) as server, model_at(server.url, patience=patience) as chat:
        return await chat.complete(ChatRequest(profile, (ChatMessage("user", "hello"),)))


async def test_a_reply_has_its_price():
    """800 of 1,000 tokens came from the cache, which is cheaper."""
    reply = await ask(answer(OPENAI.whole("hello there")))
    assert (reply.text, reply.provider, reply.model, reply.finish_reason) == ("hello there", "openai", "gpt-5.4-mini", "stop")
    assert (reply.input_text_tokens, reply.cached_text_tokens, reply.output_text_tokens) == (1000, 800, 100)
    assert reply.cost_micro_usd == 660


async def test_tokens_are_estimated_when_the_endpoint_does_not_count():
    reply = await ask(answer(OPENAI.whole("12345", usage={})))
    assert (reply.input_text_tokens, reply.output_text_tokens) == (2, 2)


@pytest.mark.parametrize("said", [OPENAI.error(429), OPENAI.error(500), answer(b'{"choices": [')], ids=["429", "500", "cut"])
async def test_what_may_pass_is_retryable_and_names_who_failed(said):
    with pytest.raises(Retryable) as failed:
        await ask(said)
    assert (failed.value.provider, failed.value.model) == ("openai", "gpt-5.4-mini")


async def test_a_wait_is_handed_on():
    with pytest.raises(Retryable) as failed:
        await ask(OPENAI.error(429, retry_after="17"))
    assert failed.value.retry_after_seconds == 17


@pytest.mark.parametrize("status", [400, 401, 402, 404])
async def test_what_will_not_pass_is_fatal(status):
    with pytest.raises(Fatal):
        await ask(OPENAI.error(status))


async def test_silence_and_nobody_at_the_port_are_retryable():
    with pytest.raises(Retryable, match="did not finish within"):
        await ask(SILENCE, patience=Patience(total=0.05))
    async with model_at(await closed_port()) as chat:
        with pytest.raises(Retryable, match="Is it running"):
            await chat.complete(ChatRequest("fast", (ChatMessage("user", "hello"),)))


async def test_an_unknown_profile_is_fatal_and_names_those_there_are():
    with pytest.raises(Fatal, match=r"'genius'.*Profiles: fast"):
        await ask(answer(OPENAI.whole()), profile="genius")

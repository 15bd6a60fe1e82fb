"""Which providers the environment configures, and what they are opened with."""

from __future__ import annotations

import pytest

from agents.errors import Fatal
from connectors.llm.endpoint import Endpoint, Patience
from connectors.llm.opening import endpoints, patience_of, providers
from connectors.settings import Settings
from tests.unit.llm.dialects import ASKED, KEY, OPENAI, model
from tests.unit.llm.misbehaving import answer, serving

ALL = {
    "OPENAI_API_KEY": "sk-o",
    "ANTHROPIC_API_KEY": "sk-a",
    "HIL_LLM_BASE_URL": "http://127.0.0.1:11434/v1",
}


async def test_every_configured_provider_is_opened_under_the_name_models_have_for_it():
    async with providers({}) as none, providers(ALL, "http://127.0.0.1:9/v1") as found:
        assert none == {}
        assert list(found) == ["openai", "anthropic", "local", "rehearsal"]
        assert [provider.name for provider in found.values()] == list(found)


def test_an_empty_variable_counts_as_not_set():
    assert endpoints({**dict.fromkeys(ALL, " "), "HIL_LLM_API_KEY": "x"}) == []


def test_each_goes_to_its_own_address_with_its_own_key():
    proxied = {"HIL_OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "HIL_ANTHROPIC_BASE_URL": "http://127.0.0.1:2/v1/"}
    own, through = endpoints(ALL), endpoints(ALL | proxied | {"HIL_LLM_API_KEY": "l"})
    assert [each.base_url for each in own[:2]] == ["https://api.openai.com/v1", "https://api.anthropic.com"]
    assert [(each.base_url, each.api_key) for each in through] == [
        ("http://127.0.0.1:1/v1", "sk-o"),
        ("http://127.0.0.1:2", "sk-a"),
        ("http://127.0.0.1:11434/v1", "l"),
    ]
    assert [each.key_variable for each in through] == ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HIL_LLM_API_KEY"]


async def test_the_settings_carry_everything_the_providers_are_opened_with():
    async with serving(answer(OPENAI.whole("through the proxy"))) as server:
        environ = {"OPENAI_API_KEY": KEY, "HIL_OPENAI_BASE_URL": f"{server.url}/v1", "HIL_LLM_TOTAL_SECONDS": "7"}
        carried = Settings.from_environment(environ).environment()
        async with providers(carried) as found:
            reply = await found["openai"].complete(model(), ASKED)
    assert reply.text == "through the proxy"
    assert patience_of(carried) == Patience(total=7)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"HIL_LLM_BASE_URL": "https://user:hunter2@llm.example/v1"}, "HIL_LLM_BASE_URL"),
        ({"HIL_LLM_BASE_URL": "https://llm.example/v1?key=hunter2"}, "HIL_LLM_BASE_URL"),
        ({"OPENAI_API_KEY": "sk-\nhunter2"}, "OPENAI_API_KEY"),
        ({"ANTHROPIC_API_KEY": "sk-hunter2\u200b"}, "ANTHROPIC_API_KEY"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_its_variable_and_not_repeated(environ, named):
    with pytest.raises(Fatal, match=named) as refused:
        endpoints(environ)
    assert "hunter2" not in str(refused.value)


def test_a_key_is_in_no_repr():
    assert KEY not in repr(Endpoint("local", "http://127.0.0.1:1", KEY))
    assert KEY not in repr(endpoints({"OPENAI_API_KEY": KEY}))

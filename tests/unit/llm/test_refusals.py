"""Whom a refusal speaks of: the request, the key, the model, or a wall in between."""

from __future__ import annotations

import pytest

from agents.router.ports import ProviderFailure
from tests.unit.llm.dialects import OPENAI, complete
from tests.unit.llm.misbehaving import answer

WALL = b"<html><head><title>Attention Required! | Cloudflare</title></head></html>"
TOO_MANY = [{"error": {"message": "The input token count exceeds the maximum number of tokens allowed."}}]


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, {"error": {"message": "Incorrect API key provided"}}, "key_broken", "http_401"),
        (403, {"error": {"message": "Your key may not use this", "type": "permission_error"}}, "key_broken", "http_403"),
        (403, {"error": {"message": "your input was flagged", "code": 403}}, "callers_fault", "flagged"),
        (400, {"error": {"message": "filtered", "code": "content_filter"}}, "callers_fault", "flagged"),
        (403, WALL, "try_next", "http_403"),
        (403, {"error": {"message": "Country, region, or territory not supported"}}, "try_next", "http_403"),
        (402, {"error": {"message": "pay"}}, "key_broken", "no_credit"),
        (400, {"error": {"message": "/chat/completions: Invalid model name passed in model=x."}}, "cool_down", "http_400"),
        (400, {"message": "Server is pinned to another model"}, "cool_down", "http_400"),
        (404, {"error": {"message": "The model `x` does not exist"}}, "cool_down", "http_404"),
        (405, {"error": {"message": "model x is not supported here"}}, "cool_down", "http_405"),
        (410, {"error": {"message": "gone"}}, "cool_down", "http_410"),
        (400, {"error": {"message": "tools.0: bad schema"}}, "callers_fault", "http_400"),
        (400, {"error": {"message": "Unsupported value: 'x' is not supported with this model."}}, "callers_fault", "http_400"),
        (400, TOO_MANY, "callers_fault", "too_long"),
        (400, {"error": {"message": "This model's maximum context length is 8192 tokens"}}, "callers_fault", "too_long"),
        (503, WALL, "try_next", "http_503"),
    ],
    ids=lambda each: str(each)[:40] if isinstance(each, (dict, list, bytes)) else None,
)
async def test_a_refusal_is_judged_by_what_it_says(status, body, kind, code):
    with pytest.raises(ProviderFailure) as failed:
        await complete(OPENAI, answer(body, status))
    assert (failed.value.kind, failed.value.code) == (kind, code)


async def test_a_wait_may_stand_in_the_error_itself():
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39s"}]
    with pytest.raises(ProviderFailure, match="over quota") as failed:
        await complete(OPENAI, answer([{"error": {"code": 429, "message": "over quota", "details": details}}], 429))
    assert failed.value.retry_after_s == 39


async def test_there_is_a_full_stop_between_its_words_and_ours():
    with pytest.raises(ProviderFailure, match=r"no such model\. Name a model it has"):
        await complete(OPENAI, OPENAI.error(404, "no such model"))

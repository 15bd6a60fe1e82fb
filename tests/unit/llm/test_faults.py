"""Every row of the table of faults in docs/guides/router.md, at each provider's wire."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import logging
import traceback

import pytest

from agents.ports import ToolCall, Usage
from agents.router.ports import ProviderFailure
from connectors.llm import guard
from connectors.llm.endpoint import Patience
from tests.unit.llm.dialects import (
    ANTHROPIC,
    ASKED,
    BOTH,
    KEY,
    OPENAI,
    Dialect,
    complete,
    provider_at,
    stream,
    stream_of,
)  # fmt: skip
from tests.unit.llm.misbehaving import HANG_UP, RESET, SILENCE, answer, closed_port, serving, streamed

either = pytest.mark.parametrize("said", BOTH, ids=["openai", "anthropic"])
ways = pytest.mark.parametrize("way", [complete, stream], ids=["whole", "streamed"])
SHORT = Patience(connect=0.2, first_token=0.2, total=0.2)
GUESSED_INPUT = -(-len("Be kind." + "Where is order 7?") // 4)


async def failing(way, said: Dialect, *script, **options) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as failed:
        await way(said, *script, **options)
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None
    return failed.value


@either
@ways
async def test_429_cools_the_model_down(way, said):
    failure = await failing(way, said, said.error(429))
    assert (failure.kind, failure.code, failure.retry_after_s, failure.usage) == ("cool_down", "http_429", None, None)
    assert "the reason" in str(failure)


@either
@ways
async def test_429_says_in_seconds_or_as_a_date_when_to_come_back(way, said):
    assert (await failing(way, said, said.error(429, retry_after="17"))).retry_after_s == 17
    due = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    dated = await failing(way, said, said.error(429, retry_after=email.utils.format_datetime(due, usegmt=True)))
    assert dated.retry_after_s == pytest.approx(100, abs=5)
    assert (await failing(way, said, said.error(429, retry_after_ms="250", retry_after="1"))).retry_after_s == 0.25


@either
@ways
@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 408])
async def test_a_server_that_fails_or_is_overloaded_is_tried_elsewhere(way, said, status):
    failure = await failing(way, said, said.error(status))
    assert (failure.kind, failure.code, failure.usage) == ("try_next", f"http_{status}", None)


@either
@ways
async def test_a_gateway_that_answers_in_html_is_tried_elsewhere(way, said):
    failure = await failing(way, said, answer(b"<html>bad gateway</html>", 502, content_type="text/html"))
    assert (failure.kind, failure.code) == ("try_next", "http_502")


@either
@ways
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_breaks_the_key_and_says_which_variable_holds_it(way, said, status):
    failure = await failing(way, said, said.error(status, f"Incorrect API key provided: {KEY}."))
    assert (failure.kind, failure.code) == ("key_broken", f"http_{status}")
    assert "Set HIL_LLM_API_KEY" in str(failure)
    assert KEY not in str(failure)


@either
@ways
@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (402, "billing_error", "pay first"),
        (429, "insufficient_quota", "You exceeded your current quota."),
        (400, "invalid_request_error", "Your credit balance is too low to access the API."),
    ],
)
async def test_an_account_without_credit_breaks_the_key(way, said, status, kind, message):
    failure = await failing(way, said, said.error(status, message, kind))
    assert (failure.kind, failure.code) == ("key_broken", "no_credit")


@either
@ways
async def test_a_model_the_endpoint_does_not_have_is_left_out_for_a_while(way, said):
    failure = await failing(way, said, said.error(404, "no such model", "not_found_error"))
    assert (failure.kind, failure.code, failure.retry_after_s) == ("cool_down", "http_404", 300)


@either
@ways
async def test_a_request_nobody_would_take_is_the_callers_fault(way, said):
    failure = await failing(way, said, said.error(400, "bad schema"))
    assert (failure.kind, failure.code, failure.too_long) == ("callers_fault", "http_400", False)
    assert "bad schema" in str(failure)


@ways
@pytest.mark.parametrize(
    ("said", "status", "message", "code"),
    [
        (OPENAI, 400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
        (OPENAI, 400, "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens", 400),
        (OPENAI, 400, "the request exceeds the available context size", "exceed_context_size_error"),
        (ANTHROPIC, 400, "prompt is too long: 214315 tokens > 200000 maximum", None),
        (ANTHROPIC, 413, "Request exceeds the maximum size", None),
    ],
)
async def test_a_context_overflow_may_fit_a_larger_window(way, said, status, message, code):
    failure = await failing(way, said, said.error(status, message, "invalid_request_error", code))
    assert (failure.kind, failure.code, failure.too_long) == ("callers_fault", "too_long", True)


@either
@ways
async def test_a_refused_connection_is_tried_elsewhere(way, said):
    async with provider_at(await closed_port(), said) as provider:
        with pytest.raises(ProviderFailure, match="Is it running") as failed:
            await provider.complete(said.model, ASKED)
    assert (failed.value.kind, failed.value.code, failed.value.usage) == ("try_next", "refused", None)


@either
async def test_a_connection_that_does_not_come_about_has_a_limit_of_its_own(said):
    """A listener whose queue is full answers nobody."""
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        others = [socket.socket() for _ in range(4)]
        try:
            for other in others:
                other.setblocking(False)
                other.connect_ex(full.getsockname())
            await asyncio.sleep(0.05)
            async with provider_at(url, said, Patience(connect=0.1, first_token=5, total=5)) as provider:
                with pytest.raises(ProviderFailure) as failed:
                    await provider.complete(said.model, ASKED)
        finally:
            for other in others:
                other.close()
    assert (failed.value.kind, failed.value.code) == ("try_next", "timeout_connect")


@either
@ways
@pytest.mark.parametrize("end", [HANG_UP, RESET], ids=["closed", "reset"])
async def test_a_connection_that_ends_without_an_answer_is_tried_elsewhere(way, said, end):
    failure = await failing(way, said, end)
    assert (failure.kind, failure.code, failure.usage) == ("try_next", "reset", None)


@either
@pytest.mark.parametrize("end", [RESET, HANG_UP], ids=["reset", "closed"])
async def test_a_stream_that_breaks_off_is_counted_as_far_as_it_came(said, end):
    failure = await failing(stream, said, streamed(said.opening(), said.piece("x" * 400), 0.02, end))
    assert (failure.kind, failure.code, failure.usage_estimated) == ("try_next", "reset", True)
    given = 1000 if said is ANTHROPIC else GUESSED_INPUT
    assert failure.usage == Usage(given, 800 if said is ANTHROPIC else 0, 0, 100)
    assert failure.first_token_ms is not None


@either
async def test_an_answer_cut_in_its_middle_is_tried_elsewhere(said):
    whole = answer(said.whole("x" * 400))
    failure = await failing(complete, said, (whole[:-30], HANG_UP))
    assert (failure.kind, failure.code) == ("try_next", "reset")


@either
async def test_an_error_inside_a_stream_means_what_its_status_would(said):
    kinds = {
        "overloaded_error": ("try_next", "http_529"),
        "rate_limit_error": ("cool_down", "http_429"),
        "authentication_error": ("key_broken", "http_401"),
        "server_error": ("try_next", "http_500"),
    }
    for kind, expected in kinds.items():
        failure = await failing(stream, said, streamed(said.opening(), said.piece("abcd"), said.broken_off(kind)))
        assert (failure.kind, failure.code) == expected
        assert failure.usage is not None
        assert failure.usage.output_text_tokens == 1
    first = await failing(stream, said, streamed(said.broken_off("overloaded_error")))
    assert (first.code, first.usage) == ("http_529", None)


@either
async def test_an_error_with_status_200_is_a_failure(said):
    failure = await failing(complete, said, answer(said.error_body("busy", "overloaded_error")))
    assert (failure.kind, failure.code, failure.usage) == ("try_next", "http_529", None)


@either
async def test_a_slow_drip_ends_at_the_total_and_is_counted(said):
    drip = [piece for _ in range(100) for piece in (said.piece("abcd"), 0.02)]
    failure = await failing(stream, said, streamed(said.opening(), *drip), patience=SHORT)
    assert (failure.kind, failure.code) == ("try_next", "timeout_total")
    assert failure.usage is not None
    assert 2 <= failure.usage.output_text_tokens <= 12
    slow = [piece for byte in answer(said.whole()) for piece in (bytes([byte]), 0.02)]
    assert (await failing(complete, said, tuple(slow), patience=SHORT)).code == "timeout_total"


@either
async def test_a_drip_of_nothing_but_signs_of_life_ends_at_the_first_token(said):
    patience = Patience(first_token=0.15, total=5)
    alive = [piece for _ in range(100) for piece in (b": keep-alive\n\n", 0.02)]
    failure = await failing(stream, said, streamed(said.opening(), *alive), patience=patience)
    assert (failure.kind, failure.code) == ("try_next", "timeout_first_token")
    assert "0.15 s" in str(failure)


@either
async def test_a_hang_ends_at_the_limit_that_is_named(said):
    """Three minutes are two more than anybody waits."""
    assert Patience().total < 180
    failure = await failing(complete, said, SILENCE, patience=SHORT)
    assert (failure.kind, failure.code, failure.usage) == ("try_next", "timeout_total", None)
    assert failure.latency_ms >= 200
    waiting = Patience(first_token=0.1, total=5)
    assert (await failing(stream, said, SILENCE, patience=waiting)).code == "timeout_first_token"
    begun = streamed(said.opening(), said.piece("abcd"), SILENCE)
    hung = await failing(stream, said, begun, patience=Patience(first_token=0.1, total=0.3))
    assert (hung.code, hung.first_token_ms is not None) == ("timeout_total", True)


@either
async def test_invalid_json_is_tried_elsewhere_and_counted_as_it_came(said):
    failure = await failing(complete, said, answer(b'{"choices": [' + b"x" * 387))
    assert (failure.kind, failure.code, failure.usage_estimated) == ("try_next", "bad_json", True)
    assert failure.usage == Usage(GUESSED_INPUT, output_text_tokens=100)
    broken = await failing(stream, said, streamed(said.opening(), said.piece("abcd"), b"data: {nonsense\n\n"))
    assert (broken.code, broken.usage is not None) == ("bad_json", True)


@either
@pytest.mark.parametrize("body", [{"hello": 1}, [], {"choices": [], "content": None}, 7], ids=str)
async def test_json_that_is_no_answer_is_tried_elsewhere(said, body):
    failure = await failing(complete, said, answer(body))
    assert (failure.kind, failure.code) == ("try_next", "not_an_answer")


@either
async def test_a_web_page_instead_of_an_answer_costs_nothing_and_names_the_setting(said):
    failure = await failing(complete, said, answer(b"<html>hello</html>", 200, content_type="text/html"))
    assert (failure.kind, failure.code, failure.usage) == ("try_next", "bad_json", None)
    assert "HIL_LLM_BASE_URL" in str(failure)


@either
async def test_arguments_that_are_no_json_reach_the_agent_as_written(said):
    deltas, _ = await stream(said, streamed(said.opening(), said.wish('{"order_id": 7'), said.closing(finish="tool_use")))
    assert deltas[-1].reply.tool_calls == (ToolCall("c1", "shopify_get_order", None, '{"order_id": 7'),)
    if said is OPENAI:
        reply, _ = await complete(said, answer(said.whole("", calls=[("c1", "x", "{bad")])))
        assert reply.tool_calls == (ToolCall("c1", "x", None, "{bad"),)


@either
async def test_missing_usage_is_left_to_the_estimate(said):
    reply, _ = await complete(said, answer(said.whole(usage={})))
    assert reply.usage is None
    unsaid = streamed(said.piece("hi"), said.closing(usage={}))
    deltas, _ = await stream(said, unsaid)
    assert deltas[-1].reply.usage is None
    assert deltas[-1].paid is not None


WRONG = [
    ("output", -5),
    ("output", "100"),
    ("output", 1.5),
    ("output", True),
    ("output", 10**12),
    ("output", None),
]


@either
@pytest.mark.parametrize(("part", "value"), WRONG, ids=str)
async def test_wrong_totals_make_the_usage_unknown(said, part, value):
    name = {"openai": "completion_tokens", "anthropic": "output_tokens"}[said.provider]
    reply, _ = await complete(said, answer(said.whole(usage=said.usage(**{name: value}))))
    assert reply.usage is None
    assert reply.text == "hi"


@pytest.mark.parametrize(
    "details", [{"cached_tokens": 1001}, {"cached_tokens": -1}, {"cached_tokens": "800"}, "none", None], ids=str
)
async def test_a_cache_that_cannot_be_right_earns_no_discount(details):
    reply, _ = await complete(OPENAI, answer(OPENAI.whole(usage=OPENAI.usage(prompt_tokens_details=details))))
    assert reply.usage == Usage(1000, 0, 0, 100, 30)


@either
async def test_an_empty_answer_is_paid_and_tried_elsewhere(said):
    failure = await failing(complete, said, answer(said.whole(" \n")))
    assert (failure.kind, failure.code, failure.usage) == ("try_next", "empty", said.usage_normal)
    assert not failure.usage_estimated
    streamed_failure = await failing(stream, said, stream_of(said))
    assert (streamed_failure.code, streamed_failure.usage) == ("empty", said.usage_normal)


@either
async def test_a_refusal_is_an_answer_that_was_paid_for(said):
    reply, _ = await complete(said, answer(said.whole("I will not.", refusal="I will not.")))
    assert (reply.finish_reason, reply.text, reply.usage) == ("refusal", "I will not.", said.usage_normal)
    finish = {"openai": "content_filter", "anthropic": "refusal"}[said.provider]
    deltas, _ = await stream(said, stream_of(said, finish=finish))
    assert deltas[-1].reply.finish_reason == "refusal"
    assert deltas[-1].reply.text


@either
@ways
async def test_a_redirect_is_not_followed(way, said):
    """It could lead off this machine, and take the key along."""
    async with serving(answer(said.whole())) as elsewhere:
        failure = await failing(way, said, answer(b"", 307, location=f"{elsewhere.url}/v1/messages?key={KEY}"))
        assert not elsewhere.asked
    assert (failure.kind, failure.code) == ("try_next", "http_307")


@either
@ways
async def test_an_answer_without_end_is_cut_off(way, said, monkeypatch):
    monkeypatch.setattr("connectors.llm.connection.LARGEST_ANSWER", 10_000)
    monkeypatch.setattr("connectors.llm.connection.LARGEST_WHOLE", 10_000)
    monkeypatch.setattr("connectors.llm.sse.LONGEST_EVENT", 10_000)
    failure = await failing(way, said, streamed(*[b"data: " + b"x" * 4_000] * 5))
    assert (failure.kind, failure.code) == ("try_next", "too_large")


@either
@ways
async def test_every_fault_is_one_request(way, said):
    """SDKs retry by themselves unless told not to."""
    async with serving(said.error(500)) as server, provider_at(server.url, said) as provider:
        with pytest.raises(ProviderFailure):
            if way is complete:
                await provider.complete(said.model, ASKED)
            else:
                [delta async for delta in provider.stream(said.model, ASKED)]
    assert len(server.asked) == 1


@either
@ways
async def test_real_calls_are_refused_when_the_switch_is_off(way, said, monkeypatch):
    monkeypatch.setattr(guard, "ALLOW_REAL_CALLS", False)
    async with provider_at("https://api.provider.example", said) as provider:
        with pytest.raises(ProviderFailure, match="api.provider.example are forbidden") as failed:  # noqa: RUF043
            if way is complete:
                await provider.complete(said.model, ASKED)
            else:
                [delta async for delta in provider.stream(said.model, ASKED)]
    assert (failed.value.kind, failed.value.code) == ("callers_fault", "forbidden")


BASE64_KEY = "c2stdGVzdC0wMTIzNDU2Nzg5YWJjZGVm"


@either
@ways
@pytest.mark.parametrize(
    "echo",
    [
        lambda said: said.error(401, f"Incorrect API key provided: {KEY}"),
        lambda said: said.error(401, f"header was 'Bearer {KEY}'"),
        lambda said: said.error(400, f"unknown field {KEY}", KEY, KEY),
        lambda said: said.error(429, f"Basic {BASE64_KEY} is over its limit"),
        lambda said: said.error(500, "failed", x_echo=KEY),
        lambda said: answer(f"<html>{KEY}</html>".encode(), 500, content_type="text/html"),
        lambda said: answer({"detail": f"no {KEY}"}, 422),
        lambda said: answer({"error": f"no {KEY}"}, 403),
        lambda said: answer({KEY: KEY}),
        lambda said: answer(f'{{"choices": {KEY}'.encode()),
        lambda said: answer(b"", 302, location=f"http://127.0.0.1:9/{KEY}"),
        lambda said: (f"HTTP/1.1 {KEY}\r\n\r\n".encode(), HANG_UP),
        lambda said: (f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode(), HANG_UP),
        lambda said: (f"HTTP/1.1 401 {KEY}\r\ncontent-length: 0\r\n\r\n".encode(), HANG_UP),
        lambda said: streamed(said.broken_off(KEY, f"bad key {KEY}")),
        lambda said: streamed(f"data: {KEY}\n\n".encode()),
    ],
)
async def test_the_key_is_in_no_failure_no_traceback_and_no_log(way, said, echo, caplog):
    caplog.set_level(logging.DEBUG)
    failure = await failing(way, said, echo(said))
    shown = "".join(traceback.format_exception(failure)) + repr(failure.__dict__) + caplog.text
    assert KEY not in shown
    assert BASE64_KEY not in shown
    assert "Where is order 7?" not in shown


@either
async def test_the_key_is_in_no_answer(said):
    """An endpoint of somebody else's may quote it anywhere."""
    asked = [("c1", "shopify_get_order", f'{{"order_id": "{KEY}"}}')]
    reply, _ = await complete(said, answer(said.whole(f"your key is {KEY}", calls=asked)))
    assert KEY not in repr(reply)
    assert reply.text == "your key is ***"
    deltas, _ = await stream(said, stream_of(said, f"it is {KEY}", " ok"))
    assert KEY not in repr(deltas)


async def test_a_customers_words_are_in_no_failure(caplog):
    request = ASKED.__class__("fast", ASKED.messages, output_schema={"type": "object", "x": "\ud800 Where is order 7?"})
    failure = await failing(complete, OPENAI, SILENCE, request=request)
    assert (failure.kind, failure.code) == ("callers_fault", "bad_request")
    assert "order 7" not in str(failure)

"""Only a good end makes an answer: how it ended, what it counts, and errors that come with a 200, in every dialect."""

from __future__ import annotations

import pytest

from agents.ports import ChatRequest
from agents.router.ports import ProviderFailure
from tests.unit.llm.dialects import ANTHROPIC, ASKED, BOTH, OPENAI, ORDER, Dialect, complete, stream, stream_of
from tests.unit.llm.misbehaving import answer, events, streamed

LOCAL, RESPONSES = Dialect("local"), Dialect("openai", "o1-pro")
WITH_TOOL = ChatRequest("fast", ASKED.messages, tools=(ORDER,))
either = pytest.mark.parametrize("said", BOTH, ids=["openai", "anthropic"])


async def failing(way, said: Dialect, *script, **options) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as failed:
        await way(said, *script, **options)
    return failed.value


@either
@pytest.mark.parametrize("reason", ["error", "insufficient_system_resource", "network_error", "malformed_function_call", "?"])
async def test_an_end_nobody_knows_is_a_failed_try_and_what_came_is_paid(said, reason):
    whole = await failing(complete, said, answer(said.whole("Your order has been refunded in full and", finish=reason)))
    heard = await failing(stream, said, stream_of(said, "Your order has been", finish=reason))
    for failure in (whole, heard):
        assert (failure.kind, failure.code, failure.usage) == ("try_next", "bad_finish", said.usage_normal)
        assert reason in str(failure)


@pytest.mark.parametrize("reason", ["stop", "eos", "end_turn", "stop_sequence", None])
async def test_good_ends_of_compatible_servers_are_answers(reason):
    body = LOCAL.whole("All of it.")
    body["choices"][0]["finish_reason"] = reason
    reply, _ = await complete(LOCAL, answer(body))
    assert (reply.text, reply.finish_reason) == ("All of it.", "stop")


@either
async def test_the_calls_of_a_cut_answer_are_not_made(said):
    cut = {"openai": "length", "anthropic": "max_tokens"}[said.provider]
    body = said.whole("", calls=[("c1", "shopify_get_order", '{"order_id": "7"}')], finish=cut)
    reply, _ = await complete(said, answer(body), request=WITH_TOOL)
    assert (reply.tool_calls, reply.finish_reason) == ((), "length")


@either
async def test_counts_of_nothing_are_no_counts(said):
    """A request was sent and words came back: who says that either was nothing has not counted."""
    nothing = {"prompt_tokens": 0, "completion_tokens": 0} if said is OPENAI else {"input_tokens": 0, "output_tokens": 0}
    half = {"prompt_tokens": 7, "completion_tokens": 0} if said is OPENAI else {"input_tokens": 7, "output_tokens": 0}
    for usage in (nothing, half):
        whole, _ = await complete(said, answer(said.whole(usage=usage)))
        assert whole.usage is None


async def test_a_stream_that_breaks_before_it_counted_is_estimated():
    begun = {"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}, "content": []}}
    script = streamed(events(begun, named=True), ANTHROPIC.piece("some words came"), ANTHROPIC.broken_off("overloaded_error"))
    failure = await failing(stream, ANTHROPIC, script)
    assert failure.usage is not None
    assert failure.usage.input_text_tokens > 0
    assert failure.usage_estimated


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ({"error": {"code": "429", "message": "slow down"}}, "cool_down", "http_429"),
        ([{"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}], "cool_down", "http_429"),
        ({"errors": [{"message": "slow down", "type": "throttling_error"}]}, "cool_down", "http_429"),
        ({"error": {"status": "UNAVAILABLE", "message": "slow down"}}, "try_next", "http_503"),
        ({"error": "slow down"}, "try_next", "http_500"),
        ({"choices": [{"error": {"code": 502, "message": "slow down"}, "message": {"content": "Half"}}]}, "try_next", "http_502"),
    ],
    ids=["text code", "list", "errors", "status", "words", "of a choice"],
)
async def test_an_error_that_comes_with_a_200_is_that_error(body, kind, code):
    failure = await failing(complete, LOCAL, answer(body))
    assert (failure.kind, failure.code) == (kind, code)
    assert "slow down" in str(failure)


async def test_an_error_of_a_choice_ends_a_stream():
    broken = events({"choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "lost"}, "finish_reason": "error"}]})
    failure = await failing(stream, LOCAL, streamed(LOCAL.piece("Half"), broken))
    assert (failure.kind, failure.code) == ("try_next", "http_502")


@pytest.mark.parametrize(
    ("changes", "finish"),
    [
        ({"status": "completed"}, "stop"),
        ({}, "stop"),
        ({"status": "incomplete"}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "refusal"),
        ({"status": "failed"}, None),
        ({"status": "cancelled"}, None),
        ({"status": "in_progress"}, None),
    ],
    ids=str,
)
async def test_the_status_of_a_response_says_whether_it_is_whole(changes, finish):
    said = {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Words."}]}], **changes}
    if finish is None:
        assert (await failing(complete, RESPONSES, answer(said))).code == "bad_finish"
    else:
        reply, _ = await complete(RESPONSES, answer(said))
        assert reply.finish_reason == finish


async def test_a_response_without_its_output_at_the_end_is_what_was_streamed():
    call = {"type": "function_call", "call_id": "c1", "name": "shopify_get_order", "arguments": "{}"}
    script = [
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Look"},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "ing."},
        {"type": "response.output_item.done", "output_index": 1, "item": call},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ]
    deltas, _ = await stream(RESPONSES, streamed(events(*script)), request=WITH_TOOL)
    reply = deltas[-1].reply
    assert (reply.text, [call.name for call in reply.tool_calls]) == ("Looking.", ["shopify.get_order"])


async def test_of_several_choices_the_first_is_heard():
    def piece(at: int, text: str) -> bytes:
        return events({"choices": [{"index": at, "delta": {"content": text}, "finish_reason": None}]})

    deltas, _ = await stream(LOCAL, streamed(piece(0, "fi"), piece(1, "SEC"), piece(0, "rst"), piece(1, "OND"), LOCAL.closing()))
    assert deltas[-1].reply.text == "first"


async def test_a_byte_order_mark_costs_no_event():
    script = streamed(b"\xef\xbb", b"\xbf" + LOCAL.piece("first"), LOCAL.piece(" second"), LOCAL.closing())
    deltas, _ = await stream(LOCAL, script)
    assert deltas[-1].reply.text == "first second"


async def test_a_tools_name_may_come_in_pieces_or_again_and_again():
    def piece(**function: str) -> bytes:
        return events({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a", "function": function}]}}]})

    pieces = streamed(piece(name="shopify_"), piece(name="get_order", arguments="{}"), LOCAL.closing())
    again = streamed(piece(name="shopify_get_order"), piece(name="shopify_get_order", arguments="{}"), LOCAL.closing())
    for script in (pieces, again):
        deltas, _ = await stream(LOCAL, script, request=WITH_TOOL)
        assert [call.name for call in deltas[-1].reply.tool_calls] == ["shopify.get_order"]


async def test_halves_of_a_character_reach_the_reader_as_one():
    script = streamed(
        b'data: {"choices": [{"delta": {"content": "a \\ud83d"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "\\ude00 b"}}]}\n\n',
        LOCAL.closing(),
    )
    deltas, _ = await stream(LOCAL, script)
    assert "".join(delta.text for delta in deltas) == "a \U0001f600 b" == deltas[-1].reply.text


@pytest.mark.parametrize(
    ("written", "answered"),
    [
        ("<think>\nPolicy P-7.\n</think>\n\nIt is on its way.", "It is on its way."),
        ("Policy P-7.\n</think>\n\nIt is on its way.", "It is on its way."),
        ("<thinking>a</thinking><thinking>b</thinking>It is on its way.", "It is on its way."),
        ("I <think> so.", "I <think> so."),
        ("x < y", "x < y"),
    ],
)
async def test_thoughts_reach_nobody(written, answered):
    reply, _ = await complete(LOCAL, answer(LOCAL.whole(written)))
    assert reply.text == answered
    deltas, _ = await stream(LOCAL, stream_of(LOCAL, *written))
    assert deltas[-1].reply.text == answered
    if not written.startswith("Policy"):  # a thought that is not opened is known by its end alone
        assert "".join(delta.text for delta in deltas) == answered


async def test_thoughts_without_an_answer_are_an_empty_answer():
    assert (await failing(complete, LOCAL, answer(LOCAL.whole("<think>\nPolicy P-7")))).code == "empty"


async def test_the_old_way_to_call_is_understood():
    body = {"choices": [{"message": {"content": None, "function_call": {"name": "shopify_get_order", "arguments": "{}"}}}]}
    reply, _ = await complete(LOCAL, answer(body), request=WITH_TOOL)
    assert [call.name for call in reply.tool_calls] == ["shopify.get_order"]

"""The books of one attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agents.errors import Retryable, note_attempts
from agents.journal import JournaledModel, JournaledTools
from agents.meter import Meter, MeteredModel, MeteredTools
from agents.ports import ChatRequest, ModelAttempt, ToolResult, Usage
from tests.unit.agents.doubles import CREATE_RETURN, GET_ORDER, MemoryJournal, Scripted, Shelf, said, wants

REQUEST = ChatRequest("fast", ())


def fresh(entries: Sequence[Any]) -> list[Any]:
    """Those that need an event."""
    return [each for each in entries if not each.replayed and getattr(each, "acted", True)]


async def test_calls_and_uses_are_counted_with_their_steps():
    meter = Meter()
    model, tools = MeteredModel(Scripted("a", "b"), meter), MeteredTools(Shelf(GET_ORDER), meter)
    await model.complete(REQUEST)
    await tools.call(wants("shopify.get_order", {"order_id": "7"}))
    await model.complete(REQUEST)
    assert (meter.cost_micro_usd, meter.input_text_tokens, meter.output_text_tokens) == (14, 20, 10)
    assert [call.step for call in meter.model_calls] == ["model-1", "model-2"]
    assert (meter.models, meter.tools) == (["test-1"], ["shopify.get_order"])
    use = meter.tool_uses[0]
    assert (use.step, use.app, use.action, use.entity_id, use.success) == ("tool-1", "shopify", "get_order", "cust", True)


async def test_a_failed_call_is_booked_with_who_failed():
    meter = Meter()
    with pytest.raises(Retryable):
        await MeteredModel(Scripted(Retryable("busy").at("openai", "gpt")), meter).complete(REQUEST)
    call = fresh(meter.model_calls)[0]
    attempt = call.attempt
    assert (call.success, attempt.provider, attempt.model, attempt.error) == (False, "openai", "gpt", "busy")
    assert meter.models == []


TRIED = (
    ModelAttempt("openai", "gpt", "http_529", error="busy", usage=Usage(10, 0, 0, 2), cost_micro_usd=3, latency_ms=40),
    ModelAttempt(
        "anthropic",
        "claude",
        "ok",
        usage=Usage(12, 4, 3, 6, 5),
        cost_micro_usd=9,
        latency_ms=70,
        first_token_ms=20,
        estimated=Usage(11, 0, 0, 8),
        estimated_cost_micro_usd=8,
        estimated_latency_ms=90,
        reasoning="the best of 2",
        runner_up="gpt",
        candidates=[{"model": "claude", "score": 0.7}, {"model": "old", "left_out": "it is too dear"}],
        price={"input": "1"},
    ),
)


class Routed:
    """A model that tries two before it answers, or fails."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.calls = error, 0

    async def complete(self, request):
        self.calls += 1
        if self.error is not None:
            note_attempts(self.error, TRIED)
            raise self.error
        return replace(said("hello"), provider="anthropic", model="claude", cost_micro_usd=9, attempts=TRIED)


@pytest.mark.parametrize("error", [None, Retryable("nobody"), asyncio.CancelledError()])
async def test_every_try_behind_a_call_is_booked_however_the_call_ends(error):
    meter = Meter()
    await asyncio.gather(MeteredModel(Routed(error), meter).complete(REQUEST), return_exceptions=True)
    assert [(call.step, call.candidate, call.attempt) for call in fresh(meter.model_calls)] == [
        ("model-1", 1, TRIED[0]),
        ("model-1", 2, TRIED[1]),
    ]
    assert (meter.cost_micro_usd, meter.input_text_tokens, meter.output_text_tokens) == (12, 22, 8)
    assert meter.models == ["claude"]


async def test_the_tries_behind_a_call_come_back_whole_from_the_journal():
    journal, first, again = MemoryJournal(), Meter(), Meter()
    model = Routed()
    await MeteredModel(JournaledModel(model, journal, attempt=1), first).complete(REQUEST)
    await MeteredModel(JournaledModel(model, journal, attempt=1), again).complete(REQUEST)
    assert model.calls == 1
    assert again == first
    assert [call.attempt for call in again.model_calls] == list(TRIED)


async def metered(attempt, model, tools, journal):
    meter = Meter()
    await MeteredModel(JournaledModel(model, journal, attempt=attempt), meter).complete(REQUEST)
    await MeteredTools(JournaledTools(tools, journal, attempt=attempt), meter).call(wants("shopify.get_order", {"order_id": "7"}))
    return meter


async def test_what_an_earlier_attempt_did_stays_in_its_books():
    journal, model, tools = MemoryJournal(), Scripted("a"), Shelf(GET_ORDER)
    first = await metered(1, model, tools, journal)
    second = await metered(2, model, tools, journal)
    assert (first.cost_micro_usd, len(fresh(first.model_calls)), len(fresh(first.tool_uses))) == (7, 1, 1)
    assert (second.cost_micro_usd, fresh(second.model_calls), fresh(second.tool_uses)) == (0, [], [])
    assert (second.models, second.tools) == (["test-1"], ["shopify.get_order"])


async def test_an_interrupted_attempt_that_starts_over_keeps_its_books():
    """It never published them, so the calls it finds in the journal are booked now, under the same steps."""
    journal, model, tools = MemoryJournal(), Scripted("a"), Shelf(GET_ORDER)
    interrupted = await metered(1, model, tools, journal)
    again = await metered(1, model, tools, journal)
    assert (len(model.asked), len(tools.done)) == (1, 1)
    assert again == interrupted


async def test_a_call_refused_before_its_tool_is_no_use():
    meter = Meter()
    tools = MeteredTools(Shelf(GET_ORDER, act=lambda call: ToolResult(False, error="no", acted=False)), meter)
    await tools.call(wants("shopify.get_order", {}))
    assert (meter.tools, fresh(meter.tool_uses)) == ([], [])


async def test_an_action_in_doubt_is_no_second_use():
    journal, meter = MemoryJournal(), Meter()
    await journal.intent("tool-1", {"tool": "shopify.create_return", "arguments": {}})
    with pytest.raises(Exception, match="unknown whether"):
        await MeteredTools(JournaledTools(Shelf(CREATE_RETURN), journal), meter).call(wants("shopify.create_return", {}))
    assert fresh(meter.tool_uses) == []

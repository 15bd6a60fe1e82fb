"""The journal: what was done is not done again, and what is in doubt is never guessed."""

from __future__ import annotations

import json

import pytest

from agents.code import CodeAgent
from agents.errors import Park, Retryable
from agents.journal import Entry, JournaledModel, JournaledTools
from agents.ports import ChatRequest, ToolResult
from agents.reasoning import ReasoningAgent
from agents.sandbox import Sandbox
from tests.unit.agents.doubles import CREATE_RETURN, GET_ORDER, MemoryJournal, Scripted, Shelf, said, wants, work

REQUEST = ChatRequest("fast", ())
ASK = {"order_id": "7"}
ACT = wants("shopify.create_return", ASK)
READ = wants("shopify.get_order", ASK)


class Crash(Exception):
    """The process ends here."""


async def test_a_model_call_that_finished_is_answered_from_the_journal():
    journal, model = MemoryJournal(), Scripted(said("hello", wants("a.b", {"x": 1}), wants("a.c", None, raw="{")))
    first = await JournaledModel(model, journal).complete(REQUEST)
    again = await JournaledModel(model, journal).complete(REQUEST)
    assert len(model.asked) == 1
    assert (again.text, again.tool_calls[0].arguments, again.tool_calls[1].raw) == (first.text, {"x": 1}, "{")
    assert (again.replayed, again.cost_micro_usd) == (True, first.cost_micro_usd)


async def test_a_model_call_that_failed_is_made_again():
    journal = MemoryJournal()
    with pytest.raises(Retryable):
        await JournaledModel(Scripted(Retryable("busy")), journal).complete(REQUEST)
    assert (await JournaledModel(Scripted("now"), journal).complete(REQUEST)).text == "now"


async def test_an_action_that_finished_is_not_done_again():
    journal, tools = MemoryJournal(), Shelf(CREATE_RETURN)
    first = await JournaledTools(tools, journal).call(ACT)
    again = await JournaledTools(tools, journal).call(ACT)
    assert len(tools.done) == 1
    assert (again.data, again.replayed) == (first.data, True)


async def test_the_intent_is_durable_before_the_tool_acts_and_a_read_needs_none():
    journal = MemoryJournal()
    seen: list[Entry | None] = []
    tools = Shelf(CREATE_RETURN, GET_ORDER, act=lambda call: seen.append(journal.lookup(f"tool-{len(seen) + 1}")) or {})
    journaled = JournaledTools(tools, journal)
    await journaled.call(ACT)
    await journaled.call(READ)
    assert seen == [Entry(intent={"tool": "shopify.create_return", "arguments": ASK}), None]


async def test_an_action_with_an_intent_and_no_result_goes_to_a_person():
    journal = MemoryJournal()
    with pytest.raises(Crash):
        await JournaledTools(Shelf(CREATE_RETURN, act=lambda call: Crash()), journal).call(ACT)
    tools = Shelf(CREATE_RETURN)
    with pytest.raises(Park, match=r"unknown whether shopify.create_return acted") as parked:
        await JournaledTools(tools, journal).call(ACT)
    assert tools.done == []
    assert parked.value.details == {"in_doubt": {"tool": "shopify.create_return", "arguments": ASK}}


async def test_a_read_that_did_not_finish_is_called_again():
    journal = MemoryJournal()
    with pytest.raises(Crash):
        await JournaledTools(Shelf(GET_ORDER, act=lambda call: Crash()), journal).call(READ)
    assert (await JournaledTools(Shelf(GET_ORDER), journal).call(READ)).success


async def test_an_action_that_never_reached_its_tool_may_be_tried_again():
    journal = MemoryJournal()
    with pytest.raises(Retryable):
        await JournaledTools(Shelf(CREATE_RETURN, act=lambda call: Retryable("refused")), journal).call(ACT)
    assert (await JournaledTools(Shelf(CREATE_RETURN), journal).call(ACT)).success


async def test_a_second_intent_after_one_undone_is_in_doubt_again():
    journal = MemoryJournal()
    for failure, raised in ((Retryable("refused"), Retryable), (Crash(), Crash), (Crash(), Park)):
        with pytest.raises(raised):
            await JournaledTools(Shelf(CREATE_RETURN, act=lambda call, failure=failure: failure), journal).call(ACT)


async def test_another_call_at_the_place_of_an_action_is_not_answered_with_its_result():
    journal, tools = MemoryJournal(), Shelf(CREATE_RETURN)
    await JournaledTools(tools, journal).call(ACT)
    with pytest.raises(Park, match="something else"):
        await JournaledTools(tools, journal).call(wants("shopify.create_return", {"order_id": "8"}))
    assert len(tools.done) == 1


async def test_entries_are_json():
    journal = MemoryJournal()
    await JournaledModel(Scripted(said("x", ACT)), journal).complete(REQUEST)
    await JournaledTools(Shelf(CREATE_RETURN, act=lambda call: ToolResult(False, error="no")), journal).call(ACT)
    assert all(json.dumps([entry.intent, entry.value]) for entry in journal.entries.values())


@pytest.mark.parametrize("crash_at", range(1, 5))
async def test_a_reasoning_run_broken_at_any_step_acts_once(crash_at):
    """Two model calls around one action; the process ends before step `crash_at`, and the run starts over."""
    await acts_once(ReasoningAgent(), crash_at, [said("", READ), said("", ACT), "Your return is open."])


@pytest.mark.parametrize("crash_at", range(1, 3))
async def test_a_program_broken_at_any_step_acts_once(crash_at):
    sandbox = Sandbox(max_programs=1)
    source = 'shopify_get_order("7")\nshopify_create_return("7")\n{"response": "open"}'
    try:
        await acts_once(CodeAgent(sandbox), crash_at, [f"```python\n{source}\n```"])
    finally:
        await sandbox.close()


async def acts_once(agent, crash_at, script):
    """Crashes lie between calls here, so nothing is in doubt and the second run must finish."""
    journal, done = MemoryJournal(), []

    class Fuse:
        left = crash_at

        def burn(self):
            self.left -= 1
            if self.left == 0:
                raise Crash

    fuse = Fuse()
    replies = iter(script)

    class Model:
        async def complete(self, request):
            fuse.burn()
            reply = next(replies)
            return said(reply) if isinstance(reply, str) else reply

    class Tools(Shelf):
        async def call(self, call):
            if call.name == GET_ORDER.name:
                fuse.burn()
            done.append(call.name)
            return ToolResult(True, {"id": "7"})

    def again():
        return agent.run(
            work(), model=JournaledModel(Model(), journal), tools=JournaledTools(Tools(GET_ORDER, CREATE_RETURN), journal)
        )

    try:
        result = await again()
    except Crash:
        result = await again()
    assert "open" in result.output["response"]
    assert done.count("shopify.create_return") == 1

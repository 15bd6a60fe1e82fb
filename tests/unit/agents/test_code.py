"""The code agent."""

from __future__ import annotations

import contextlib

import pytest

from agents.code import CodeAgent
from agents.errors import Fatal, Park, Retryable
from agents.journal import JournaledPrograms
from agents.ports import ToolResult, ToolSpec
from agents.sandbox import Finished, Limits, ProgramBroke, Sandbox
from tests.unit.agents.doubles import CREATE_RETURN, GET_ORDER, MemoryJournal, Scripted, Shelf, said, work

GOOD = """1. Look the order up.
2. Open a return.

```python
order = shopify_get_order("7")
made = shopify_create_return(order_id=order["id"])
{"response": "Your return is open.", "summary": "return opened", "return": made}
```
"""


@pytest.fixture
async def agent():
    sandbox = Sandbox(limits=Limits(turn_seconds=0.5, total_seconds=1.0), max_programs=1)
    yield CodeAgent(sandbox)
    await sandbox.close()


def program(source: str) -> str:
    return f"Plan.\n```python\n{source}\n```"


async def test_it_runs_the_program_and_hands_back_what_it_returned(agent):
    tools = Shelf(GET_ORDER, CREATE_RETURN)
    result = await agent.run(work(), model=Scripted(GOOD), tools=tools)
    assert result.output["response"] == "Your return is open."
    assert result.output["summary"] == "return opened"
    assert result.output["plan"].startswith("1. Look the order up.")
    assert result.output["return"] == {"id": "7", "status": "in_transit"}
    assert tools.done == [("shopify.get_order", {"order_id": "7"}), ("shopify.create_return", {"order_id": "7"})]


async def test_the_model_sees_its_tools_as_python_stubs(agent):
    spec = ToolSpec(
        "shopify.find_orders",
        'Finds "orders".',
        {
            "type": "object",
            "properties": {
                "limit": {"type": "integer"},
                "email": {"type": "string", "description": "Whose."},
                "state": {"enum": ["a", "b"]},
            },
            "required": ["email"],
        },
    )
    model = Scripted(program('{"response": "ok"}'))
    await agent.run(work(), model=model, tools=Shelf(spec))
    system = model.asked[0].messages[0].content
    assert "def shopify_find_orders(email: str, limit: int = None, state: object = None) -> dict:" in system
    assert "email: Whose." in system
    assert "state: One of ['a', 'b']." in system


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("I would look the order up.", "no ```python block"),
        (program("1 / 0"), "ZeroDivisionError"),
        (program("def f(:"), "Mend it"),
        (program("import socket"), "No module named 'socket'"),
        (program("result = {'response': 'x'}"), "last expression must be a dict"),
        (program("{'summary': 'x'}"), 'no text under "response"'),
        (program("{'response': 'x', 'n': float('nan')}"), "not a JSON number"),
        (program("{'response': 'x', 'n': 10 ** 5000}"), "beyond 64 bits"),
        (program("x = []\nfor _ in range(50000): x = [x]\n{'response': 'x', 'deep': x}"), "nested deeper"),
        (program("shopify_get_order()"), "misses 'order_id'"),
        (program("shopify_get_order('1', '2')"), "takes 1 positional"),
        (program("gmail_send_email('me')"), "'gmail_send_email' is not defined"),
        (program("while True: pass"), "TimeoutError"),
        ("", "You answered nothing"),
    ],
)
async def test_what_went_wrong_goes_back_to_the_model_which_tries_again(agent, first, told):
    model = Scripted(first, program('{"response": "Done.", "summary": "s"}'))
    result = await agent.run(work(), model=model, tools=Shelf(GET_ORDER))
    assert told in model.asked[1].messages[-1].content
    assert result.output["response"] == "Done."


async def test_a_program_can_catch_a_failing_tool(agent):
    source = """
try:
    shopify_get_order("9")
except Exception as error:
    answer = f"Sorry: {error}"
{"response": answer, "summary": "not found"}
"""
    tools = Shelf(GET_ORDER, act=lambda call: ToolResult(False, error="order 9 not found"))
    result = await agent.run(work(), model=Scripted(program(source)), tools=tools)
    assert result.output["response"] == "Sorry: order 9 not found"


async def test_what_a_failed_program_already_did_is_not_done_again(agent):
    """The first program opened the return and then failed; the second asks for the same return."""
    first = program('shopify_create_return("7")\n1 / 0')
    second = program('made = shopify_create_return(order_id="7")\n{"response": made["status"], "summary": "s"}')
    model, tools = Scripted(first, second), Shelf(CREATE_RETURN)
    result = await agent.run(work(), model=model, tools=tools)
    assert tools.done == [("shopify.create_return", {"order_id": "7"})]
    assert "already taken effect" in model.asked[1].messages[-1].content
    assert result.output["response"] == "in_transit"


async def test_the_same_action_twice_in_one_program_is_done_twice(agent):
    source = 'shopify_create_return("7")\nshopify_create_return("7")\n{"response": "ok"}'
    tools = Shelf(CREATE_RETURN)
    await agent.run(work(), model=Scripted(program(source)), tools=tools)
    assert len(tools.done) == 2


async def test_tries_are_bounded_and_the_end_is_fatal(agent):
    model = Scripted(*[program("1 / 0")] * 3)
    with pytest.raises(Fatal, match=r"node n: no program worked in 3 tries.*ZeroDivisionError"):
        await agent.run(work(max_retries=2), model=model, tools=Shelf())


@pytest.mark.parametrize("failure", [Park("unknown whether it acted"), Retryable("not reached")])
async def test_a_program_cannot_swallow_what_concerns_a_person_or_the_runtime(agent, failure):
    source = 'try:\n    shopify_create_return("7")\nexcept Exception:\n    pass\n{"response": "fine"}'
    with pytest.raises(type(failure)):
        await agent.run(work(), model=Scripted(program(source)), tools=Shelf(CREATE_RETURN, act=lambda call: failure))


async def test_a_refusal_is_fatal(agent):
    with pytest.raises(Fatal, match="refused"):
        await agent.run(work(), model=Scripted(said("No.", finish="refusal")), tools=Shelf())


async def test_the_output_schema_binds_the_programs_result(agent):
    schema = {"type": "object", "required": ["response", "store_credit"]}
    model = Scripted(program('{"response": "x"}'), program('{"response": "x", "store_credit": True}'))
    result = await agent.run(work(output_schema=schema), model=model, tools=Shelf())
    assert "'store_credit' is a required property" in model.asked[1].messages[-1].content
    assert result.output["store_credit"] is True


class Breaking:
    """A sandbox that notes what it ran, and whose every program breaks, or ends its worker, but for one that is just text."""

    def __init__(self, *, with_us: bool = False):
        self.ran: list[str] = []
        self._with_us = with_us

    async def run(self, source, **_):
        self.ran.append(source)
        if source.startswith("{"):
            return Finished({"response": "simple"}, "")
        if self._with_us:
            raise WorkerEnded
        raise ProgramBroke("it took too long and was killed")


class WorkerEnded(BaseException):
    pass


class Dying(JournaledPrograms):
    """The journal of a worker that dies with its program: nobody notes the end."""

    async def end(self, source, *, broke=None): ...


BOMB, SIMPLE = program("bomb()"), program('{"response": "simple"}')


async def test_a_program_that_broke_is_not_run_again_and_the_model_is_told():
    journal, first, second = MemoryJournal(), Breaking(), Breaking()
    for sandbox in (first, second):
        model = Scripted(BOMB, SIMPLE)
        result = await CodeAgent(sandbox).run(work(programs=JournaledPrograms(journal)), model=model, tools=Shelf())
        assert result.output["response"] == "simple"
        assert "not run again: it took too long and was killed" in model.asked[-1].messages[-1].content
    assert first.ran == ["bomb()", '{"response": "simple"}']
    assert second.ran == ['{"response": "simple"}']


async def test_a_program_that_ends_its_worker_cannot_end_every_worker_in_turn():
    journal, ran = MemoryJournal(), []
    for _ in range(4):
        sandbox = Breaking(with_us=True)
        with contextlib.suppress(WorkerEnded):
            await CodeAgent(sandbox).run(work(programs=Dying(journal)), model=Scripted(BOMB, SIMPLE), tools=Shelf())
        ran += sandbox.ran
    assert ran.count("bomb()") == 2


async def test_a_program_cut_off_by_what_it_called_may_run_again(agent):
    """A tool that asks for a retry is no fault of the program."""
    journal, runs = MemoryJournal(), 0

    def act(call):
        nonlocal runs
        runs += 1
        raise Retryable("later")

    for _ in range(4):
        with pytest.raises(Retryable, match="later"):
            await agent.run(work(programs=JournaledPrograms(journal)), model=Scripted(GOOD), tools=Shelf(GET_ORDER, act=act))
    assert runs == 4

"""The node worker: one task in, one completion out, and nothing done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from agents.errors import Fatal, Park, Retryable
from agents.ports import (
    AgentResult,
    ChatModel,
    ChatReply,
    ChatRequest,
    ModelAttempt,
    ToolCall,
    ToolResult,
    Tools,
    ToolSpec,
    Usage,
    Work,
)
from schemas.events import ActionUsed, ModelCalled, NodeBegun, NodeCompleted, NodeTask, Outcome
from schemas.workflow.definition import WorkflowDefinition
from streams.definitions import Definitions, published
from streams.journal import RESULT_BYTES, Execution, ExecutionCodec
from streams.nodes import KEEP_FINISHED_MS, MAX_COMPLETION_BYTES, Nodes
from streams.runtime import Fenced, Outgoing, SetAside, TooLarge, Undecodable
from tests.support.steps import FakeStep, FakeView, record_of

BUY = ToolCall("1", "shop.buy", {"n": 1})
LOOK = ToolCall("2", "shop.get", {"n": 1})
Behaviour = Callable[[Work, ChatModel, Tools], Awaitable[AgentResult]]


class Shop:
    """Tools that count what was done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def specs(self) -> Sequence[ToolSpec]:
        return [ToolSpec("shop.buy", "", {}), ToolSpec("shop.get", "", {}, idempotent=True)]

    async def call(self, call: ToolCall) -> ToolResult:
        self.done.append(call.name)
        return ToolResult(True, data={"n": len(self.done)})


class Model:
    def __init__(self) -> None:
        self.calls = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.calls += 1
        return ChatReply("hello", (), "local", "m", 10, 5, 0, 100, 7)


class NoMemory:
    async def history(self, conversation_id: str, *, before: int, limit: int) -> list[Any]:
        return []

    async def knowledge(self, query: str, *, top_k: int) -> list[Any]:
        return []


class Workshop:
    def __init__(self, behaviour: Behaviour) -> None:
        self.memory, self.shop, self.chat, self.behaviour = NoMemory(), Shop(), Model(), behaviour

    def agent(self, name: str) -> Workshop:
        return self

    async def run(self, work: Work, *, model: ChatModel, tools: Tools) -> AgentResult:
        return await self.behaviour(work, model, tools)

    def timeout_seconds(self, name: str) -> float:
        return 30

    def model(self, workflow: Any, node: Any, task: Any) -> Model:
        return self.chat

    async def tools(self, workflow: Any, node: Any, task: Any) -> Shop:
        return self.shop


def definitions(**node: Any) -> Definitions:
    definition = WorkflowDefinition.model_validate(
        {
            "name": "w",
            "version": "1.0.0",
            "workflow": {"nodes": [{"id": "n", "agent": "a", "prompt_template": "say {{ text }}", **node}], "edges": []},
        }
    )
    known = Definitions()
    known.add(published(definition, "", {"a": "simple"}, at_ms=0))
    return known


def task(known: Definitions, *, attempt: int = 1, **fields: Any) -> NodeTask:
    [workflow] = known.list()
    return NodeTask(
        id=f"e-{attempt}",
        time_ms=1_000,
        conversation_id="c1",
        run_id="r1",
        node_id="n",
        execution_id="e",
        attempt=attempt,
        epoch=0,
        agent="a",
        workflow="w@1.0.0",
        digest=workflow.published.digest,
        ordinal=1,
        input={"text": "hi"},
        context={},
        outputs={},
        **fields,
    )


async def work(behaviour: Behaviour, step: FakeStep, *, known: Definitions | None = None, **fields: Any) -> Workshop:
    known, workshop = known or definitions(), Workshop(behaviour)
    clock = iter(range(2_000, 9_000))
    await Nodes(known, workshop, clock_ms=lambda: next(clock)).handle(record_of(task(known, **fields)), step)
    return workshop


async def buys_and_says(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
    await model.complete(ChatRequest("fast", ()))
    await tools.call(BUY)
    reply = await model.complete(ChatRequest("fast", ()))
    return AgentResult({"response": reply.text})


async def says_nothing(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
    return AgentResult(None)


async def test_a_task_ends_in_one_completion_and_an_event_for_each_call():
    step = FakeStep()
    await work(buys_and_says, step)
    [completion] = step.events(NodeCompleted)
    assert (completion.outcome, completion.output, completion.attempt) == (Outcome.OK, {"response": "hello"}, 1)
    assert (completion.cost_micro_usd, completion.tools, completion.models) == (200, ["shop.buy"], ["m"])
    assert [event.model for event in step.events(ModelCalled)] == ["m", "m"]
    assert [(event.app, event.action, event.success) for event in step.events(ActionUsed)] == [("shop", "buy", True)]
    assert isinstance(step.events()[-1], NodeCompleted), "who reads the completion may rely on the events before it"


def tried(*outcomes: str) -> tuple[ModelAttempt, ...]:
    """One try after the other; each costs 10 micro-dollars and has 3 text tokens of input and 2 of output."""
    return tuple(
        ModelAttempt(
            "p", f"m{at}", outcome, usage=Usage(3, 0, 0, 2), cost_micro_usd=10, candidates=({"model": "m1", "score": 1},)
        )
        for at, outcome in enumerate(outcomes, 1)
    )


class Routed:
    """A chat model that tries two models a call, and fails with both in the third call."""

    def __init__(self) -> None:
        self.calls = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.calls += 1
        if self.calls == 3:
            failure = Retryable("nobody answers")
            failure.attempts = tried("http_500", "http_529")
            raise failure
        return ChatReply("hello", (), "p", "m2", 3, 2, 0, 10, 7, attempts=tried("http_500", "ok"))


async def test_every_try_at_a_model_is_an_event_and_their_sum_is_the_nodes_cost():
    """Failed tries too, and those of a call that failed as a whole."""
    step, known = FakeStep(), definitions()

    async def asks_three_times(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        for _ in range(3):
            await model.complete(ChatRequest("fast", ()))
        return AgentResult(None)

    workshop = Workshop(asks_three_times)
    workshop.chat = Routed()  # type: ignore[assignment]
    nodes = Nodes(known, workshop, clock_ms=lambda: 2_000)
    await nodes.handle(record_of(task(known)), step)
    called, [completion] = step.events(ModelCalled), step.events(NodeCompleted)
    assert [(each.step, each.candidate, each.outcome) for each in called] == [
        ("model-1", 1, "http_500"),
        ("model-1", 2, "ok"),
        ("model-2", 1, "http_500"),
        ("model-2", 2, "ok"),
        ("model-3", 1, "http_500"),
        ("model-3", 2, "http_529"),
    ]
    assert len({each.id for each in called}) == 6
    assert sum(each.cost_micro_usd for each in called) == completion.cost_micro_usd == 60
    assert sum(each.input_text_tokens for each in called) == completion.input_text_tokens == 18
    assert sum(each.output_text_tokens for each in called) == completion.output_text_tokens == 12
    assert called[0].candidates == [{"model": "m1", "score": 1}]
    assert isinstance(step.events()[-1], NodeCompleted)
    step.outs = []
    await nodes.handle(record_of(task(known, attempt=2)), step)
    again = step.events(ModelCalled)
    assert [(each.step, each.outcome) for each in again] == [("model-3", "http_500"), ("model-3", "ok")]
    assert {each.id for each in again}.isdisjoint({each.id for each in called})


class Lossy(FakeStep):
    """A worker that dies after its journal was written and before what it told has left the process."""

    def tell(self, out: Outgoing) -> None: ...


async def dies_in_its_second_call(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
    """The tool between the calls makes the journal durable."""
    await model.complete(ChatRequest("fast", ()))
    await tools.call(BUY)
    raise asyncio.CancelledError


@pytest.mark.parametrize("kind", [FakeStep, Lossy], ids=["told before the crash", "not told before the crash"])
async def test_a_journalled_call_is_in_the_log_once_by_its_id_whenever_the_worker_dies(kind: type[FakeStep]):
    known, workshop, died = definitions(), Workshop(dies_in_its_second_call), kind()
    clock = iter(range(2_000, 9_000))
    nodes = Nodes(known, workshop, clock_ms=lambda: next(clock))
    with pytest.raises(asyncio.CancelledError):
        await nodes.handle(record_of(task(known)), died)
    workshop.behaviour, again = buys_and_says, FakeStep(died.states)
    await nodes.handle(record_of(task(known)), again)
    told_before = [*died.events(ModelCalled, ActionUsed)]
    told_again = again.events(ModelCalled, ActionUsed)
    assert [event.id for event in told_again][: len(told_before)] == [event.id for event in told_before]
    [completion] = again.events(NodeCompleted)
    assert workshop.chat.calls == 2
    calls = {event.id: event.cost_micro_usd for event in [*told_before, *told_again] if isinstance(event, ModelCalled)}
    assert sum(calls.values()) == completion.cost_micro_usd == 200


async def test_a_call_that_was_told_and_not_journalled_and_is_made_again_is_two_events():
    """Both were paid."""
    step, known = FakeStep(), definitions()

    async def dies(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        await model.complete(ChatRequest("fast", ()))
        raise asyncio.CancelledError

    workshop, clock = Workshop(dies), iter(range(2_000, 9_000))
    nodes = Nodes(known, workshop, clock_ms=lambda: next(clock))
    with pytest.raises(asyncio.CancelledError):
        await nodes.handle(record_of(task(known)), step)

    async def says(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        return AgentResult((await model.complete(ChatRequest("fast", ()))).text)

    workshop.behaviour = says
    await nodes.handle(record_of(task(known)), step)
    assert workshop.chat.calls == 2
    assert len({event.id for event in step.events(ModelCalled)}) == 2


async def test_a_completion_waits_until_what_was_spent_is_durable():
    durable = asyncio.Event()

    class Slow(FakeStep):
        async def told(self) -> None:
            await durable.wait()

    step = Slow()
    working = asyncio.ensure_future(work(buys_and_says, step))
    for _ in range(50):
        await asyncio.sleep(0)
    assert {type(event) for event in step.events()} == {ModelCalled, ActionUsed}
    durable.set()
    await working
    assert isinstance(step.events()[-1], NodeCompleted)


async def test_a_try_is_told_the_moment_it_has_ended():
    """A fallback may take minutes, and a worker may die in them."""
    step, known = FakeStep(), definitions()
    told: list[list[str]] = []

    class Falling:
        async def complete(self, request: ChatRequest) -> ChatReply:
            tries = tried("http_500", "ok")
            assert request.on_attempt is not None
            for each in tries:
                request.on_attempt(each)
                told.append([event.outcome for event in step.events(ModelCalled)])
            return ChatReply("hello", (), "p", "m2", 3, 2, 0, 10, 7, attempts=tries)

    async def asks(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        return AgentResult((await model.complete(ChatRequest("fast", ()))).text)

    workshop = Workshop(asks)
    workshop.chat = Falling()  # type: ignore[assignment]
    await Nodes(known, workshop, clock_ms=lambda: 2_000).handle(record_of(task(known)), step)
    assert told == [["http_500"], ["http_500", "ok"]]
    assert [(event.candidate, event.outcome) for event in step.events(ModelCalled)] == [(1, "http_500"), (2, "ok")]


async def test_an_event_that_cannot_be_written_keeps_the_completion_back():
    """Of a cost that is in no log, nobody may hear that the node is done."""

    class Refusing(FakeStep):
        def tell(self, out: Outgoing) -> None:
            raise TooLarge("too large")

    step = Refusing()
    with pytest.raises(TooLarge):
        await work(buys_and_says, step)
    assert step.events(NodeCompleted) == []


async def test_a_repeated_task_is_answered_from_the_journal():
    step = FakeStep()
    await work(buys_and_says, step)
    first, step.outs = step.outs[-1], []
    repeat = await work(buys_and_says, step)
    assert step.outs == [first]
    assert (repeat.shop.done, repeat.chat.calls) == ([], 0)


@pytest.mark.parametrize(("behaviour", "ahead"), [(buys_and_says, True), (says_nothing, False)])
async def test_the_end_of_an_execution_that_was_paid_for_waits_for_no_other_task(behaviour: Behaviour, ahead: bool):
    step = FakeStep()
    await work(behaviour, step)
    assert step.gone_ahead == ahead


async def test_an_intent_is_durable_before_the_tool_acts():
    step = FakeStep()

    async def looks(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        await tools.call(BUY)
        return AgentResult(None)

    await work(looks, step)
    intents = [state.entries["tool-1"] for _, state in step.journalled]
    assert intents[0].intent is not None
    assert intents[0].value is None
    assert intents[1].value is not None


async def test_a_fenced_worker_neither_acts_nor_decides_and_says_what_it_has_paid():
    step = FakeStep(fenced=True)
    workshop = Workshop(buys_and_says)
    known = definitions()
    with pytest.raises(Fenced):
        await Nodes(known, workshop, clock_ms=lambda: 2_000).handle(record_of(task(known)), step)
    assert workshop.shop.done == []
    assert [type(event) for event in step.events()] == [ModelCalled]


async def test_a_fenced_worker_publishes_nothing_even_if_the_agent_swallows_the_refusal():
    step = FakeStep(fenced=True)

    async def careless(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        try:
            await tools.call(BUY)
        except Exception:  # noqa: BLE001  as a careless agent would
            return AgentResult("bought")
        return AgentResult("bought")

    with pytest.raises(Fenced):
        await work(careless, step)
    assert step.outs == []


async def test_an_action_in_doubt_is_parked_and_not_repeated():
    """The worker died between the intent and the result."""
    step = FakeStep()

    async def dies(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        raise asyncio.CancelledError

    class Dying(Shop):
        async def call(self, call: ToolCall) -> ToolResult:
            self.done.append(call.name)
            raise asyncio.CancelledError

    known, workshop = definitions(), Workshop(buys_and_says)
    workshop.shop = Dying()
    with pytest.raises(asyncio.CancelledError):
        await Nodes(known, workshop, clock_ms=lambda: 2_000).handle(record_of(task(known)), step)
    repeat = await work(buys_and_says, step)
    [completion] = step.events(NodeCompleted)
    assert (completion.outcome, repeat.shop.done) == (Outcome.PARK, [])
    assert "shop.buy" in (completion.error or "")


async def test_a_read_in_doubt_is_simply_asked_again():
    step = FakeStep({"e": Execution()})

    async def looks(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        result = await tools.call(LOOK)
        return AgentResult(result.data)

    await work(looks, step)
    assert [event.outcome for event in step.events(NodeCompleted)] == [Outcome.OK]


async def test_the_next_attempt_goes_on_where_the_last_one_failed():
    step = FakeStep()

    async def fails_late(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        await tools.call(BUY)
        raise Retryable("the model is busy", retry_after_seconds=7)

    await work(fails_late, step)
    [completion] = step.events(NodeCompleted)
    assert (completion.outcome, completion.retry_after_ms) == (Outcome.RETRYABLE, 7_000)

    async def succeeds(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        return AgentResult((await tools.call(BUY)).data)

    second = await work(succeeds, step, attempt=2)
    assert second.shop.done == [], "what the first attempt bought is not bought again"
    assert step.events(NodeCompleted)[-1].output == {"n": 1}


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (Retryable("later"), Outcome.RETRYABLE),
        (Park("ask somebody"), Outcome.PARK),
        (Fatal("never"), Outcome.FATAL),
        (ValueError("a defect"), Outcome.FATAL),
    ],
)
async def test_every_failure_is_a_completion_in_words(failure: Exception, outcome: Outcome):
    step = FakeStep()

    async def fails(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        raise failure

    await work(fails, step)
    [completion] = step.events(NodeCompleted)
    assert completion.outcome is outcome
    assert str(failure) in (completion.error or "")


async def test_an_agent_that_takes_too_long_may_try_again():
    step = FakeStep()

    async def hangs(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        await asyncio.Event().wait()
        raise AssertionError

    await work(hangs, step, known=definitions(timeout_seconds=0.01))
    [completion] = step.events(NodeCompleted)
    assert completion.outcome is Outcome.RETRYABLE
    assert "timeout_seconds" in (completion.error or "")


@pytest.mark.parametrize("output", ["x" * MAX_COMPLETION_BYTES, object(), [[]] * 1], ids=["too large", "no JSON", "fine"])
async def test_an_output_that_cannot_be_written_fails_the_node(output: Any):
    step = FakeStep()

    async def answers(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        return AgentResult(output)

    await work(answers, step)
    [completion] = step.events(NodeCompleted)
    assert (completion.outcome is Outcome.OK) == isinstance(output, list)


async def test_a_task_whose_definition_is_not_known_lets_others_pass_and_then_fails_its_node():
    known, step = definitions(), FakeStep()
    asked = record_of(task(known).model_copy(update={"digest": "unknown"}))
    known.look = nothing_new
    nodes = Nodes(known, Workshop(buys_and_says), clock_ms=lambda: 2_000)
    with pytest.raises(SetAside) as aside:
        await nodes.handle(asked, step)
    assert await aside.value.until() is None
    assert step.outs == []
    step.waited = True
    await nodes.handle(asked, step)
    [completion] = step.events(NodeCompleted)
    assert (completion.outcome, "not published" in (completion.error or "")) == (Outcome.FATAL, True)


async def nothing_new() -> None: ...


async def test_a_task_for_a_node_that_its_definition_does_not_have_fails_in_words():
    known, step = definitions(), FakeStep()
    asked = record_of(task(known).model_copy(update={"node_id": "ghost"}))
    await Nodes(known, Workshop(buys_and_says), clock_ms=lambda: 2_000).handle(asked, step)
    [completion] = step.events(NodeCompleted)
    assert completion.outcome is Outcome.FATAL
    assert completion.error == "the workflow w@1.0.0 has no node 'ghost': whoever wrote this task meant another version"
    assert completion.fault == "preparation", "it says nothing about the agent"


async def test_an_event_that_is_no_task_is_refused():
    known = definitions()
    alien = record_of(
        NodeCompleted(
            id="x",
            time_ms=0,
            conversation_id="c",
            run_id="r",
            node_id="n",
            execution_id="e",
            attempt=1,
            epoch=0,
            outcome=Outcome.OK,
        )
    )
    with pytest.raises(Undecodable):
        await Nodes(known, Workshop(buys_and_says), clock_ms=lambda: 0).handle(alien, FakeStep())


async def test_finished_executions_are_forgotten_after_a_while():
    known, states, now = definitions(), {}, [100]
    old = Execution(finished_attempt=1, finished_ms=5, completion=(b"x", ()))
    states["old"] = old
    nodes = Nodes(known, Workshop(buys_and_says), clock_ms=lambda: now[0])
    nodes.opened(FakeView(states))
    now[0] = KEEP_FINISHED_MS + 101
    await nodes.handle(record_of(task(known)), FakeStep(states))
    assert sorted(states) == ["e"]
    nodes.closed(0)


async def test_what_was_finished_before_an_outage_of_a_day_still_answers_its_task_after_it():
    """It went ahead of a slower one, so its own task comes again. Forgotten, it would act once more."""
    known, states = definitions(), {}
    first = FakeStep(states)
    nodes = Nodes(known, Workshop(buys_and_says), clock_ms=lambda: 2_000)
    await nodes.handle(record_of(task(known)), first)
    later = Nodes(known, Workshop(buys_and_says), clock_ms=lambda: 2_000 + 24 * KEEP_FINISHED_MS)
    later.opened(FakeView(states))
    await later.handle(record_of(task(known).model_copy(update={"execution_id": "slower"})), FakeStep(states))
    again = FakeStep(states)
    await later.handle(record_of(task(known)), again)
    assert again.events() == first.events(NodeCompleted), "nothing was asked and nothing was done"
    later.closed(0)


async def test_a_worker_says_when_it_takes_up_what_has_a_time_limit_and_nothing_otherwise():
    known, asked = definitions(), task(definitions())
    for announce in (False, True):
        step = FakeStep()
        nodes = Nodes(known, Workshop(buys_and_says), clock_ms=lambda: asked.time_ms + 3_600_000)
        await nodes.handle(record_of(asked.model_copy(update={"announce": announce})), step)
        begun = [event for event in step.events() if isinstance(event, NodeBegun)]
        assert [(event.attempt, event.waited_ms) for event in begun] == ([(1, 3_600_000)] if announce else [])
    assert isinstance(step.events()[0], NodeBegun), "before anything else"


def test_executions_survive_the_changelog():
    codec = ExecutionCodec()
    step = FakeStep()
    asyncio.run(work(buys_and_says, step))
    state = step.states["e"]
    assert codec.decode(codec.encode(state)) == state
    [(_, journalled), *_] = step.journalled
    assert codec.decode(codec.encode(journalled)).entries.keys() == journalled.entries.keys()


async def test_a_later_attempt_hears_how_an_earlier_one_ended_after_all():
    """The earlier one was not heard of in time, so the conversation asked again; meanwhile it ended. Nothing is done twice."""
    step = FakeStep()
    first = await work(buys_and_says, step)
    second = await work(buys_and_says, step, attempt=2)
    assert (first.shop.done, second.shop.done, second.chat.calls) == (["shop.buy"], [], 0)
    endings = step.events(NodeCompleted)
    assert [(ending.attempt, ending.outcome, ending.output) for ending in endings] == [
        (1, Outcome.OK, {"response": "hello"}),
        (2, Outcome.OK, {"response": "hello"}),
    ]
    assert endings[0].id != endings[1].id


async def test_while_a_later_attempt_is_at_work_an_earlier_task_is_still_answered_from_the_journal():
    step = FakeStep()

    async def fails_late(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        await tools.call(BUY)
        raise Retryable("busy")

    await work(fails_late, step)
    known = definitions()
    began = asyncio.Event()

    async def hangs(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        await tools.call(BUY)
        await tools.call(ToolCall("3", "shop.buy", {"n": 2}))
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    second = asyncio.ensure_future(work(hangs, step, known=known, attempt=2))
    await began.wait()
    repeat = await work(fails_late, step)
    assert repeat.shop.done == []
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def takes_much(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
    for _ in range(100):
        await tools.call(BUY)
    return AgentResult("done")


async def test_a_journal_that_grows_too_large_fails_its_node_in_words_before_the_next_action():
    """Every action that was begun has its result in the journal, and the completion is durable."""
    step = FakeStep(most=RESULT_BYTES + 2_000)
    workshop = await work(takes_much, step)
    [completion] = step.events(NodeCompleted)
    assert completion.outcome is Outcome.FATAL
    assert "its journal is too large" in completion.error
    assert "bytes" in completion.error
    journalled = step.journalled[-1][1].entries
    assert 1 < len(workshop.shop.done) == sum(entry.value is not None for entry in journalled.values())
    assert step.states["e"].completion is not None


async def test_an_execution_with_no_room_for_its_steps_still_answers_a_repeat():
    step = FakeStep(most=RESULT_BYTES)
    await work(buys_and_says, step)
    [completion] = step.events(NodeCompleted)
    assert completion.outcome is Outcome.FATAL
    first, step.outs = step.outs[-1], []
    repeat = await work(buys_and_says, step)
    assert step.outs == [first]
    assert repeat.shop.done == []


async def test_a_program_is_in_the_journal_before_it_runs_and_one_that_broke_stays_refused():
    """Else a program that ends its worker would end the next one too."""
    step, told = FakeStep(), []

    async def dies(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        assert work.programs is not None
        told.append(await work.programs.begin("bomb()"))
        raise asyncio.CancelledError

    async def breaks(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        assert work.programs is not None
        await work.programs.begin("slow()")
        await work.programs.end("slow()", broke="it took too long")
        raise asyncio.CancelledError

    async def asks(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        assert work.programs is not None
        told.extend(
            [await work.programs.begin("bomb()"), await work.programs.begin("slow()"), await work.programs.begin("new()")]
        )
        return AgentResult(None)

    for behaviour in (dies, dies, breaks):
        with pytest.raises(asyncio.CancelledError):
            await work(behaviour, step)
    await work(asks, step)
    assert told == [None, None, "the worker that ran it ended, 2 times", "it took too long", None]

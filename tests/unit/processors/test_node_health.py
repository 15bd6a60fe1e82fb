"""Who works on a task whose agent is unhealthy, what the books say of it, and whose failures are whose."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.errors import Fatal, Retryable
from agents.ports import AgentResult, ChatModel, ChatRequest, Tools, Work
from agents.registry import AgentMetadata, Collaborators, Registration, Registry
from agents.router.budget import OverBudget
from agents.simple import SimpleAgent
from schemas.base import Event
from schemas.events import MessageReceived, ModelCalled, NodeCompleted, NodeFinished, NodeTask, Outcome
from schemas.ids import derive
from streams.core.reducer import decide
from streams.definitions import Definitions
from streams.journal import Execution, ExecutionCodec
from streams.nodes import Nodes
from tests.support.steps import FakeStep, record_of
from tests.unit.processors.test_nodes import LOOK, Behaviour, Workshop, definitions, task


def registry(*unhealthy: str) -> Registry:
    """Agents `a`, which the task asks for, and `b` of another type, which can do the same."""

    def factory(_: Collaborators) -> SimpleAgent:
        return SimpleAgent()

    made = Registry(
        Registration(AgentMetadata(name, type_, "", frozenset({"memory"})), factory)
        for name, type_ in (("a", "simple"), ("b", "reasoning"))
    )
    for name in unhealthy:
        made.note_health(name, is_healthy=False, error_rate=0.5, checked_ms=1)
    return made


class Named(Workshop):
    """Knows who was asked to work."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(behaviour)
        self.worked: list[str] = []

    def agent(self, name: str) -> Workshop:
        self.worked.append(name)
        return self


async def says(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
    reply = await model.complete(ChatRequest("fast", ()))
    return AgentResult({"response": reply.text})


async def run(
    known: Definitions, agents: Registry | None, step: FakeStep, behaviour: Behaviour = says, *, attempt: int = 1
) -> tuple[list[str], NodeCompleted]:
    """Who worked, and how it ended."""
    workshop = Named(behaviour)
    given: NodeTask = task(known, attempt=attempt)
    await Nodes(known, workshop, clock_ms=lambda: 2_000, registry=agents).handle(record_of(given), step)
    completion: NodeCompleted = step.events(NodeCompleted)[-1]
    return workshop.worked, completion


async def test_another_agent_works_while_the_one_asked_for_is_unhealthy_and_the_books_name_it():
    step = FakeStep()
    worked, completion = await run(definitions(), registry("a"), step)
    assert worked == ["b"]
    assert (completion.outcome, completion.agent, completion.agent_type) == (Outcome.OK, "b", "reasoning")
    assert [call.agent for call in step.events(ModelCalled)] == ["b"]


@pytest.mark.parametrize("agents", [None, registry(), registry("b")], ids=["no registry", "all well", "another is ill"])
async def test_a_healthy_agent_does_its_own_work_and_its_completion_says_nothing_new(agents: Registry | None):
    worked, completion = await run(definitions(), agents, FakeStep())
    assert (worked, completion.agent, completion.agent_type, completion.fault) == (["a"], "", "", "")


async def test_when_nobody_is_healthy_the_node_fails_in_words_and_nobody_is_asked():
    step = FakeStep()
    worked, completion = await run(definitions(), registry("a", "b"), step)
    assert (worked, completion.outcome, completion.fault, completion.agent) == ([], Outcome.FATAL, "agents", "")
    assert "agent a is unhealthy: 50% of its executions" in (completion.error or "")
    assert step.events(ModelCalled) == []


async def test_who_began_an_execution_ends_it_for_nobody_else_can_read_its_journal():
    """A replacement fails after it acted; by the next attempt the agent that was asked for is healthy again, and yet."""

    async def looks_and_fails(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        await tools.call(LOOK)
        raise Retryable("later")

    known, step = definitions(), FakeStep()
    worked, first = await run(known, registry("a"), step, looks_and_fails)
    assert (worked, first.agent, first.outcome) == (["b"], "b", Outcome.RETRYABLE)
    step.states["e"] = ExecutionCodec().decode(ExecutionCodec().encode(step.states["e"]))
    worked, second = await run(known, registry(), step, attempt=2)
    assert (worked, second.agent) == (["b"], "b")


async def test_an_execution_that_an_agent_began_healthy_stays_with_it():
    async def looks_and_fails(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        await tools.call(LOOK)
        raise Retryable("later")

    known, step = definitions(), FakeStep()
    await run(known, registry(), step, looks_and_fails)
    assert (await run(known, registry("a"), step, attempt=2))[0] == ["a"]


async def test_an_attempt_that_left_nothing_behind_may_go_to_somebody_else():
    async def fails(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        raise Retryable("later")

    known, step = definitions(), FakeStep()
    assert (await run(known, registry("a"), step, fails))[0] == ["b"]
    assert (await run(known, registry(), step, attempt=2))[0] == ["a"]


def test_states_of_before_are_read():
    old = msgspec.msgpack.encode([{}, 1, 2_000, None, 7])
    assert ExecutionCodec().decode(old) == Execution({}, 1, 2_000, None, 7)


def raising(failure: BaseException) -> Behaviour:
    async def fail(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        raise failure

    return fail


def marked(failure: Fatal, fault: str) -> Fatal:
    failure.fault = fault
    return failure


@pytest.mark.parametrize(
    ("failure", "fault"),
    [
        (Fatal("the answer does not fit the schema"), ""),
        (ValueError("a defect"), ""),
        (OverBudget("too dear", "workflow w"), "budget"),
        (OverBudget("too dear", "workflow w", held=True), "budget"),
        (marked(Fatal("nobody answered"), "models"), "models"),
    ],
)
async def test_a_failure_says_whether_it_speaks_of_the_agent(failure: BaseException, fault: str):
    _, completion = await run(definitions(), None, FakeStep(), raising(failure))
    assert completion.fault == fault


async def test_what_fails_before_the_agent_begins_is_not_its_fault():
    _, completion = await run(definitions(prompt_template="{{ nothing_of_the_kind }}"), None, FakeStep())
    assert (completion.outcome, completion.fault) == (Outcome.FATAL, "preparation")


def finished(completion: NodeCompleted, known: Definitions) -> NodeFinished:
    """What the reducer makes of a completion of this task."""
    [workflow] = known.list()
    published = workflow.published
    message = MessageReceived(
        id=derive("c1", "m"),
        time_ms=1_000,
        conversation_id="c1",
        message_id="m",
        text="hi",
        workflow=published.name,
        version=published.version,
        digest=published.digest,
    )
    asked = decide(None, message, known.graphs)
    [given] = [output for output in asked.outputs if isinstance(output, NodeTask)]
    of_it: dict[str, Any] = {name: getattr(given, name) for name in ("run_id", "execution_id", "attempt", "epoch", "node_id")}
    mine = completion.model_copy(update={**of_it, "id": derive(given.execution_id, 1, "completed")})
    outputs: list[Event] = list(decide(asked.conversation, mine, known.graphs).outputs)
    [found] = [output for output in outputs if isinstance(output, NodeFinished)]
    return found


async def test_the_audit_names_who_worked_and_what_a_failure_speaks_of():
    known = definitions(retry={"max_attempts": 1})
    by_another = finished((await run(known, registry("a"), FakeStep()))[1], known)
    assert (by_another.agent, by_another.agent_type, by_another.fault) == ("b", "reasoning", "")
    by_itself = finished((await run(known, registry(), FakeStep()))[1], known)
    assert (by_itself.agent, by_itself.agent_type) == ("a", "simple")
    by_nobody = finished((await run(known, registry("a", "b"), FakeStep()))[1], known)
    assert (by_nobody.agent, by_nobody.status.value, by_nobody.fault) == ("a", "failed", "agents")


@pytest.mark.parametrize(("most", "outcome"), [(None, Outcome.OK), (2, Outcome.OK), (1, Outcome.FATAL)])
async def test_a_node_with_more_tools_than_its_agent_can_do_with_fails_before_the_agent_begins(
    most: int | None, outcome: Outcome
):
    """The shop of the test has two tools."""
    metadata = AgentMetadata("a", "simple", "", max_tools=most)
    worked, completion = await run(definitions(), Registry([Registration(metadata, lambda _: SimpleAgent())]), FakeStep())
    assert completion.outcome is outcome
    assert (worked == [], completion.fault) == ((True, "preparation") if outcome is Outcome.FATAL else (False, ""))


@pytest.mark.parametrize(("config", "bounds"), [({}, (77, 4)), ({"max_tokens": 5, "max_iterations": 2}, (5, 2))])
async def test_an_agents_own_bounds_hold_where_the_node_says_none(config: dict[str, int], bounds: tuple[int, int]):
    seen: list[tuple[int, int]] = []

    async def notes(work: Work, model: ChatModel, tools: Tools) -> AgentResult:
        seen.append((work.max_tokens, work.max_iterations))
        return AgentResult(None)

    metadata = AgentMetadata("a", "simple", "", max_tokens=77, max_iterations=4)
    await run(definitions(config=config), Registry([Registration(metadata, lambda _: SimpleAgent())]), FakeStep(), notes)
    assert seen == [bounds]

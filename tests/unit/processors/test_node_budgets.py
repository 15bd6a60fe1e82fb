"""A budget from the reducer to the model and back: what is refused, what the customer reads, and what is never spent."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from agents.ports import AgentResult, ChatModel, ChatReply, ChatRequest, Tools, Work
from agents.router.allowances import Allowances
from agents.router.limits import BudgetAlert, Limit
from agents.router.purse import LocalPurse
from schemas.base import Event
from schemas.events import CustomerResponse, MessageReceived, ModelCalled, NodeCompleted, NodeTask, Outcome, TimerFired
from schemas.ids import derive
from schemas.workflow.definition import WorkflowDefinition
from streams.core.reducer import decide
from streams.core.state import Conversation
from streams.definitions import Definitions, published
from streams.nodes import Nodes
from tests.support.steps import FakeStep, record_of
from tests.unit.processors.test_nodes import NoMemory, Shop

CENT = 10_000
SORRY = "We cannot answer right now. A colleague will write to you."


class Priced:
    """A model behind a router that keeps to its request's budget, and chooses a cheaper model when that is tight."""

    def __init__(self, cents: int = 5, cheap: int = 1) -> None:
        self.price = {"ok": cents * CENT, "alert": cheap * CENT, "exhausted": cheap * CENT}
        self.paid: list[int] = []
        self.interrupted = asyncio.Event()
        self.hangs = False

    async def complete(self, request: ChatRequest) -> ChatReply:
        assert request.budget is not None
        price = self.price[request.budget.tightness()]
        reservation = await request.budget.reserve(price)
        await asyncio.sleep(0.001)
        self.paid.append(price)
        if self.hangs:
            await asyncio.sleep(60)
        await reservation.settle(price)
        return ChatReply("hello", (), "local", "m", 10, 5, 0, price, 7)


class Calls:
    """An agent that asks its model `calls` times."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    async def run(self, work: Work, *, model: ChatModel, tools: Tools) -> AgentResult:
        for _ in range(self.calls):
            await model.complete(ChatRequest("fast", ()))
        return AgentResult("done")


class Workshop:
    def __init__(self, model: Priced, calls: int) -> None:
        self.memory, self.chat, self.calls = NoMemory(), model, calls

    def agent(self, name: str) -> Calls:
        return Calls(self.calls)

    def timeout_seconds(self, name: str) -> float:
        return 30

    def model(self, workflow: Any, node: Any, task: Any) -> Priced:
        return self.chat

    async def tools(self, workflow: Any, node: Any, task: Any) -> Shop:
        return Shop()


class Shared:
    """Purses of limits that everybody shares, in one process."""

    def __init__(self) -> None:
        self.purses: dict[tuple[str, str], LocalPurse] = {}
        self.told: list[BudgetAlert] = []

    def purse(self, limit: Limit) -> LocalPurse:
        key = (limit.scope, limit.period)
        return self.purses.setdefault(key, LocalPurse(limit, limit.micro_usd, on_alert=self.told.append))


class World:
    """The reducer and a node worker, and nothing between them."""

    def __init__(self, nodes: list[Any], edges: list[Any], controls: dict[str, Any], *, calls: int = 1, **prices: int) -> None:
        definition = WorkflowDefinition.model_validate(
            {
                "name": "w",
                "version": "1.0.0",
                "workflow": {
                    "nodes": [{"agent": "a", "prompt_template": "go", **node} for node in nodes],
                    "edges": [{"from": source, "to": target} for source, target in edges],
                },
                "cost_controls": controls,
                "failure_response": SORRY,
            }
        )
        self.known = Definitions()
        self.known.add(published(definition, "", {"a": "simple"}, at_ms=0))
        [self.workflow] = self.known.list()
        self.model, self.shared = Priced(**prices), Shared()
        self.journal: dict[str, Any] = {}
        self.nodes = self.worker(calls)
        self.conversations: dict[str, Conversation] = {}
        self.responses: list[CustomerResponse] = []
        self.completions: list[NodeCompleted] = []
        self.now_ms = 1_764_072_000_000

    def worker(self, calls: int, **settings: Any) -> Nodes:
        allowances = Allowances(self.shared, clock_ms=lambda: self.now_ms, **settings)
        workshop = Workshop(self.model, calls)
        return Nodes(self.known, workshop, clock_ms=lambda: self.now_ms, allowances=allowances)

    def message(self, conversation_id: str = "c", message_id: str = "m") -> MessageReceived:
        published = self.workflow.published
        return MessageReceived(
            id=derive(conversation_id, message_id),
            time_ms=self.now_ms,
            conversation_id=conversation_id,
            message_id=message_id,
            text="hi",
            workflow=published.name,
            version=published.version,
            digest=published.digest,
        )

    def task(self) -> NodeTask:
        """The first task of a conversation, without anybody working on it."""
        return next(out for out in decide(None, self.message(), self.known.graphs).outputs if isinstance(out, NodeTask))

    async def say(self, conversation_id: str = "c", message_id: str = "m") -> None:
        await self.feed(self.message(conversation_id, message_id))

    async def feed(self, event: Event) -> None:
        decision = decide(self.conversations.get(event.conversation_id), event, self.known.graphs)
        self.conversations[event.conversation_id] = decision.conversation
        self.responses += [output for output in decision.outputs if isinstance(output, CustomerResponse)]
        await asyncio.gather(*(self.work(output) for output in decision.outputs if isinstance(output, NodeTask)))

    async def work(self, task: NodeTask) -> None:
        step = FakeStep(self.journal)
        await self.nodes.handle(record_of(task), step)
        [completion] = step.events(NodeCompleted)
        self.completions.append(completion)
        await self.feed(completion)

    async def wait(self) -> None:
        """Every timer there is comes due."""
        for conversation_id, conversation in list(self.conversations.items()):
            for timer in conversation.timers:
                fired = derive(timer.timer_id, "fired")
                await self.feed(
                    TimerFired(
                        id=fired,
                        time_ms=timer.due_ms,
                        conversation_id=conversation_id,
                        timer_id=timer.timer_id,
                        due_ms=timer.due_ms,
                    )
                )


ONE = ([{"id": "n"}], [("n", "END")])


async def test_a_conversation_without_money_left_gets_the_workflows_failure_response():
    world = World(*ONE, {"max_cost_per_conversation": "0.12"}, cheap=5)
    for number in range(3):
        await world.say(message_id=f"m{number}")
    assert [(response.status, response.text) for response in world.responses] == [
        ("completed", "done"),
        ("completed", "done"),
        ("failed", SORRY),
    ]
    assert world.responses[-1].error == (
        "n: the budget of conversation c leaves too little for this call, which may cost $0.05: $0.10 of $0.12 are spent. "
        "Raise cost_controls.max_cost_per_conversation, or choose a cheaper profile"
    )
    assert world.completions[-1].outcome is Outcome.FATAL
    assert sum(world.model.paid) == 10 * CENT


async def test_near_the_threshold_cheaper_models_are_chosen_until_the_limit():
    world = World(*ONE, {"max_cost_per_conversation": "0.22", "alert_threshold": 0.9})
    for number in range(8):
        await world.say(message_id=f"m{number}")
    assert world.model.paid == [5 * CENT] * 4 + [CENT] * 2
    assert [response.status for response in world.responses] == ["completed"] * 6 + ["failed"] * 2


@pytest.mark.parametrize("parallel", [2, 3, 7])
async def test_nodes_in_parallel_do_not_spend_more_than_the_conversation_may(parallel: int):
    names = [f"n{number}" for number in range(parallel)]
    fan = [{"id": name, "on_error": "continue"} for name in names]
    world = World(fan, [(name, "END") for name in names], {"max_cost_per_conversation": "0.17"}, calls=4, cheap=5)
    await world.say()
    for _ in range(3):
        await world.wait()
    assert sum(world.model.paid) <= 17 * CENT
    assert sum(world.model.paid) > 5 * CENT, "something was spent"
    assert world.conversations["c"].spent_micro_usd == sum(world.model.paid)


async def test_a_node_whose_share_was_too_small_goes_on_when_the_others_have_left_something():
    nodes = [{"id": "n0"}, {"id": "n1"}]
    world = World(nodes, [("n0", "END"), ("n1", "END")], {"max_cost_per_conversation": "0.20"}, cents=11, cheap=2)
    world.model.price["alert"] = world.model.price["ok"] = 2 * CENT
    world.nodes = world.worker(calls=6)  # 12 cents each, 10 for each
    await world.say()
    assert [completion.outcome for completion in world.completions] == [Outcome.RETRYABLE] * 2
    assert "reserved by calls that have not ended" in (world.completions[0].error or "")
    world.nodes = world.worker(calls=5)
    await world.wait()
    assert [response.status for response in world.responses] == ["completed"]


async def test_a_repeat_of_an_interrupted_attempt_counts_what_was_spent_before():
    """The worker died behind two model calls, of which the journal has the first: the allowance is what that one left."""
    world = World(*ONE, {"max_cost_per_conversation": "0.12"}, cheap=5)
    task, state = world.task(), {}

    class Dies(Calls):
        async def run(self, work: Work, *, model: ChatModel, tools: Tools) -> AgentResult:
            await super().run(work, model=model, tools=tools)
            raise asyncio.CancelledError

    dying = Workshop(world.model, 0)
    dying.agent = lambda name: Dies(2)
    with pytest.raises(asyncio.CancelledError):
        await Nodes(world.known, dying, clock_ms=lambda: 0).handle(record_of(task), FakeStep(state))
    step = FakeStep(state)
    await world.worker(calls=4).handle(record_of(task), step)
    [completion] = step.events(NodeCompleted)
    assert len(world.model.paid) == 3, "two before, and one more"
    assert completion.outcome is Outcome.FATAL
    assert "$0.10 of $0.12 are spent" in (completion.error or "")


async def test_a_call_that_was_cut_off_counts_as_spent():
    """A node's time is over while its model answers: the provider may charge for it."""
    world = World([{"id": "n", "timeout_seconds": 0.05, "retry": {"max_attempts": 1}}], [("n", "END")], {"daily_budget": 1})
    world.model.hangs = True
    await world.nodes.handle(record_of(world.task()), FakeStep())
    [purse] = world.shared.purses.values()
    assert (purse.spent, purse.reserved) == (5 * CENT, 0)


async def test_a_daily_budget_ends_in_a_failure_response_and_begins_again_the_next_day():
    world = World(*ONE, {"daily_budget": "0.10"}, cheap=5)
    for number in range(3):
        await world.say(f"c{number}")
    assert [response.status for response in world.responses] == ["completed", "completed", "failed"]
    assert world.responses[-1].text == SORRY
    assert "the daily budget of workflow w for 2025-11-25" in (world.responses[-1].error or "")
    assert "It renews at 2025-11-26T00:00:00Z" in (world.responses[-1].error or "")
    assert [alert.level for alert in world.shared.told] == ["exhausted"]
    world.now_ms += 86_400_000
    await world.say("c9")
    assert world.responses[-1].status == "completed"


@pytest.mark.parametrize("asked_ms", [1, 1_764_072_000_000 - 100 * 86_400_000, 1_764_072_000_000 + 86_400_000])
async def test_a_call_belongs_to_the_day_on_which_it_is_made_whenever_it_was_asked_for(asked_ms: int):
    world = World(*ONE, {"daily_budget": 1, "monthly_budget": 2}, cheap=5)
    step = FakeStep()
    await world.nodes.handle(record_of(world.task().model_copy(update={"time_ms": asked_ms})), step)
    spent = {period: purse.spent for (_, period), purse in world.shared.purses.items()}
    assert spent == {"2025-11-25": 5 * CENT, "2025-11": 5 * CENT}
    [called] = step.events(ModelCalled)
    assert called.time_ms == world.now_ms


async def test_an_attempt_that_goes_on_past_midnight_spends_of_the_new_day_from_then_on():
    """And what it reserved before ends where it was reserved."""
    world = World(*ONE, {"daily_budget": 1, "max_cost_per_conversation": 1}, calls=2, cheap=5)
    [task], model = [world.task()], world.model
    world.nodes = world.worker(calls=2)
    answer = model.complete

    async def at_midnight(request: ChatRequest) -> ChatReply:
        assert request.budget is not None
        held = await request.budget.reserve(CENT)
        reply = await answer(request)
        world.now_ms += 43_200_000  # it was noon
        await held.settle(CENT)
        return reply

    model.complete = at_midnight  # type: ignore[method-assign]
    await world.nodes.handle(record_of(task), FakeStep())
    spent = {period: (purse.spent, purse.reserved) for (_, period), purse in world.shared.purses.items()}
    assert spent == {"2025-11-25": (6 * CENT, 0), "2025-11-26": (6 * CENT, 0)}


async def test_a_limit_for_everything_binds_every_workflow():
    world = World(*ONE, {}, cheap=5)
    world.nodes = world.worker(1, daily_usd=Decimal("0.05"), monthly_usd=Decimal("1"))
    await world.say("c0")
    await world.say("c1")
    assert [response.status for response in world.responses] == ["completed", "failed"]
    assert "the daily budget of everything" in (world.responses[-1].error or "")
    assert {scope for scope, _ in world.shared.purses} == {"everything"}


async def test_fifty_conversations_at_once_spend_one_dollar_of_a_budget_of_one():
    world = World(*ONE, {"daily_budget": 1, "alert_threshold": 1})
    await asyncio.gather(*(world.say(f"c{number}") for number in range(50)))
    for _ in range(3):
        await world.wait()
    assert sum(world.model.paid) == 100 * CENT
    assert sorted(response.status for response in world.responses) == ["completed"] * 20 + ["failed"] * 30


async def test_without_limits_a_model_is_asked_as_it_is():
    world = World(*ONE, {})

    class Plain(Priced):
        async def complete(self, request: ChatRequest) -> ChatReply:
            assert request.budget is None
            return ChatReply("hello", (), "local", "m", 10, 5, 0, 1, 7)

    world.model = Plain()
    world.nodes = world.worker(1)
    await world.say()
    assert [response.status for response in world.responses] == ["completed"]


async def test_limits_that_nobody_keeps_are_spoken_of(caplog: pytest.LogCaptureFixture):
    world = World(*ONE, {"daily_budget": 1, "max_cost_per_conversation": 1})
    world.nodes = Nodes(world.known, Workshop(world.model, 1), clock_ms=lambda: 0)
    await world.say("c0")
    await world.say("c1")
    assert caplog.text.count("the daily and monthly budgets of workflow w are not kept: no database is configured") == 1

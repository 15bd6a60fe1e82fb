"""Acts: lets an agent work on one task and publishes how it ended. What must not happen twice is in the journal first."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from agents.duty import on_duty
from agents.errors import Fatal, NodeFailure, Park, Retryable
from agents.journal import JournaledModel, JournaledPrograms, JournaledTools
from agents.meter import Meter, MeteredModel, MeteredTools
from agents.ports import Agent, AgentResult, ChatModel, Memory, Tools
from agents.prompts import Plan, plan, work_of
from agents.registry import AgentMetadata, Registry
from agents.router.allowances import Allowances, BudgetedModel
from agents.router.budget import OverBudget
from schemas.base import trusted
from schemas.codec import Unencodable, decode
from schemas.events import NodeBegun, NodeCompleted, NodeTask, Outcome
from schemas.ids import derive
from schemas.workflow.definition import Node
from streams.books import Books
from streams.definitions import Definitions, Workflow
from streams.journal import Execution, StepJournal, too_large
from streams.runtime import Fenced, Outgoing, PartitionView, Record, SetAside, StateTooLarge, Step, Undecodable
from streams.wire import incoming, outgoing

log = logging.getLogger(__name__)

KEEP_FINISHED_MS = 3_600_000
"""How long a finished execution answers a repeated task, by the clock of its worker. The time during which nobody had its
partition does not count: what was finished then, and not yet passed, comes again."""

MAX_COMPLETION_BYTES = 262_144
"""The largest completion a node may publish; dozens of them fit into one response."""


class Workshop(Protocol):
    """Where agents, models and tools come from."""

    @property
    def memory(self) -> Memory: ...

    def agent(self, name: str) -> Agent: ...

    def timeout_seconds(self, name: str) -> float: ...

    def model(self, workflow: Workflow, node: Node, task: NodeTask) -> ChatModel:
        """The model behind this node's calls: whoever chooses one knows whose calls they are."""
        ...

    async def tools(self, workflow: Workflow, node: Node, task: NodeTask) -> Tools:
        """The tools this node may use, for the entity this task is about. Raises Fatal."""
        ...


class Ending(msgspec.Struct, frozen=True):
    """How an attempt ended, before it is an event."""

    outcome: Outcome
    output: Any = None
    error: str | None = None
    steps: list[Any] | None = None
    retry_after_ms: int | None = None
    fault: str = ""
    """As in NodeCompleted, like the two below."""
    agent: str = ""
    agent_type: str = ""


class Nodes:
    def __init__(
        self,
        definitions: Definitions,
        workshop: Workshop,
        *,
        clock_ms: Callable[[], int],
        allowances: Allowances | None = None,
        registry: Registry | None = None,
        worker: str = "",
    ) -> None:
        """`allowances`: where budgets that many workers share come from; without, a conversation's own is kept alone.

        `registry`: knows which agents are healthy; without, whoever is asked for works.

        `worker`: the name of this process there, which every model call carries into the log.
        """
        self._definitions = definitions
        self._allowances = allowances or Allowances(clock_ms=clock_ms)
        self._workshop = workshop
        self._registry = registry
        self._clock_ms = clock_ms
        self._worker = worker
        self._finished: dict[int, deque[tuple[int, str]]] = {}
        self._plans: dict[tuple[str, str], Plan] = {}

    async def handle(self, record: Record, step: Step[Execution]) -> None:
        task = incoming(record, NodeTask)
        execution, known, lost = _remembered(task, step)
        if known is not None:
            step.publish(known)
            if task.attempt > execution.finished_attempt:
                assert known.value is not None
                answer = (known.value, known.headers)
                step.put(task.execution_id, replace(execution, finished_attempt=task.attempt, completion=answer))
            return
        if self._definitions.by_digest(task.digest) is None and not step.waited:
            raise SetAside(lambda: self._definitions.arrival(task.digest))
        if task.announce:
            step.tell(outgoing(_begun(task, self._clock_ms())))
        asked = task
        task, execution, refusal = (task, execution, lost) if lost else self._assign(task, execution)
        journal, books = StepJournal(step, task.execution_id, execution), self._books(task, step)
        meter = Meter(books.note)
        ending = refusal or await self._attempt(task, journal, meter, books)
        if task is not asked:
            ending = replace(ending, agent=task.agent, agent_type=task.agent_type)
        now_ms = self._clock_ms()
        duration_ms = now_ms - books.began_ms
        books.closed()
        await step.told()  # what was spent is durable before anybody hears that the node is done
        await journal.settled()
        if ending.outcome is Outcome.RETRYABLE and journal.overflow is not None:
            ending = _failed(ending, journal.overflow)  # a further attempt would come no further
        completion = _completion(task, ending, meter, now_ms, duration_ms)
        keep = ending.outcome is Outcome.RETRYABLE
        try:
            step.put(task.execution_id, journal.finished(task.attempt, now_ms, completion, meter.cost_micro_usd, keep=keep))
        except StateTooLarge as error:
            if keep:  # a further attempt would begin with nothing
                completion = _completion(task, _failed(ending, too_large(error)), meter, now_ms, duration_ms)
            step.put(task.execution_id, journal.done(task.attempt, now_ms, completion))
        step.publish(completion)
        if meter.model_calls or meter.tool_uses:
            step.ahead()  # a slow task before it on the partition must not have it paid for twice
        self._forget(step, task.execution_id, now_ms)

    def _books(self, task: NodeTask, step: Step[Execution]) -> Books:
        return Books(task, step.tell, self._clock_ms, worker=self._worker)

    def opened(self, partition: PartitionView[Execution]) -> None:
        """The partition is ours: line up what it finished, so that it is forgotten in time."""
        finished = [(execution.finished_ms, key) for key, execution in partition.items() if execution.finished_ms]
        now_ms = self._clock_ms()
        self._finished[partition.partition] = deque((now_ms, key) for _, key in sorted(finished))

    def closed(self, partition: int) -> None:
        self._finished.pop(partition, None)

    def _assign(self, task: NodeTask, execution: Execution) -> tuple[NodeTask, Execution, Ending | None]:
        """Who works on it: the agent that was asked for, or another while that is unhealthy. Who began an execution ends it."""
        if self._registry is None:
            return task, execution, None
        begun_by = (execution.agent or task.agent) if execution.entries else ""
        if begun_by == task.agent:
            return task, execution, None
        if not begun_by and (task.agent not in self._registry or self._registry.get(task.agent).is_healthy):
            return task, replace(execution, agent=""), None
        try:
            if begun_by:
                worker = self._registry.get(begun_by)
            else:
                workflow = self._definitions.by_digest(task.digest)
                tools = workflow is not None and bool(self._plan(workflow, task.node_id).node.config.tool_specs)
                worker = on_duty(self._registry, task.agent, tools=tools)
        except Fatal as failure:
            return task, execution, Ending(Outcome.FATAL, error=str(failure), fault=failure.fault or "preparation")
        given = task.model_copy(update={"agent": worker.name, "agent_type": worker.type})
        return given, replace(execution, agent=worker.name), None

    async def _attempt(self, task: NodeTask, journal: StepJournal, meter: Meter, books: Books) -> Ending:
        try:
            result = await self._work(task, journal, meter, books)
        except Retryable as failure:
            after = failure.retry_after_seconds
            wait_ms = None if after is None else int(after * 1000)
            return Ending(Outcome.RETRYABLE, error=str(failure), retry_after_ms=wait_ms, fault=failure.fault)
        except Park as failure:
            return Ending(Outcome.PARK, output=failure.details, error=str(failure), fault=failure.fault)
        except OverBudget as failure:
            return Ending(Outcome.RETRYABLE if failure.held else Outcome.FATAL, error=str(failure), fault=failure.fault)
        except Fatal as failure:
            return Ending(Outcome.FATAL, error=str(failure), fault=failure.fault)
        except Fenced:
            raise
        except Exception as defect:
            log.exception("agent %s failed in node %s of run %s", task.agent, task.node_id, task.run_id)
            return Ending(Outcome.FATAL, error=f"agent {task.agent} has a defect: {type(defect).__name__}: {defect}")
        return Ending(Outcome.OK, output=result.output, steps=list(result.steps) or None)

    async def _work(self, task: NodeTask, journal: StepJournal, meter: Meter, books: Books) -> AgentResult:
        with PREPARING:
            workflow = self._definitions.by_digest(task.digest)
            if workflow is None:
                raise Fatal(
                    f"the definition {task.workflow} ({task.digest}) is not published any more: publish it again and rerun"
                )
            planned = self._plan(workflow, task.node_id)
            seconds = planned.node.timeout_seconds or self._workshop.timeout_seconds(task.agent)
            budget = self._allowances.budget(task, workflow.definition, spent=journal.spent_micro_usd(task.attempt))
            chosen = self._workshop.model(workflow, planned.node, task)
        if budget:
            chosen = BudgetedModel(chosen, budget)
        attempt, handling = task.attempt, books.handling
        model = MeteredModel(JournaledModel(chosen, journal, attempt=attempt, handling=handling), meter)
        try:
            async with asyncio.timeout(seconds):
                with PREPARING:
                    agent = self._registry.get(task.agent) if self._registry is not None else None
                    work = await work_of(task, planned, self._workshop.memory, agent)
                    work = replace(work, programs=JournaledPrograms(journal))
                    allowed = await self._workshop.tools(workflow, planned.node, task)
                    _few_enough(task, allowed, agent)
                tools = MeteredTools(JournaledTools(allowed, journal, attempt=attempt, handling=handling), meter)
                return await self._workshop.agent(task.agent).run(work, model=model, tools=tools)
        except TimeoutError as error:
            raise Retryable(
                f"node {task.node_id} took longer than {seconds:g} s: raise its timeout_seconds, or use a faster profile"
            ) from error
        finally:
            budget.close()

    def _plan(self, workflow: Workflow, node_id: str) -> Plan:
        """Raises Fatal; a plan that was made is kept, for a digest means the same for ever."""
        key = (workflow.published.digest, node_id)
        if key not in self._plans:
            node = next((node for node in workflow.definition.workflow.nodes if node.id == node_id), None)
            if node is None:
                label = f"{workflow.published.name}@{workflow.published.version}"
                raise Fatal(f"the workflow {label} has no node {node_id[:128]!r}: whoever wrote this task meant another version")
            self._plans[key] = plan(node, workflow.definition)
        return self._plans[key]

    def _forget(self, step: Step[Execution], execution_id: str, now_ms: int) -> None:
        """Remember this one; drop those that finished too long ago for a repeat of their task to come."""
        finished = self._finished.setdefault(step.partition, deque())
        finished.append((now_ms, execution_id))
        while finished and finished[0][0] < now_ms - KEEP_FINISHED_MS:
            known_ms, key = finished.popleft()
            old = step.get(key)
            if old is not None and old.finished_ms <= known_ms:
                step.put(key, None)


def _failed(ending: Ending, failure: Fatal) -> Ending:
    return Ending(Outcome.FATAL, error=str(failure), agent=ending.agent, agent_type=ending.agent_type, fault=failure.fault)


def _few_enough(task: NodeTask, tools: Tools, agent: AgentMetadata | None) -> None:
    """Raises Fatal for more tools than the agent can do with."""
    most, count = agent.max_tools if agent is not None else None, len(tools.specs())
    if most is not None and count > most:
        raise Fatal(f"node {task.node_id} has {count} tools, and the agent {task.agent} can do with {most}: name those it needs")


class _Preparing:
    """A failure before the agent begins says nothing about the agent."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        if isinstance(failure, NodeFailure):
            failure.fault = failure.fault or "preparation"


PREPARING = _Preparing()


def _remembered(task: NodeTask, step: Step[Execution]) -> tuple[Execution, Outgoing | None, Ending | None]:
    """What is known of the execution, and the answer when it has ended. An ending instead when that cannot be read."""
    try:
        execution = step.get(task.execution_id) or Execution()
        return execution, None if execution.completion is None else _known_completion(task, execution), None
    except Undecodable as fault:
        words = (
            f"what node {task.node_id} had done before cannot be read ({fault.reason}), so nothing was done again. See on "
            "tool.action-usage which of its actions have happened, then answer the customer, or rerun the run from this node"
        )
        details = {"execution_id": task.execution_id, "attempt": task.attempt, "journal": fault.reason}
        return Execution(), None, Ending(Outcome.PARK, output=details, error=words, fault="preparation")


def _known_completion(task: NodeTask, execution: Execution) -> Outgoing | None:
    """The answer to a task whose execution has ended: the same again, or, for a later attempt, how an earlier one ended for good.

    A later attempt is asked for when an earlier one was not heard of in time, though it went on and ended.
    """
    assert execution.completion is not None
    value, headers = execution.completion
    if execution.finished_attempt >= task.attempt:
        return _record_of(task, value, headers)
    earlier = decode(value, headers)
    if not isinstance(earlier, NodeCompleted) or earlier.outcome is Outcome.RETRYABLE:
        return None
    ended = {"id": derive(task.execution_id, str(task.attempt), "completed"), "attempt": task.attempt, "epoch": task.epoch}
    return outgoing(earlier.model_copy(update=ended))


def _begun(task: NodeTask, now_ms: int) -> NodeBegun:
    return NodeBegun(
        id=derive(task.execution_id, task.attempt, "begun", now_ms),
        time_ms=now_ms,
        conversation_id=task.conversation_id,
        run_id=task.run_id,
        node_id=task.node_id,
        execution_id=task.execution_id,
        attempt=task.attempt,
        epoch=task.epoch,
        waited_ms=max(0, now_ms - task.time_ms),
    )


def _record_of(task: NodeTask, value: bytes, headers: tuple[tuple[str, bytes], ...]) -> Outgoing:
    return Outgoing("conversation.events", task.conversation_id.encode(), value, headers)


def _completion(task: NodeTask, ending: Ending, meter: Meter, now_ms: int, duration_ms: int) -> Outgoing:
    """The record of how the attempt ended. What cannot be written is a failure in words, for a run must always hear its nodes."""
    try:
        out = outgoing(_completed(task, ending, meter, now_ms, duration_ms))
        if len(out.value or b"") > MAX_COMPLETION_BYTES:
            out = outgoing(_completed(task, replace(ending, steps=None), meter, now_ms, duration_ms))
        if len(out.value or b"") <= MAX_COMPLETION_BYTES:
            return out
        fault = (
            f"it has {len(out.value or b'')} bytes, more than {MAX_COMPLETION_BYTES}: ask for less, or keep the rest elsewhere"
        )
    except Unencodable as error:
        fault = str(error)
    words = f"the output of node {task.node_id} cannot be written: {fault}"
    fatal = Ending(Outcome.FATAL, error=words, agent=ending.agent, agent_type=ending.agent_type)
    return outgoing(_completed(task, fatal, meter, now_ms, duration_ms))


def _completed(task: NodeTask, ending: Ending, meter: Meter, now_ms: int, duration_ms: int) -> NodeCompleted:
    completed = {
        "id": derive(task.execution_id, str(task.attempt), "completed"),
        "time_ms": now_ms,
        "conversation_id": task.conversation_id,
        "run_id": task.run_id,
        "node_id": task.node_id,
        "execution_id": task.execution_id,
        "attempt": task.attempt,
        "epoch": task.epoch,
        "outcome": ending.outcome,
        "output": ending.output,
        "error": ending.error,
        "cost_micro_usd": meter.cost_micro_usd,
        "input_text_tokens": meter.input_text_tokens,
        "output_text_tokens": meter.output_text_tokens,
        "duration_ms": max(0, duration_ms),
        "models": meter.models,
        "tools": meter.tools,
        "steps": ending.steps,
        "retry_after_ms": ending.retry_after_ms,
        "agent": ending.agent,
        "agent_type": ending.agent_type,
        "fault": ending.fault,
    }
    return trusted(NodeCompleted, completed)

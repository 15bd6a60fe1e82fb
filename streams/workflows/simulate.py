"""Runs a workflow through the real reducer with invented outputs: no broker, no models, no clock but its own."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schemas.base import Event
from schemas.events import MessageReceived, NodeCompleted, NodeTask, Outcome, RunFinished, TimerFired
from schemas.ids import derive
from schemas.workflow.definition import WorkflowDefinition
from schemas.workflow.faults import Fault, errors
from schemas.workflow.loading import load
from streams.core.graph import Graph, compile_graph
from streams.core.reducer import decide
from streams.core.state import Conversation
from streams.workflows.resources import ENVIRONMENT
from streams.workflows.validator import validate

DIGEST = "simulated"
CONVERSATION = "simulation"
MAX_DELAY_MS = 10**12
KEYS = ("output", "delay_ms", "fail")


class UnusableOutputs(ValueError):
    """The invented outputs, or the input, are not in the shape the simulation takes."""


@dataclass(frozen=True, slots=True)
class Invented:
    """What one node does in the simulation."""

    output: Any = None
    delay_ms: int = 0
    fail: str | None = None


def simulate_file(
    source: str | Path,
    *,
    agents: Mapping[str, str],
    input: Mapping[str, Any],
    outputs: Mapping[str, Any],
    file: str | None = None,
) -> dict[str, Any]:
    """Validate, then simulate. An invalid workflow has status `invalid` and `faults`.

    Agents, tools and profiles that are not known here make no fault: nothing of them is needed.
    """
    checked, faults = validate(source, agents=agents, file=file)
    mattering = [fault for fault in errors(faults) if fault.code not in ENVIRONMENT]
    if mattering:
        return _invalid(faults)
    return simulate(checked or load(source, file=file)[0], agents, input, outputs)


def simulate(
    definition: WorkflowDefinition, agent_types: Mapping[str, str], input: Mapping[str, Any], outputs: Mapping[str, Any]
) -> dict[str, Any]:
    """{"status", "executed", "skipped", "failed", "order"} of one run of a valid definition.

    `input` has the input fields; its key `context` is the context. `outputs` maps node id → {"output", "delay_ms", "fail"}, all
    optional. A node ends `delay_ms` after it began; of those that end together, the one that began first ends first. `fail` is
    final: it is not retried. The three sets are disjoint and in the definition's order; `order` is that of completion.
    """
    ids = [node.id for node in definition.workflow.nodes]
    invented = read_outputs(outputs, ids)
    types = {node.agent: agent_types.get(node.agent, "simple") for node in definition.workflow.nodes}
    run = _Simulation(compile_graph(definition, types, DIGEST), invented)
    finished = run.play(_message(definition, input))
    return {
        "status": finished.status,
        "executed": [name for name in ids if name in finished.executed],
        "skipped": [name for name in ids if name in finished.skipped],
        "failed": [name for name in ids if name in finished.failed],
        "order": list(finished.executed),
    }


class _Simulation:
    """One conversation, one run, and a clock that jumps from completion to completion."""

    def __init__(self, graph: Graph, invented: Mapping[str, Invented]) -> None:
        self.graphs = {DIGEST: graph}
        self.invented = invented
        self.conversation: Conversation | None = None
        self.due: list[tuple[int, int, Event]] = []
        self.begun = 0
        self.finished: RunFinished | None = None

    def play(self, message: MessageReceived) -> RunFinished:
        self.take(message)
        while self.due and self.finished is None:
            self.take(heapq.heappop(self.due)[2])
        assert self.finished is not None, "a run with nothing left to do has finished"
        return self.finished

    def take(self, event: Event) -> None:
        decision = decide(self.conversation, event, self.graphs)
        self.conversation = decision.conversation
        for output in decision.outputs:
            if isinstance(output, NodeTask):
                self.plan(self.completion(output))
            elif isinstance(output, RunFinished):
                self.finished = output
        for timer in self.conversation.timers if self.conversation is not None else ():
            fired = {"timer_id": timer.timer_id, "due_ms": timer.due_ms, "conversation_id": CONVERSATION}
            self.plan(TimerFired(id=derive(timer.timer_id, "fired"), time_ms=timer.due_ms, **fired))

    def completion(self, task: NodeTask) -> NodeCompleted:
        does = self.invented.get(task.node_id, Invented())
        return NodeCompleted(
            id=derive(task.execution_id, task.attempt, "completed"),
            time_ms=task.time_ms + does.delay_ms,
            conversation_id=task.conversation_id,
            run_id=task.run_id,
            node_id=task.node_id,
            execution_id=task.execution_id,
            attempt=task.attempt,
            epoch=task.epoch,
            outcome=Outcome.OK if does.fail is None else Outcome.FATAL,
            output=does.output if does.fail is None else None,
            error=does.fail,
            duration_ms=does.delay_ms,
        )

    def plan(self, event: Event) -> None:
        self.begun += 1
        heapq.heappush(self.due, (event.time_ms, self.begun, event))


def read_outputs(outputs: Mapping[str, Any], ids: Iterable[str]) -> dict[str, Invented]:
    """The invented outputs by node id. Raises UnusableOutputs that names every fault."""
    known, read, faults = set(ids), {}, []
    if not isinstance(outputs, Mapping):
        raise UnusableOutputs('the outputs are no mapping: write {"<node id>": {"output": …, "delay_ms": 10, "fail": "message"}}')
    for name, given in outputs.items():
        if name not in known:
            faults.append(f"`{name}` is no node of the workflow: remove it, or correct its id")
            continue
        if not isinstance(given, Mapping) or any(key not in KEYS for key in given):
            faults.append(
                f'what `{name}` does is not readable: write {{"output": …, "delay_ms": 10, "fail": "message"}}, each optional'
            )
            continue
        delay, fail = given.get("delay_ms") or 0, given.get("fail")
        if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay <= MAX_DELAY_MS:
            faults.append(f"`delay_ms` of `{name}` is {delay!r}: write milliseconds, 0 or more")
            continue
        failure = None if fail is None or fail is False else str(fail) if isinstance(fail, str) and fail else "it failed"
        read[name] = Invented(given.get("output"), int(delay), failure)
    if faults:
        raise UnusableOutputs("; ".join(faults))
    return read


def _message(definition: WorkflowDefinition, given: Mapping[str, Any]) -> MessageReceived:
    if not isinstance(given, Mapping):
        raise UnusableOutputs('the input is no mapping: write {"text": "…", "context": {…}}')
    context = given.get("context") or {}
    if not isinstance(context, Mapping):
        raise UnusableOutputs("`context` in the input is no mapping: write its fields as {…}")
    fields = {key: value for key, value in given.items() if key != "context"}
    if set(fields) == {"input"} and isinstance(fields["input"], Mapping):
        fields = dict(fields["input"])
    words = [fields[key] for key in ("text", "message", "customer_message") if isinstance(fields.get(key), str)]
    return MessageReceived(
        id=derive(CONVERSATION, "message"),
        time_ms=0,
        conversation_id=CONVERSATION,
        message_id="message",
        text=words[0] if words else "",
        workflow=definition.name,
        version=definition.version,
        digest=DIGEST,
        context=dict(context),
        input=fields,
    )


def _invalid(faults: list[Fault]) -> dict[str, Any]:
    told = [{**asdict(fault), "path": list(fault.path)} for fault in errors(faults)]
    return {"status": "invalid", "executed": [], "skipped": [], "failed": [], "order": [], "faults": told}

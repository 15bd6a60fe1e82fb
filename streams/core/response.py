"""What a finished run says to the customer, and to those who ask why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from schemas.base import Event, trusted, usd
from schemas.events import CustomerResponse, NodeStatus, TraceEntry
from schemas.ids import derive
from schemas.workflow.definition import END
from streams.core.graph import DEFAULT_FAILURE_RESPONSE, Graph
from streams.core.state import Message, NodeState, Phase, Run, Token

TEXT_KEYS = ("response", "text", "answer", "message", "summary")
"""Where a node's output keeps its words, first that is there."""
CANCELLED = "This request was cancelled before it was answered. Please write again if you still need us."
PREVIEW_CHARACTERS = 160
STATUS = {Phase.EXECUTED: NodeStatus.EXECUTED, Phase.SKIPPED: NodeStatus.SKIPPED, Phase.FAILED: NodeStatus.FAILED}


@dataclass(frozen=True, slots=True)
class RunEnd:
    status: str
    """completed | failed | handed_over | cancelled"""
    text: str
    error: str | None
    cost_micro_usd: int
    trace: list[TraceEntry]


def text_of(output: Any) -> str:
    """The words in a node's output: itself, or what one of TEXT_KEYS holds, or its JSON."""
    if isinstance(output, str):
        return output
    if isinstance(output, dict):
        for key in TEXT_KEYS:
            if isinstance(output.get(key), str):
                return str(output[key])
    return "" if output is None else json.dumps(output, ensure_ascii=False, separators=(",", ":"))


def cancelled(run: Run, graph: Graph | None, reason: str) -> RunEnd:
    """The end of a run that somebody stopped."""
    trace = [_entry(name, node, graph) for name, node in run.nodes.items()] if graph is not None else []
    return RunEnd("cancelled", CANCELLED, reason, _cost(run), trace)


def assemble(run: Run, graph: Graph | None, gone: str | None) -> RunEnd:
    """The end of a run none of whose nodes is being worked on. `gone` says why there is no graph, when there is none."""
    if graph is None:
        return RunEnd("failed", DEFAULT_FAILURE_RESPONSE, gone, _cost(run), [])
    unhandled = [(name, node) for name, node in run.nodes.items() if node.phase is Phase.FAILED and not node.handled]
    trace = [_entry(name, node, graph) for name, node in run.nodes.items()]
    if any(node.parked for _, node in unhandled):
        status = "handed_over"
    elif unhandled:
        status = "failed"
    else:
        status = "completed"
    error = "; ".join(f"{name}: {node.error}" for name, node in unhandled) or None
    text = graph.failure_response
    if not unhandled:
        spoken = [text_of(run.nodes[name].output) for name in run.order if _reaches_customer(name, run, graph)]
        if spoken:
            text = "\n\n".join(spoken)
        else:
            error = "no node that ran leads to END, so there was nothing to answer with"
    return RunEnd(status, text, error, _cost(run), trace)


def of_run(cause: Event, run: Run, end: RunEnd) -> CustomerResponse:
    """The response of a finished run."""
    fields = {
        "id": derive(run.run_id, "response"),
        "time_ms": cause.time_ms,
        "conversation_id": cause.conversation_id,
        "message_id": run.message.message_id,
        "run_id": run.run_id,
        "status": end.status,
        "text": end.text,
        "outputs": {name: run.nodes[name].output for name in run.order},
        "cost_usd": usd(end.cost_micro_usd),
        "duration_ms": max(0, cause.time_ms - run.message.received_ms),
        "trace": end.trace,
        "workflow": f"{run.message.workflow}@{run.message.version}",
        "error": end.error,
    }
    return trusted(CustomerResponse, fields)


def refused(event: Event, message: Message, reason: str) -> CustomerResponse:
    """The response to a message that finds the conversation's queue full."""
    return CustomerResponse(
        id=derive(event.id, "refused"),
        time_ms=event.time_ms,
        conversation_id=event.conversation_id,
        message_id=message.message_id,
        run_id=derive(event.conversation_id, message.event_id, "run"),
        status="refused",
        text="We are still working on your earlier messages. Please wait for our answer before you send more.",
        outputs={},
        workflow=f"{message.workflow}@{message.version}",
        error=reason,
    )


def _reaches_customer(name: str, run: Run, graph: Graph) -> bool:
    """A node speaks to the customer when its edge to END was taken, or when it has no out-edge at all."""
    node = graph.nodes[name]
    return not node.out or any(edge.target == END and run.tokens.get(edge.index) is Token.TAKEN for edge in node.out)


def _cost(run: Run) -> int:
    return sum(node.cost_micro_usd for node in run.nodes.values())


def _entry(name: str, node: NodeState, graph: Graph) -> TraceEntry:
    fields = {
        "node": name,
        "agent": graph.nodes[name].agent,
        "status": STATUS[node.phase],
        "duration_ms": node.duration_ms,
        "attempts": node.attempt,
        "cost_usd": usd(node.cost_micro_usd),
        "tools": list(node.tools),
        "models": list(node.models),
        "preview": text_of(node.output)[:PREVIEW_CHARACTERS],
        "error": node.error,
    }
    return trusted(TraceEntry, fields)

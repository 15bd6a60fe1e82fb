"""Asks for a new run of an old run's message, from one of its nodes on. What the old run did before is found in the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.base import Event
from schemas.codec import Undecodable, decode
from schemas.events import NodeFinished, NodeStatus, RerunRequested, ReusedNode, RunFinished, RunStarted
from schemas.ids import derive
from schemas.topics import WORKFLOW_DEFINITIONS, WORKFLOW_EVENTS
from streams.core.bounds import RULES
from streams.core.graph import Graph
from streams.core.rerun import after
from streams.replay.files import graphs_of
from streams.replay.verify import everything
from streams.replay.window import window
from streams.runtime import RuntimeFailed
from streams.runtime.publisher import key_hash
from streams.runtime.reading import partition_counts


@dataclass(slots=True)
class OldRun:
    """What workflow.events says of a run."""

    started: RunStarted | None = None
    finished: RunFinished | None = None
    nodes: dict[str, NodeFinished] = field(default_factory=dict)
    """In the order in which they ended."""

    def take(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.started = event
            case RunFinished():
                self.finished = event
            case NodeFinished():
                self.nodes.setdefault(event.node_id, event)


async def request(
    bootstrap: str, run_id: str, from_node: str, *, conversation: str | None = None, by: str = "", at_ms: int
) -> RerunRequested:
    """The event to publish. Raises RuntimeFailed, in words, when there is no such run or it cannot begin there."""
    old = await find_run(bootstrap, run_id, conversation=conversation)
    graphs, _ = graphs_of(await everything(bootstrap, WORKFLOW_DEFINITIONS))
    started = _begun(old, run_id)
    graph = graphs.get(started.digest)
    if graph is None:
        raise RuntimeFailed(
            f"run {run_id} used {started.workflow}@{started.version} ({started.digest[:12]}), which is not published any more or "
            "does not compile: publish that file again"
        )
    return make(old, graph, run_id, from_node, by=by, at_ms=at_ms)


def make(old: OldRun, graph: Graph, run_id: str, from_node: str, *, by: str, at_ms: int) -> RerunRequested:
    """The request for a new run of `old`, under the definition it had."""
    started = _begun(old, run_id)
    if old.finished is None:
        raise RuntimeFailed(f"run {run_id} has not ended yet: wait for its response, or cancel it")
    ran = [name for name, node in old.nodes.items() if node.status is not NodeStatus.SKIPPED]
    if from_node not in ran:
        raise RuntimeFailed(f"node {from_node!r} did not run in run {run_id}: begin at {_one_of(ran)}")
    again = after(graph, from_node)
    return RerunRequested(
        id=derive(run_id, from_node, "rerun", at_ms),
        time_ms=at_ms,
        conversation_id=started.conversation_id,
        rerun_of=run_id,
        from_node=from_node,
        message_id=started.message_id,
        ordinal=started.ordinal,
        text=started.text,
        workflow=started.workflow,
        version=started.version,
        digest=started.digest,
        customer_id=started.customer_id,
        customer_email=started.customer_email,
        context=started.context,
        input=started.input,
        nodes=[
            ReusedNode(node_id=name, status=node.status.value, output=node.output, error=node.error, reason=node.reason)
            for name, node in old.nodes.items()
            if name not in again
        ],
        requested_by=by,
        ordinal_base=at_ms,
        rules=RULES,
    )


def new_run(request: RerunRequested) -> str:
    """The id the new run will have."""
    return derive(request.conversation_id, request.id, "run")


async def find_run(bootstrap: str, run_id: str, *, conversation: str | None = None) -> OldRun:
    """Read the run's decisions; only the conversation's partition when it is named."""
    partitions = None
    if conversation is not None:
        count = (await partition_counts(bootstrap, [WORKFLOW_EVENTS]))[WORKFLOW_EVENTS]
        partitions = [key_hash(conversation.encode()) % count]
    old, mark = OldRun(), run_id.encode()
    async with window(bootstrap, WORKFLOW_EVENTS, partitions=partitions) as period:
        async for batch in period.batches():
            for raw in batch:
                if mark not in (raw.value or b""):  # text is text in Avro too, and decoding everything takes minutes
                    continue
                try:
                    event = decode(raw.value, raw.headers)
                except Undecodable:
                    continue
                if getattr(event, "run_id", None) == run_id:
                    old.take(event)
    return old


def _begun(old: OldRun, run_id: str) -> RunStarted:
    if old.started is not None:
        return old.started
    if old.nodes or old.finished is not None:
        raise RuntimeFailed(f"retention has deleted the beginning of run {run_id}: it cannot be run again")
    raise RuntimeFailed(f"there is no run {run_id} on {WORKFLOW_EVENTS}: run_id is in the response and in workflow_executions")


def _one_of(names: Sequence[str]) -> str:
    return " or ".join(names) if names else "no node at all"

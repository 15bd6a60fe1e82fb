"""What a file says and nothing here acts upon: an error where ignoring it would change what happens, else a warning that says so.

Only authors are told. What has been published with such a key keeps running as it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from schemas.workflow.definition import Node
from schemas.workflow.faults import Fault, KeyPath
from streams.workflows.subject import Subject

BOUNDED_BY = {"max_iterations": ("reasoning", "supervisor"), "max_retries": ("code",)}
"""Key of a node's config → the types of agents that it bounds."""
INSTEAD = {
    "max_iterations": "it bounds the turns of a reasoning agent; a code agent has `max_retries`, a simple one is asked once",
    "max_retries": "it bounds the programs of a code agent; to try a failed node again write `retry: {max_attempts: 3}`",
}
SWITCHES = {
    "track_latency": "latencies are part of every event",
    "track_costs": "budgets are kept with them",
    "track_tool_usage": "what an agent did must be found again",
}


def ignored_faults(subject: Subject, agents: Mapping[str, str]) -> Iterator[Fault]:
    """`agents` are names and types."""
    for path, node in subject.placed_nodes:
        yield from _node(subject, path, node, agents.get(node.agent))
    yield from _memory(subject)
    definition = subject.draft.definition
    for switch, why in SWITCHES.items():
        if not getattr(definition.monitoring, switch):
            message = f"`{switch}` cannot be switched off: {why}"
            yield subject.error(("monitoring", switch), message, "remove it, or write `true`", "not-acted-upon")
    if definition.trigger:
        message = "nothing starts a workflow but a message that names it, or names none while it is the default"
        remedy = "remove `trigger:`, and send `workflow` with the message or set HIL_DEFAULT_WORKFLOW"
        yield subject.error(("trigger",), message, remedy, "not-acted-upon")


def _node(subject: Subject, path: KeyPath, node: Node, kind: str | None) -> Iterator[Fault]:
    if node.approval is not None:
        message = f"`{node.id}` wants an approval, and nobody would be asked: people cannot take part in a run yet"
        remedy = "remove `approval:`, and give the node no tools that must not be used without one"
        yield subject.error((*path, "approval"), message, remedy, "not-acted-upon")
    for key, kinds in BOUNDED_BY.items():
        if kind is not None and getattr(node.config, key) is not None and kind not in kinds:
            message = f"`{key}` means nothing to `{node.agent}`, which is a {kind} agent"
            yield subject.error((*path, "config", key), message, f"remove it: {INSTEAD[key]}", "not-acted-upon")


def _memory(subject: Subject) -> Iterator[Fault]:
    memory = subject.draft.definition.memory
    if memory.strategy != "hybrid":
        message = f"there is no memory strategy `{memory.strategy}`: what a node reads is said by the node"
        remedy = "write `strategy: hybrid`, and `context_sources` in the config of each node"
        yield subject.error(("memory", "strategy"), message, remedy, "not-acted-upon")
    if memory.short_term.type != "postgres":
        message = f"a conversation is remembered in Postgres, not in `{memory.short_term.type}`"
        yield subject.error(("memory", "short_term", "type"), message, "write `type: postgres`", "not-acted-upon")
    if memory.long_term.index is not None:
        message = f"there is one knowledge base, so the index `{memory.long_term.index}` has no effect"
        remedy = "remove `index:`; add its documents with `hil knowledge add`"
        yield subject.warning(("memory", "long_term", "index"), message, remedy, "not-acted-upon")

"""From a task and its definition to the work of an agent: history and knowledge fetched when asked for, templates rendered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agents.errors import Fatal
from agents.ports import HistoryMessage, Memory, Passage, Work
from schemas.events import NodeTask
from schemas.workflow.definition import Node, WorkflowDefinition
from schemas.workflow.delimiters import entry, inert
from schemas.workflow.scope import not_run, template_scope
from schemas.workflow.templates import Template, TemplateFault

if TYPE_CHECKING:
    from agents.registry import AgentMetadata

PROFILES = ("fast", "balanced", "powerful")
DEFAULT_PROFILE = "balanced"
HISTORY, KNOWLEDGE = "conversation_history", "knowledge_base"
TEXTS = ("text", "message", "customer_message")
"""What templates call the customer's message."""
MAX_QUERY = 2000
"""Characters of a customer's message that are searched for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a node's prompts need of its definition, found out once for all its tasks."""

    node: Node
    instruction: Template
    system: Template | None
    profile: str
    window: int
    top_k: int
    nodes: Mapping[str, Any]
    """Every node of the workflow, as a prompt sees one that has not run."""
    predecessors: tuple[str, ...]
    declared: tuple[str, ...]
    recalls: bool
    """Wants the conversation's history."""
    looks_up: bool
    """Wants what the knowledge base says."""
    unnamed: frozenset[str]
    """Sources that the prompt does not place itself."""
    may_quote: bool
    """The instruction asks for the customer's text."""


def plan(node: Node, definition: WorkflowDefinition) -> Plan:
    """Raises Fatal for a template that does not compile."""
    try:
        instruction, system = _compiled(node.instruction), _compiled(node.system_prompt or "")
    except TemplateFault as fault:
        raise Fatal(f"node {node.id}: {fault}. Mend the template in the definition.") from fault
    predecessors = tuple(dict.fromkeys(edge.source for edge in definition.workflow.edges if edge.target == node.id))
    schemas = [each.config.output_schema or {} for each in definition.workflow.nodes if each.id in predecessors]
    names, sources = instruction.names | system.names, frozenset(node.config.context_sources)
    return Plan(
        node=node,
        instruction=instruction,
        system=system if node.system_prompt else None,
        profile=profile_of(node.config.model_profile, definition.llm_profiles),
        window=definition.memory.short_term.window_size,
        top_k=definition.memory.long_term.top_k,
        nodes=not_run(each.id for each in definition.workflow.nodes),
        predecessors=predecessors,
        declared=tuple(name for schema in schemas for name in schema.get("properties") or ()),
        recalls=HISTORY in names | sources,
        looks_up=KNOWLEDGE in names | sources,
        unnamed=sources - names,
        may_quote=not instruction.names.isdisjoint((*TEXTS, "input")),
    )


async def prepare(task: NodeTask, node: Node, definition: WorkflowDefinition, memory: Memory) -> Work:
    """`work_of`, planned for this task alone."""
    return await work_of(task, plan(node, definition), memory)


async def work_of(task: NodeTask, plan: Plan, memory: Memory, agent: AgentMetadata | None = None) -> Work:
    """The work of one attempt; `agent`: whose bounds hold where the node says none.

    Raises Fatal for a template that cannot be rendered, Retryable while memory is not ready.
    """
    node, unnamed = plan.node, plan.unnamed
    said = _customer_text(task.input)
    history: Sequence[HistoryMessage] = ()
    knowledge: Sequence[Passage] = ()
    if plan.recalls:
        limit = plan.window
        limit = limit if task.earlier is None else min(limit, task.earlier)
        history = await memory.history(task.conversation_id, before=task.ordinal, limit=limit) if limit else ()
    if plan.looks_up and said.strip():
        knowledge = await memory.knowledge(said[:MAX_QUERY], top_k=plan.top_k)
    scope = _scope(task, plan, history, knowledge)
    try:
        asked = plan.instruction.render(scope, node=node.id)
        told = plan.system.render(scope, node=node.id) if plan.system is not None else None
    except TemplateFault as fault:
        raise Fatal(f"{fault}. Mend the template, or give the field in the message's context.") from fault
    for source, heading, lines in (
        (HISTORY, "The conversation so far, oldest first", (entry(each.role, each.text) for each in history)),
        (KNOWLEDGE, "What the company's knowledge base says", (entry(each.title, each.text) for each in knowledge)),
    ):
        if source in unnamed:
            asked += _section(source, heading, lines, plan.instruction.tags)
    config = node.config
    return Work(
        conversation_id=task.conversation_id,
        run_id=task.run_id,
        node_id=node.id,
        execution_id=task.execution_id,
        attempt=task.attempt,
        instruction=asked,
        system_prompt=told,
        profile=plan.profile,
        customer_text=said,
        output_schema=config.output_schema,
        temperature=config.temperature,
        max_tokens=config.max_tokens or (4096 if agent is None else agent.max_tokens),
        max_iterations=config.max_iterations or (10 if agent is None else agent.max_iterations),
        max_retries=3 if config.max_retries is None else config.max_retries,
        now_ms=task.time_ms,
        may_quote=plan.may_quote,
    )


def profile_of(label: str | None, profiles: Mapping[str, Any]) -> str:
    """The profile behind a node's label: what the definition says it stands for, else the label itself; balanced without one.

    A profile of the author's own making (a mapping that says more than another's name) has its label as its name.
    """
    if not label:
        return DEFAULT_PROFILE
    meant = profiles.get(label, label)
    if isinstance(meant, Mapping):
        named = meant.get("profile")
        return named if isinstance(named, str) and named and len(meant) == 1 else label
    return meant if isinstance(meant, str) and meant else label


@lru_cache(maxsize=1024)
def _compiled(source: str) -> Template:
    """Compiled once per text. Pure: the same source always gives the same template."""
    return Template(source)


def _scope(task: NodeTask, plan: Plan, history: Sequence[HistoryMessage], knowledge: Sequence[Passage]) -> dict[str, Any]:
    return template_scope(
        task.input,
        task.context,
        plan.nodes,
        task.outputs,
        plan.predecessors,
        [{"role": each.role, "text": each.text} for each in history],
        [{"title": each.title, "text": each.text, "score": each.score} for each in knowledge],
        declared=plan.declared,
    )


def _customer_text(given: Mapping[str, Any]) -> str:
    for name in TEXTS:
        if isinstance(given.get(name), str):
            return str(given[name])
    return ""


def _section(tag: str, heading: str, lines: Iterable[str], guarded: frozenset[str]) -> str:
    body = inert("\n".join(lines), guarded) or "(nothing)"
    return f"\n\n{heading}:\n<{tag}>\n{body}\n</{tag}>"

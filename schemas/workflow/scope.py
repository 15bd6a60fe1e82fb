"""What conditions and templates see of a run, by name.

Nearest first: node ids; the words `input`, `context`, `output`; fields of the direct predecessors' outputs; input fields;
context fields. So nothing that a message says can stand for what a node said, whether that node has run or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from schemas.workflow.delimiters import entry
from schemas.workflow.values import NOT_RUN, Absent, Listing

MISSING: Final = object()
RESERVED = ("END", "input", "context", "output", "conversation_history", "knowledge_base")
"""Words that no node may have as its id, and that no message may have as a name in its context or input."""
WORDS = frozenset(RESERVED)


def taken_names(node_ids: Iterable[str]) -> frozenset[str]:
    """What no name in a message's context or input may be in a workflow with these nodes."""
    return WORDS.union(node_ids)


def condition_scope(
    input: Mapping[str, Any],
    context: Mapping[str, Any],
    outputs: Mapping[str, Any],
    *,
    output: Any = MISSING,
    names: frozenset[str] | None = None,
) -> dict[str, Any]:
    """The scope of an edge's condition (with its source's `output`) or a node's (without).

    `outputs` has the finished nodes; a node that has not finished, or was skipped, is not there. `names`: all node ids and
    words, as `taken_names` has them.
    """
    scope: dict[str, Any] = {**context, **input}
    taken = WORDS if names is None else names
    if not taken.isdisjoint(scope):
        scope = {name: value for name, value in scope.items() if name not in taken}
    scope["input"], scope["context"] = input, context
    if output is not MISSING:
        scope["output"] = output
    return scope | {node: {"output": value} for node, value in outputs.items()}


def template_scope(
    input: Mapping[str, Any],
    context: Mapping[str, Any],
    node_ids: Iterable[str] | Mapping[str, Any],
    outputs: Mapping[str, Any],
    predecessors: Sequence[str],
    history: Sequence[Mapping[str, Any]] = (),
    knowledge: Sequence[Mapping[str, Any]] = (),
    *,
    declared: Iterable[str] = (),
) -> dict[str, Any]:
    """The scope of a prompt.

    `history` items have `role` and `text`, `knowledge` items `title` and `text`. `declared` are fields that the predecessors'
    output schemas promise: when a predecessor did not give one it is falsy, not unknown. `node_ids`: best as `not_run` has them.
    """
    fields: dict[str, Any] = {}
    for node in predecessors:
        if isinstance(outputs.get(node), Mapping):
            fields = {**outputs[node], **fields}
    return {
        **{name: Absent(obj=fields, name=name) for name in declared},
        **_own_names(context),
        **_own_names(input),
        **fields,
        "input": input,
        "context": context,
        "conversation_history": _listing(history, "role"),
        "knowledge_base": _listing(knowledge, "title"),
        **(node_ids if isinstance(node_ids, Mapping) else not_run(node_ids)),
        **{node: {"output": value} for node, value in outputs.items()},
    }


def not_run(node_ids: Iterable[str]) -> dict[str, Any]:
    """What every node of a workflow is in a prompt before it has run."""
    return dict.fromkeys(node_ids, NOT_RUN)


def _own_names(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a message gives under names that are no words."""
    if WORDS.isdisjoint(given):
        return given
    return {name: value for name, value in given.items() if name not in WORDS}


def _listing(items: Sequence[Mapping[str, Any]], label: str) -> Listing:
    """Prints as `label: text` lines; each item also answers to `content`."""
    if not items:
        return Listing([], "")
    lines = [entry(str(item.get(label, "")), str(item.get("text", ""))) for item in items]
    return Listing([{"content": item.get("text", ""), **item} for item in items], "\n".join(lines))

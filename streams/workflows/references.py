"""Faults of prompts and conditions: those that do not compile, and those that name what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from schemas.workflow.definition import Condition, Node
from schemas.workflow.faults import Fault, KeyPath, did_you_mean, nearest
from schemas.workflow.language import BARE_WORDS, quoted_operands
from schemas.workflow.templates import Template, TemplateFault
from streams.core.conditions import ConditionFault, compile_condition
from streams.workflows.subject import Subject

TEXTS = ("prompt_template", "task", "goal", "system_prompt")
WORDS = frozenset({"input", "context", "output", "conversation_history", "knowledge_base"})


def reference_faults(subject: Subject) -> Iterator[Fault]:
    """Everything that is wrong with templates and conditions."""
    for path, node in subject.placed_nodes:
        for key in TEXTS:
            source = getattr(node, key)
            if source:
                yield from _template(subject, (*path, key), source, node)
        if node.condition is not None:
            visible = subject.before(node.id)
            yield from _condition(subject, (*path, "condition"), node.condition, visible, f"the condition of `{node.id}`", None)
    for path, edge in subject.placed_edges:
        if edge.condition is not None:
            visible = {edge.source} | subject.before(edge.source)
            what = f"the condition of the edge from `{edge.source}` to `{edge.target}`"
            yield from _condition(subject, (*path, "condition"), edge.condition, visible, what, edge.source)


def _template(subject: Subject, path: KeyPath, source: str, node: Node) -> Iterator[Fault]:
    positions = subject.draft.positions
    try:
        template = Template(source)
    except TemplateFault as fault:
        line = positions.text_line(path, fault.line)
        message = f"the {path[-1]} of `{node.id}` does not compile: {fault.message}"
        yield subject.error(path, message, "mend it in this line; the syntax is Jinja2's", "template", line=line)
        return
    declared = {name for each in subject.predecessors[node.id] for name in _properties(subject.nodes[each].config.output_schema)}
    visible = subject.before(node.id)
    for reference in template.references:
        if reference.path[0] in declared and reference.path[0] not in subject.nodes:
            continue
        line = positions.text_line(path, reference.line)

        def at(kind: Callable[..., Fault], message: str, remedy: str, code: str, line: int = line) -> Fault:
            return kind(path, message, remedy, code, line=line)

        yield from _reference(subject, reference.path, visible, f"the {path[-1]} of `{node.id}`", at)


def _condition(
    subject: Subject, path: KeyPath, condition: Condition, visible: set[str], what: str, source: str | None
) -> Iterator[Fault]:
    try:
        compiled = compile_condition(condition)
    except ConditionFault as fault:
        yield subject.error((*path, "expression"), f"{what} does not compile: {fault.message}", fault.remedy, "condition")
        return

    def at(kind: Callable[..., Fault], message: str, remedy: str, code: str) -> Fault:
        return kind((*path, "expression"), message, remedy, code)

    for text in quoted_operands(condition.expression) if compiled.type == "jmespath" else ():
        message = f'{what} compares with `"{text}"`, which is the name of a field in JMESPath'
        yield at(subject.warning, message, f"write `'{text}'` if you mean the text", "quoted-name")
    for reference in sorted(compiled.paths):
        name = reference[0]
        if name in BARE_WORDS and compiled.type == "jmespath":
            message = f"{what} names a field `{name}`: in JMESPath a value stands in backticks"
            yield at(subject.warning, message, f"write `` `{name.lower().replace('none', 'null')}` ``", "bare-word")
        elif name == "output" and source is None:
            message = f"{what} names `output`, which only the condition of an edge has"
            yield at(subject.warning, message, "name a node: `<id>.output`", "no-output")
        elif name == "output" and source in subject.nodes:
            yield from _fields(subject, source, reference[1:], "output", what, at)
        else:
            yield from _reference(subject, reference, visible, what, at)


def _reference(
    subject: Subject, path: tuple[str, ...], visible: set[str], what: str, at: Callable[..., Fault]
) -> Iterator[Fault]:
    """Faults of one name and the fields below it. Plain unknown names may be fields of an input, so they are left alone."""
    name, *fields = path
    if name not in subject.nodes:
        if name in WORDS:
            return
        hyphenated = next((each for each in subject.ids if name in each.split("-")[1:]), None)
        if hyphenated and fields[:1] == ["output"]:
            message = f"{what} names `{name}`, for `{hyphenated}` is read as a subtraction there"
            remedy = f'in a jmespath condition write `"{hyphenated}".output`; elsewhere use an id without `-`'
            yield at(subject.error, message, remedy, "hyphen")
            return
        if fields[:1] == ["output"]:
            message = f"{what} names the node `{name}`, which is not there"
            yield at(subject.error, message, did_you_mean(name, subject.ids), "unknown-node")
        elif close := nearest(name, [each for each in subject.ids if len(each) > 4 and abs(len(each) - len(name)) < 3]):
            message = f"{what} names `{name}`, which is neither a node nor a field we know of"
            yield at(
                subject.warning, message, f"did you mean {close}? A field of the message or its context is fine", "unknown-name"
            )
        return
    if name not in visible:
        message = f"{what} names `{name}`, which is not before it and may not have run yet"
        yield at(subject.warning, message, f"lead an edge from `{name}` here, or do without it", "not-upstream")
    if fields and fields[0] != "output":
        message = f"{what} names `{'.'.join(path)}`, but a node has `.output` only"
        yield at(subject.warning, message, f"write `{name}.output.{'.'.join(fields)}`", "unknown-field")
    else:
        yield from _fields(subject, name, tuple(fields[1:]), f"{name}.output", what, at)


def _fields(
    subject: Subject, node: str, fields: Iterable[str], shown: str, what: str, at: Callable[..., Fault]
) -> Iterator[Fault]:
    """Warn of a field that the node's output schema does not have."""
    schema: Any = subject.nodes[node].config.output_schema
    for field in fields:
        known = _properties(schema)
        if not known or schema.get("additionalProperties") not in (None, False):
            return
        if field not in known:
            message = f"{what} names `{shown}.{field}`, which the output_schema of `{node}` does not have"
            yield at(subject.warning, message, did_you_mean(field, list(known)), "unknown-field")
            return
        schema, shown = known[field], f"{shown}.{field}"


def _properties(schema: Any) -> Mapping[str, Any]:
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}

"""A workflow file as a definition, with the line of everything in it. Reports every fault of form at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.workflow import definition as dialect
from schemas.workflow.definition import MOVABLE, WorkflowDefinition
from schemas.workflow.document import Positions, read_document
from schemas.workflow.faults import Fault, InvalidWorkflow, KeyPath, did_you_mean, errors, in_order

PLACEHOLDERS: dict[str, Any] = {"name": "unnamed", "version": "0.0.0", "agent": ""}
"""Stand in for a required key that is missing or wrong, so that the rest of the file can be checked too."""
ROUNDS = 30


@dataclass(frozen=True, slots=True)
class Draft:
    """What could be understood of a file. With errors among the faults, `definition` is good for further checks only."""

    definition: WorkflowDefinition
    positions: Positions
    faults: tuple[Fault, ...]
    nodes: tuple[int, ...]
    """For each node of the definition, its place in the file's list: broken ones are left out."""
    edges: tuple[int, ...]

    @property
    def file(self) -> str:
        return self.positions.file

    def fault(
        self, path: KeyPath, message: str, remedy: str, code: str, *, warning: bool = False, line: int | None = None
    ) -> Fault:
        at = line if line is not None else self.positions.line(path)
        return Fault(self.file, at, path, message, remedy, "warning" if warning else "error", code)


def load(source: str | Path, *, file: str | None = None) -> tuple[WorkflowDefinition, Positions]:
    """The definition a file (Path) or text (str) holds. Raises InvalidWorkflow with every fault of form."""
    drafted = draft(source, file=file)
    if errors(drafted.faults):
        raise InvalidWorkflow(drafted.faults)
    return drafted.definition, drafted.positions


def draft(source: str | Path, *, file: str | None = None) -> Draft:
    """As much of a definition as can be understood, and what is wrong with it. Raises InvalidWorkflow when nothing can be."""
    value, positions, faults = read_document(source, file=file)
    work = _Salvage(copy.deepcopy(value), positions)
    definition = work.definition()
    found = in_order([*faults, *work.faults, *_replaced_stores(definition, positions)])
    return Draft(definition, positions, tuple(found), tuple(work.nodes), tuple(work.edges))


def as_draft(definition: WorkflowDefinition) -> Draft:
    """A definition that comes from no file, for checks that need one."""
    graph = definition.workflow
    return Draft(definition, Positions(definition.name), (), tuple(range(len(graph.nodes))), tuple(range(len(graph.edges))))


def _replaced_stores(definition: WorkflowDefinition, positions: Positions) -> list[Fault]:
    store, path = definition.memory.long_term.type, ("memory", "long_term", "type")
    if store == "pgvector":
        return []
    message = f"the knowledge store `{store}` is not installed, so pgvector is used instead"
    if store not in ("pinecone", "chroma"):
        message = f"there is no knowledge store `{store}`, so pgvector is used"
    return [Fault(positions.file, positions.line(path), path, message, "write `type: pgvector`", "warning", "store")]


@dataclass(slots=True)
class _Salvage:
    """Validates; takes what is wrong out; validates again, so that one fault does not hide the next."""

    value: dict[str, Any]
    positions: Positions
    faults: list[Fault] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    edges: list[int] = field(default_factory=list)

    def definition(self) -> WorkflowDefinition:
        graph = self.value.get("workflow")
        lists = graph if isinstance(graph, dict) else {}
        self.nodes = list(range(len(lists["nodes"]))) if isinstance(lists.get("nodes"), list) else []
        self.edges = list(range(len(lists["edges"]))) if isinstance(lists.get("edges"), list) else []
        for _ in range(ROUNDS):
            try:
                return WorkflowDefinition.model_validate(self.value)
            except ValidationError as failed:
                details = [(self.path(error), error) for error in failed.errors(include_url=False, include_context=True)]
            self.report(details)
            for path, error in sorted(details, key=lambda found: [str(part).rjust(8) for part in found[0]], reverse=True):
                self.take_out(path, missing=error["type"] == "missing")
        raise InvalidWorkflow(self.faults)

    def path(self, error: ErrorDetails) -> KeyPath:
        """The error's place in the value: pydantic also names the branches of unions, which are not in the file."""
        path: KeyPath = ()
        at: Any = self.value
        last = len(error["loc"]) - 1
        for index, part in enumerate(error["loc"]):
            if isinstance(at, (dict, list)) and _has(at, part):
                path, at = (*path, part), at[part]  # type: ignore[index]  # _has says that the part fits
            elif isinstance(at, dict) and part in MOVABLE and isinstance(at.get("config"), dict) and part in at["config"]:
                path, at = (*path, "config", part), at["config"][part]
            elif index == last and error["type"] == "missing":
                path = (*path, part)
        return path

    def report(self, details: Sequence[tuple[KeyPath, ErrorDetails]]) -> None:
        known = {fault.path for fault in self.faults}
        for path, error in details:
            written = self.written(path)
            if written not in known:
                known.add(written)
                message, remedy, code = _in_words(path, error)
                self.faults.append(Fault(self.positions.file, self.positions.line(written), written, message, remedy, code=code))

    def written(self, path: KeyPath) -> KeyPath:
        """The same place in the file, where nothing was taken out."""
        for name, places in (("nodes", self.nodes), ("edges", self.edges)):
            if path[:2] == ("workflow", name) and len(path) > 2 and isinstance(path[2], int) and path[2] < len(places):
                return ("workflow", name, places[path[2]], *path[3:])
        return path

    def take_out(self, path: KeyPath, *, missing: bool) -> None:
        if not path:
            return
        *above, last = path
        holder: Any = self.value
        for part in above:
            if not _has(holder, part):
                return
            holder = holder[part]
        in_graph = path[:2] in (("workflow", "nodes"), ("workflow", "edges"))
        if len(path) == 3 and in_graph:
            self.drop_item(path)
        elif len(path) == 4 and in_graph and last in ("id", "from", "to", "source", "target"):
            self.drop_item(path[:3])
        elif path in (("workflow",), ("workflow", "nodes")):
            holder[last] = {"nodes": []} if len(path) == 1 else []
        elif last in PLACEHOLDERS and len(path) in (1, 4):
            holder[last] = PLACEHOLDERS[str(last)]
        elif missing:
            self.take_out(tuple(above), missing=False)
        elif isinstance(holder, dict):
            holder.pop(last, None)
        elif isinstance(holder, list) and isinstance(last, int) and last < len(holder):
            del holder[last]

    def drop_item(self, path: KeyPath) -> None:
        index, name = path[2], path[1]
        items = self.value["workflow"][name]
        if isinstance(index, int) and index < len(items):
            del items[index]
            del (self.nodes if name == "nodes" else self.edges)[index]


def _has(holder: Any, part: str | int) -> bool:
    if isinstance(holder, dict):
        return part in holder
    return isinstance(holder, list) and isinstance(part, int) and part < len(holder)


def _in_words(path: KeyPath, error: ErrorDetails) -> tuple[str, str, str]:
    """(message, remedy, code) of one of pydantic's errors."""
    last = path[-1] if path else "the file"
    key = f"item {last + 1}" if isinstance(last, int) else last
    where = _where(path[:-1])
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        if path[:2] == ("workflow", "nodes") and len(path) == 4 and key in dialect.NodeConfig.model_fields:
            return f"`{key}` stands beside `config`{where}", f"move it below `config:`, as `config: {{{key}: …}}`", "unknown-key"
        return (
            f"unknown key `{key}`{where}",
            did_you_mean(key, known, otherwise=f"remove it; known keys are {', '.join(known)}"),
            "unknown-key",
        )
    if kind == "missing":
        return f"the key `{key}` is missing{where}", f"add `{key}:`{_example(key)}", "missing-key"
    if kind == "literal_error":
        choice = [word.strip("'") for word in str(context.get("expected", "")).replace(" or ", ", ").split(", ")]
        return f"`{_short(given)}` is no {key}{where}", did_you_mean(str(given), choice), "value"
    if kind == "string_pattern_mismatch":
        return (
            f"`{_short(given)}` is no {key}{where}",
            _PATTERNS.get(key, "write it in letters and digits, without `@`"),
            "value",
        )
    if kind == "string_type":
        return (
            f"`{key}` is {_kind(given)}, not text{where}",
            f"put it in quotes{_example(key) if key == 'version' else ''}",
            "value",
        )
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"`{key}` is {_kind(given)}, not a mapping{where}", "write keys and values there", "value"
    if kind == "list_type":
        return f"`{key}` is {_kind(given)}, not a list{where}", f"write its items below `{key}:`, each after `- `", "value"
    for limit, words in _BOUNDS.items():
        if limit in context:
            return f"`{key}: {_short(given)}` is beyond its bounds{where}", f"write {words} {context[limit]:,}", "value"
    message = error["msg"].replace("Input should be ", "it should be ").replace("Value error, ", "")
    return f"`{key}: {_short(given)}` is not accepted{where}", message[:1].lower() + message[1:], "value"


_BOUNDS = {"le": "at most", "lt": "less than", "ge": "at least", "gt": "more than"}
_PATTERNS = {
    "version": 'write three numbers, e.g. "1.0.0"',
    "name": "start with a letter or digit, then letters, digits, `-`, `_` and `.`",
}


def _example(key: str) -> str:
    return {"version": ', e.g. "1.0.0"', "agent": ", the name of a registered agent"}.get(key, "")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    for types, words in (((int, float), f"the number {value}"), ((str,), "a text"), ((dict,), "a mapping"), ((list,), "a list")):
        if isinstance(value, types):
            return words
    return "empty"


def _where(path: KeyPath) -> str:
    """ " in `workflow.nodes[2].config`", empty at the top."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return f" in `{text}`" if text else ""


def _keys_at(path: KeyPath) -> list[str]:
    """The keys the dialect knows at a place."""
    model: Any = WorkflowDefinition
    for part in path:
        if isinstance(part, int) or not isinstance(model, type) or not issubclass(model, BaseModel):
            continue
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        model = _model_in(fields[part].annotation) if part in fields else None
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        return []
    names = [info.alias or name for name, info in model.model_fields.items()]
    return [*names, *MOVABLE] if model is dialect.NodeConfig else names


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument)) is not None), None)

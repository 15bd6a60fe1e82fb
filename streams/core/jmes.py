"""`jmespath`: the specification's truth and comparisons, within a budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from schemas.workflow.bounds import MAX_ITEMS, Budget, TooMuch
from schemas.workflow.faults import did_you_mean
from schemas.workflow.language import parse_jmespath

MAX_SOURCE = 10_000
Path = tuple[str, ...]
COPIES = frozenset({"flatten", "multi_select_list", "multi_select_dict", "projection", "filter_projection", "value_projection"})
"""Nodes that make new lists and mappings."""
SHARES = COPIES & {"multi_select_list", "multi_select_dict"} | {
    *("comparator", "function_expression", "or_expression", "and_expression", "not_expression", "key_val_pair")
}
"""Nodes whose every part looks at the same value. Of all others only the first part does."""


class QueryFault(ValueError):
    """The text is no JMESPath expression. `remedy` says what to write instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed expression. `paths` are the names it takes from its scope, each with the constant fields below it."""

    tree: Any
    paths: frozenset[Path]

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Everything is true but null, false, "", [] and {}: 0 is true. Raises JMESPathError, TooMuch or RecursionError."""
        value = _Interpreter().visit(self.tree, scope)
        return not (value is None or value is False or value in ("", [], {}))


def parse(source: str) -> Query:
    """Raises QueryFault."""
    if len(source) > MAX_SOURCE:
        raise QueryFault(f"the expression is longer than {MAX_SOURCE:,} characters", "let a node compute it and test its output")
    try:
        tree: Any = _negated_last(parse_jmespath(source))
        functions = [node["value"] for node in _walk(tree) if node["type"] == "function_expression"]
    except JMESPathError as error:
        first = str(error).strip().splitlines()[0].rstrip(":")
        raise QueryFault(f"this is no JMESPath expression: {first}", _advice(source)) from None
    except (RecursionError, ValueError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise QueryFault(f"this is no JMESPath expression: {reason}", "write it simpler") from None
    known = sorted(Functions.FUNCTION_TABLE)
    for name in functions:
        if name not in known:
            raise QueryFault(f"JMESPath has no function {name}()", did_you_mean(name, known))
    return Query(tree, frozenset(_paths(tree)))


def _advice(source: str) -> str:
    if " and " in source or " or " in source or "not " in source:
        return "in JMESPath these are `&&`, `||` and `!`; or use `type: python_expr`"
    if any(mark in source for mark in "<>="):
        return "numbers stand in backticks and texts in single quotes: output.confidence > `0.8` && output.intent == 'refund'"
    return "see jmespath.org, or use `type: python_expr`"


def _negated_last(node: Any) -> Any:
    """`!a.b` as people mean it: not (a.b). The library reads (not a).b, which is null whatever a is."""
    children = [_negated_last(child) if isinstance(child, dict) else child for child in node["children"]]
    if node["type"] in ("subexpression", "index_expression") and children[0]["type"] == "not_expression":
        inner = {**node, "children": [children[0]["children"][0], *children[1:]]}
        return {**children[0], "children": [_negated_last(inner)]}
    return {**node, "children": children}


def _parts(node: Any) -> list[Any]:
    return [child for child in node["children"] if isinstance(child, dict)]


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for child in _parts(node):
        yield from _walk(child)


def _paths(node: Any) -> Iterator[Path]:
    if path := _path(node):
        yield path
        return
    parts = [part for part in _parts(node) if part["type"] != "expref"]
    for part in parts if node["type"] in SHARES else parts[:1]:
        yield from _paths(part)


def _path(node: Any) -> Path:
    """The path from the scope down, as far as it is constant."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] != "subexpression":
        return ()
    first, *rest = (_path(part) for part in node["children"])
    for part in rest if first else ():
        if not part:
            break
        first += part
    return first


class _Interpreter(TreeInterpreter):
    """Jmespath's own, with a meter. Where the specification says null, comparing unlike kinds is null, not an error."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget()
        self.functions = Functions()

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self.budget.spend(5)
        value = super().visit(node, *args, **kwargs)
        if isinstance(value, list) and len(value) > MAX_ITEMS:
            raise TooMuch(f"a list would have more than {MAX_ITEMS:,} items")
        return self.budget.weigh(value) if node["type"] in COPIES else value

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        arguments = [self.budget.weigh(self.visit(part, value)) for part in node["children"]]
        return self.budget.weigh(self.functions.call_function(node["value"], arguments))

    def visit_comparator(self, node: Any, value: Any) -> Any:
        left, right = (self.budget.weigh(self.visit(part, value)) for part in node["children"])
        if node["value"] not in ("eq", "ne") and isinstance(left, str) is not isinstance(right, str):
            return None
        literals: Any = [{"type": "literal", "value": side, "children": []} for side in (left, right)]
        compared: Any = {**node, "children": literals}
        return super().visit_comparator(compared, value)

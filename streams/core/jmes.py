"""`jmespath`: the specification's truth and comparisons, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jmespath.exceptions import JMESPathError, JMESPathTypeError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from schemas.workflow.bounds import ITEM, MAX_ITEMS, MAX_TEXT, Allowance, Budget, TooMuch, figures, numeral, within_budget
from schemas.workflow.bounds import MAX_DEPTH as MAX_NESTED
from schemas.workflow.comparing import compare, search, sorting
from schemas.workflow.faults import did_you_mean
from schemas.workflow.language import parse_jmespath

MAX_SOURCE = 10_000
MAX_DEPTH = 150
STEP = 25
"""Units that one step of the syntax tree costs."""
CALL = 60
"""Units of calling a function, beside what it does."""
Path = tuple[str, ...]
SHARES = frozenset(
    {
        *("multi_select_list", "multi_select_dict", "comparator", "function_expression"),
        *("or_expression", "and_expression", "not_expression", "key_val_pair"),
    }
)
"""Nodes whose every part looks at the same value. Of all others only the first part does."""
SYMBOLS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
KINDS = {"str": "a text", "list": "a list", "dict": "a mapping", "NoneType": "null", "bool": "a truth value"}
FUNCTIONS = Functions()


def _each(budget: Budget, *values: Any) -> None:
    """Goes through its lists and mappings once, and makes others of at most their sizes."""
    for value in values:
        if isinstance(value, str):
            budget.written(len(value))
        elif isinstance(value, (list, Mapping)):
            budget.collected(len(value), ITEM + 2)


def _deep(budget: Budget, *values: Any) -> None:
    """Compares what is inside of its lists."""
    _each(budget, *values)
    for value in values:
        budget.weigh(value)


def _contains(budget: Budget, subject: Any = None, sought: Any = None, *_: Any) -> None:
    if isinstance(subject, str) and isinstance(sought, str):
        search(budget, len(subject), len(sought))


def _joins(budget: Budget, separator: Any = None, parts: Any = None, *_: Any) -> None:
    if isinstance(separator, str) and isinstance(parts, list):
        budget.spend(ITEM * len(parts))
        budget.written(sum([len(part) for part in parts if isinstance(part, str)]) + len(separator) * len(parts))


def _sorts(budget: Budget, values: Any = None, *_: Any) -> None:
    if isinstance(values, list):
        _each(budget, values)
        sorting(budget, values)


def _ends(budget: Budget, *values: Any) -> None:
    budget.weigh(list(values))


def _writes(budget: Budget, value: Any = None, *_: Any) -> None:
    """As JSON, where a character may take six."""
    budget.spend(2 * CALL + budget.price(value))
    if budget.characters > MAX_TEXT and not isinstance(value, str):
        raise TooMuch(f"a text would have more than {MAX_TEXT:,} characters")
    budget.spend(budget.characters >> 3)
    if isinstance(value, int):
        figures(budget, value)


PRICES: Mapping[str, Callable[..., None]] = {
    **dict.fromkeys(("type", "length", "not_null", "to_array"), lambda budget, *values: budget.spend(ITEM)),
    **dict.fromkeys(("abs", "ceil", "floor", "sum", "avg", "min", "max"), _deep),
    **dict.fromkeys(("keys", "values", "merge", "reverse", "map"), _each),
    **dict.fromkeys(("sort", "sort_by", "min_by", "max_by"), _sorts),
    **dict.fromkeys(("starts_with", "ends_with"), _ends),
    "contains": _contains,
    "join": _joins,
    "to_string": _writes,
    "to_number": lambda budget, value=None, *_: numeral(budget, value),
}
"""What each function takes, paid for before it is called. One that is not named here does not exist."""


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

    def holds(self, scope: Mapping[str, Any], allowance: Allowance | None = None) -> bool:
        """Everything is true but null, false, "", [] and {}: 0 is true. Raises JMESPathError, TooMuch or RecursionError."""
        value = within_budget(lambda budget: _Interpreter(budget).visit(self.tree, scope), allowance)
        return not (value is None or value is False or value in ("", [], {}))


def parse(source: str) -> Query:
    """Raises QueryFault."""
    if len(source) > MAX_SOURCE:
        raise QueryFault(f"the expression is longer than {MAX_SOURCE:,} characters", "let a node compute it and test its output")
    try:
        parsed: Any = parse_jmespath(source)
        _check_depth(parsed)
        tree = _negated_last(parsed)
        functions = [node["value"] for node in _walk(tree) if node["type"] == "function_expression"]
    except JMESPathError as error:
        first = str(error).strip().splitlines()[0].rstrip(":")
        raise QueryFault(f"this is no JMESPath expression: {first}", _advice(source)) from None
    except (RecursionError, ValueError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise QueryFault(f"this is no JMESPath expression: {reason}", "write it simpler") from None
    known = sorted(PRICES)
    for name in functions:
        if name not in known:
            raise QueryFault(f"JMESPath has no function {name}()", did_you_mean(name, known))
    return Query(tree, frozenset(_paths(tree)))


def _check_depth(tree: Any) -> None:
    level = [tree]
    for _ in range(MAX_DEPTH):
        level = [part for node in level for part in _parts(node)]
        if not level:
            return
    raise RecursionError


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

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self.budget = budget
        self.functions = FUNCTIONS

    def visit(self, node: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        self.budget.spend(STEP)
        made = STEPS[node["type"]](self, node, value)
        if type(made) is list and len(made) > MAX_ITEMS:
            raise TooMuch(f"a list would have more than {MAX_ITEMS:,} items")
        return made

    def visit_slice(self, node: Any, value: Any) -> Any:
        part = slice(*node["children"])
        if isinstance(value, list):
            self.budget.collected(len(range(*part.indices(len(value)))), 1)
            return value[part]
        return None

    def visit_flatten(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        self.budget.spend(ITEM * len(base))
        self.budget.collected(sum([len(each) if isinstance(each, list) else 1 for each in base]))
        merged: list[Any] = []
        for element in base:
            if isinstance(element, list):
                merged.extend(element)
            else:
                merged.append(element)
        return merged

    def visit_value_projection(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, Mapping):
            return None
        self.budget.collected(len(base), 4)
        found = [self.visit(node["children"][1], element) for element in base.values()]
        return [each for each in found if each is not None]

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        name = node["value"]
        self.budget.spend(CALL)
        arguments = [self.visit(part, value) for part in node["children"]]
        PRICES[name](self.budget, *arguments)
        if name == "contains" and len(arguments) == 2 and isinstance(arguments[0], list):
            return any(equal(each, arguments[1], self.budget) for each in arguments[0])
        try:
            made = self.functions.call_function(name, arguments)
        except JMESPathTypeError as error:  # its own words would write out the whole value
            given = type(error.current_value).__name__
            raise TypeError(f"{name}() cannot take {KINDS.get(given, given)}, only {', '.join(error.expected_types)}") from None
        if isinstance(made, str):
            self.budget.written(len(made))
        return made

    def visit_comparator(self, node: Any, value: Any) -> Any:
        left, right = (self.visit(part, value) for part in node["children"])
        symbol = SYMBOLS[node["value"]]
        if symbol in ("==", "!="):
            same = equal(left, right, self.budget)
            return same if symbol == "==" else not same
        if isinstance(left, str) is not isinstance(right, str) or not (_ordered(left) and _ordered(right)):
            return None
        return compare(symbol, left, right, self.budget)


def _ordered(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def equal(left: Any, right: Any, budget: Budget, depth: int = 0) -> bool:
    """JSON's equality at every depth: true is not 1. Paid for as it goes."""
    if depth > MAX_NESTED:
        raise TooMuch(f"its values are nested deeper than {MAX_NESTED} levels")
    budget.spend(4 * ITEM)
    if isinstance(left, list):
        if not isinstance(right, list) or len(left) != len(right):
            return False
        return all(equal(mine, other, budget, depth + 1) for mine, other in zip(left, right, strict=True))
    if isinstance(left, Mapping):
        if not isinstance(right, Mapping) or len(left) != len(right):
            return False
        return all(name in right and equal(mine, right[name], budget, depth + 1) for name, mine in left.items())
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(compare("==", left, right, budget))


STEPS: Mapping[str, Callable[[_Interpreter, Any, Any], Any]] = {
    name: getattr(_Interpreter, f"visit_{name}")
    for name in (
        *("subexpression", "field", "comparator", "current", "expref", "function_expression", "filter_projection", "flatten"),
        *("identity", "index", "index_expression", "slice", "literal", "multi_select_dict", "multi_select_list"),
        *("or_expression", "and_expression", "not_expression", "pipe", "projection", "value_projection", "key_val_pair"),
    )
}
"""All there is: what is not named here cannot happen."""

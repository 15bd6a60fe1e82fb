"""`python_expr`: Python's expressions over a run's values, interpreted from the syntax tree and never compiled to code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from schemas.workflow import methods
from schemas.workflow.bounds import Allowance, Bag, Budget, arithmetic, bag, look_up, table, within_budget
from schemas.workflow.comparing import compare
from streams.core.functions import FUNCTIONS, TYPES
from streams.core.grammar import ExpressionFault, checked

STEP = 15
"""Units of the budget that one step of the syntax tree costs."""
CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None, "none": None}
"""How authors of YAML and JSON spell them; a field of the same name comes first."""

ARITHMETIC: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitOr: "|",
    ast.BitAnd: "&",
    ast.BitXor: "^",
}
COMPARISON: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
MAX_SHOWN = 80
"""Characters of a name from the data in a message."""


class Unreachable(LookupError):
    """A name or field that is not there."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. `paths` are the names it takes from its scope, each with the constant fields below it."""

    tree: ast.expr
    paths: frozenset[tuple[str, ...]]

    def evaluate(self, scope: Mapping[str, Any], allowance: Allowance | None = None) -> Any:
        """Its value. Raises Unreachable, TooMuch, RecursionError, or what Python raises for such values (TypeError, …)."""
        return within_budget(lambda budget: _Evaluation(scope, budget).value(self.tree), allowance)


def parse(source: str) -> Expression:
    """Check an expression. Raises ExpressionFault that says what to write instead."""
    tree = checked(source)
    return Expression(tree, frozenset(_paths(tree, frozenset())))


class _Evaluation:
    """One walk over the tree. `scopes` has the variables of comprehensions, innermost first, and the run's values last."""

    __slots__ = ("budget", "scopes")

    def __init__(self, scope: Mapping[str, Any], budget: Budget) -> None:
        self.scopes: tuple[Mapping[str, Any], ...] = (scope,)
        self.budget = budget

    def value(self, node: ast.expr) -> Any:
        self.budget.spend(STEP)
        return STEPS[type(node)](self, node)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        for scope in self.scopes:
            if node.id in scope:
                return scope[node.id]
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        raise Unreachable(f"`{node.id}` is not there")

    def _attribute(self, node: ast.Attribute) -> Any:
        owner = self.value(node.value)
        if isinstance(owner, Mapping):
            if node.attr in owner:
                return owner[node.attr]
            raise Unreachable(f"`{_short(node)}` is not there: it has {_shown(owner)}")
        raise Unreachable(f"`{_short(node)}` is not there: `{_short(node.value)}` is {methods.kind(owner)}")

    def _subscript(self, node: ast.Subscript) -> Any:
        owner = self.value(node.value)
        if isinstance(node.slice, ast.Slice):
            low, high, step = (
                None if part is None else self.value(part) for part in (node.slice.lower, node.slice.upper, node.slice.step)
            )
            return methods.part(owner, slice(low, high, step), self.budget)
        key = self.value(node.slice)
        if isinstance(owner, Mapping):
            look_up(self.budget, owner, key)
        try:
            return owner[key]
        except LookupError:
            raise Unreachable(f"`{_short(node)}` is not there") from None

    def _slice(self, node: ast.Slice) -> Any:
        raise TypeError(f"`{_short(node)}` is one of several parts: take one at a time")

    def _boolop(self, node: ast.BoolOp) -> Any:
        stops_at = isinstance(node.op, ast.Or)
        value: Any = None
        for operand in node.values:
            value = self.value(operand)
            if bool(value) is stops_at:
                break
        return value

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        return -value if isinstance(node.op, ast.USub) else +value

    def _binop(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        return arithmetic(ARITHMETIC[type(node.op)], left, right, self.budget)

    def _compare(self, node: ast.Compare) -> Any:
        left = self.value(node.left)
        result: Any = True
        for operator, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand)
            result = compare(COMPARISON[type(operator)], left, right, self.budget)
            if not result:
                break
            left = right
        return result

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _list(self, node: ast.List) -> Any:
        return [self.value(item) for item in node.elts]

    def _tuple(self, node: ast.Tuple) -> Any:
        return tuple([self.value(item) for item in node.elts])

    def _set(self, node: ast.Set) -> Any:
        return bag(self.budget, (self.value(item) for item in node.elts))

    def _dict(self, node: ast.Dict) -> Any:
        pairs = zip(node.keys, node.values, strict=True)
        return table(self.budget, ((self.value(key), self.value(value)) for key, value in pairs if key is not None))

    def _joinedstr(self, node: ast.JoinedStr) -> Any:
        return methods.joined(self.budget, "", [self.value(part) for part in node.values])

    def _formattedvalue(self, node: ast.FormattedValue) -> Any:
        return FUNCTIONS["str"](self.budget, self.value(node.value))

    def _listcomp(self, node: ast.ListComp) -> Any:
        return self.budget.listed(self._turns(node.generators, lambda: self.value(node.elt)))

    def _setcomp(self, node: ast.SetComp) -> Any:
        return bag(self.budget, self._turns(node.generators, lambda: self.value(node.elt)))

    def _dictcomp(self, node: ast.DictComp) -> Any:
        pairs = self._turns(node.generators, lambda: (self.value(node.key), self.value(node.value)))
        return table(self.budget, pairs)

    def _generatorexp(self, node: ast.GeneratorExp) -> Any:
        """Only ever handed to one of our functions, which goes through it once: `any` stops early, as in Python."""
        return self._turns(node.generators, lambda: self.value(node.elt))

    def _turns(self, loops: list[ast.comprehension], each: Callable[[], Any]) -> Iterator[Any]:
        if not loops:
            yield each()
            return
        outer = self.scopes
        for item in self._iterable(loops[0].iter):
            self.budget.spend(2 * STEP)
            variables: dict[str, Any] = {}
            _bind(loops[0].target, item, variables)
            self.scopes = (variables, *outer)
            try:
                if all(self.value(test) for test in loops[0].ifs):
                    yield from self._turns(loops[1:], each)
            finally:
                self.scopes = outer

    def _iterable(self, node: ast.expr) -> Any:
        values = self.value(node)
        if isinstance(values, (str, list, tuple, Bag, Mapping)):
            return values
        raise TypeError(f"`{_short(node)}` is {methods.kind(values)}, not a list")

    def _call(self, node: ast.Call) -> Any:
        named = {keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg}
        if isinstance(node.func, ast.Name):
            if node.func.id == "isinstance":
                return isinstance(self.value(node.args[0]), _types(node.args[1]))
            arguments = [self.value(argument) for argument in node.args]
            return FUNCTIONS[node.func.id](self.budget, *arguments, **named)
        assert isinstance(node.func, ast.Attribute)
        owner = self.value(node.func.value)
        return methods.call(owner, node.func.attr, tuple([self.value(argument) for argument in node.args]), named, self.budget)


STEPS: Mapping[type[ast.expr], Callable[[_Evaluation, Any], Any]] = {
    ast.Constant: _Evaluation._constant,
    ast.Name: _Evaluation._name,
    ast.Attribute: _Evaluation._attribute,
    ast.Subscript: _Evaluation._subscript,
    ast.Slice: _Evaluation._slice,
    ast.BoolOp: _Evaluation._boolop,
    ast.UnaryOp: _Evaluation._unaryop,
    ast.BinOp: _Evaluation._binop,
    ast.Compare: _Evaluation._compare,
    ast.IfExp: _Evaluation._ifexp,
    ast.List: _Evaluation._list,
    ast.Tuple: _Evaluation._tuple,
    ast.Set: _Evaluation._set,
    ast.Dict: _Evaluation._dict,
    ast.JoinedStr: _Evaluation._joinedstr,
    ast.FormattedValue: _Evaluation._formattedvalue,
    ast.ListComp: _Evaluation._listcomp,
    ast.SetComp: _Evaluation._setcomp,
    ast.DictComp: _Evaluation._dictcomp,
    ast.GeneratorExp: _Evaluation._generatorexp,
    ast.Call: _Evaluation._call,
}
"""All there is: what is not named here cannot happen."""


def _bind(target: ast.expr, item: Any, variables: dict[str, Any]) -> None:
    if isinstance(target, ast.Name):
        variables[target.id] = item
        return
    assert isinstance(target, (ast.Tuple, ast.List))
    if not isinstance(item, (list, tuple, str)) or len(item) != len(target.elts):
        raise TypeError(f"{methods.kind(item)} cannot be spread over `{_short(target)}`")
    for part, value in zip(target.elts, item, strict=True):
        _bind(part, value, variables)


def _short(node: ast.expr) -> str:
    written = ast.unparse(node)
    return written if len(written) <= MAX_SHOWN else f"{written[: MAX_SHOWN - 1]}…"


def _types(node: ast.expr) -> tuple[type, ...]:
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    return tuple(kind for name in names if isinstance(name, ast.Name) for kind in TYPES[name.id])


def _shown(owner: Mapping[str, Any]) -> str:
    names = ", ".join(f"`{str(name)[:MAX_SHOWN]}`" for name in islice(owner, 8))
    return f"{names}{', …' if len(owner) > 8 else ''}" if names else "no fields"


def _paths(node: ast.AST, bound: frozenset[str]) -> Iterator[tuple[str, ...]]:
    if path := _path(node):
        if path[0] not in bound and path[0] not in CONSTANTS:
            yield path
        return
    if isinstance(node, ast.Call):
        inner = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        types = isinstance(node.func, ast.Name) and node.func.id == "isinstance"
        for part in [*inner, *node.args[: 1 if types else None], *(keyword.value for keyword in node.keywords)]:
            yield from _paths(part, bound)
        return
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        targets = (name.id for loop in node.generators for name in ast.walk(loop.target) if isinstance(name, ast.Name))
        bound |= frozenset(targets)
    for child in ast.iter_child_nodes(node):
        yield from _paths(child, bound)


def _path(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        inner, last = _path(node.value), node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        inner, last = _path(node.value), node.slice.value
    else:
        return ()
    return (*inner, last) if inner else ()


__all__ = ["Expression", "ExpressionFault", "Unreachable", "parse"]

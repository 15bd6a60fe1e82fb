"""Jinja2 as prompts may use it: metered, without includes, attributes of objects, or anything that reaches out.

A template's syntax tree is made of the nodes of PRICES alone. Before it is compiled, whatever works with values is turned into a
call of one of our filters, which pays first; what is left costs the same whatever its values are, and its loop's or macro's body
pays for it each time it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any, NoReturn

from jinja2 import UndefinedError, nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from schemas.workflow import methods
from schemas.workflow.bounds import MAX_BITS, Budget, arithmetic, bounded_range
from schemas.workflow.faults import did_you_mean
from schemas.workflow.filters import (
    COMPARE,
    CONCAT,
    FILTERS,
    LOOP,
    MAPPING,
    METHOD,
    PART,
    SPEND,
    TESTS,
    looped,
    printed,
)
from schemas.workflow.values import BUDGET, Absent, Made, Method, reach

MAX_DEPTH = 100
MAX_NODES = 2_000
CALL = 60
"""Units of a call, beside what it does."""
ATTRIBUTES: Mapping[type, frozenset[str]] = {
    LoopContext: methods.words("index index0 revindex revindex0 first last length depth depth0 previtem nextitem cycle changed"),
    Cycler: methods.words("next reset current"),
    Macro: methods.words("name"),
    Joiner: frozenset(),
}
"""What a template may see of Jinja's own objects. A namespace's attributes are the template's own."""


def _namespace(budget: Budget, *given: Any, **fields: Any) -> Namespace:
    return Namespace(_mapping(budget, *given), **fields)


def _mapping(budget: Budget, *given: Any, **fields: Any) -> dict[str, Any]:
    (base,) = given or ({},)
    if not isinstance(base, Mapping) or not all(isinstance(name, str) for name in base):
        raise TypeError("fields are named by texts")
    budget.collected(len(base) + len(fields), 5)
    return {**base, **fields}


def _cycler(budget: Budget, *items: Any) -> Cycler:
    return Cycler(*items)


def _joiner(budget: Budget, sep: str = ", ") -> Joiner:
    return Joiner(sep)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "namespace": _namespace,
    "joiner": _joiner,
    "cycler": _cycler,
    "range": bounded_range,
    "dict": _mapping,
}


class Sandbox(ImmutableSandboxedEnvironment):
    """The one environment of all templates. Stateless: what a render spends is in its context."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(undefined=Absent, finalize=printed, optimized=False, cache_size=0)
        self.globals = dict(FUNCTIONS)
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        if isinstance(obj, (Mapping, Absent)) or obj is None:
            return reach(obj, attribute)
        if isinstance(obj, Namespace) and not attribute.startswith("_"):
            return super().getattr(obj, attribute)
        if attribute in ATTRIBUTES.get(type(obj), ()):
            return getattr(obj, attribute)
        found = reach(obj, attribute)
        if isinstance(found, Absent) and attribute in methods.offered(obj):
            return Method(obj, attribute)
        return found

    def getitem(self, obj: Any, argument: Any) -> Any:
        return reach(obj, argument)

    def call(self, context: Context, obj: Any, /, *arguments: Any, **named: Any) -> Any:
        named.pop("_loop_vars", None)  # Jinja's own, for functions that take the context
        named.pop("_block_vars", None)
        budget: Budget = context[BUDGET]
        budget.spend(CALL)
        if isinstance(obj, (Absent, Method)):
            return obj.called(arguments, named, budget)
        if any(obj is function for function in FUNCTIONS.values()):
            return obj(budget, *arguments, **named)
        if isinstance(obj, LoopContext):
            (values,) = arguments
            return _written(budget, obj(looped(values), **named))
        if isinstance(obj, Macro):
            return _written(budget, obj(*arguments, **named))
        if isinstance(obj, Joiner):
            return obj()
        if isinstance(obj, MethodType) and isinstance(obj.__self__, (LoopContext, Cycler)):
            budget.weigh(arguments)
            return obj(*arguments, **named)
        raise UndefinedError("only methods, macros and the functions of templates can be called")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, Absent):
            left._check()
        budget: Budget = context[BUDGET]
        budget.spend(CALL)
        return arithmetic(operator, left, right, budget)


def _written(budget: Budget, made: str) -> Made:
    budget.written(len(made))
    return Made(made)


REFUSED: Mapping[type[nodes.Node], tuple[str, str]] = {
    nodes.Include: ("include", "write its text out"),
    nodes.Import: ("import", "write the macro in this template"),
    nodes.FromImport: ("import", "write the macro in this template"),
    nodes.Extends: ("extends", "write the whole prompt out"),
    nodes.Block: ("block", "remove it: there is nothing to extend"),
    nodes.ScopedEvalContextModifier: ("autoescape", "use the filter `escape` where it is needed"),
}
PRICES: Mapping[type[nodes.Node], int] = {
    **dict.fromkeys((nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.With, nodes.FilterBlock), 10),
    **dict.fromkeys((nodes.For, nodes.Macro, nodes.CallBlock, nodes.Assign, nodes.AssignBlock, nodes.Call), 30),
    **dict.fromkeys((nodes.Getattr, nodes.Getitem), 40),
    **dict.fromkeys((nodes.Filter, nodes.Test, nodes.Compare, nodes.Concat, nodes.Dict, nodes.Pair, nodes.Slice), 15),
    **dict.fromkeys((nodes.Name, nodes.NSRef, nodes.Const, nodes.Tuple, nodes.List, nodes.Keyword, nodes.Operand), 5),
    **dict.fromkeys((nodes.CondExpr, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos), 5),
    **dict.fromkeys((nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow), 10),
}
"""All a template is made of, with the units each takes whatever its values are."""
COMPARISONS = {
    "eq": "==",
    "ne": "!=",
    "gt": ">",
    "gteq": ">=",
    "lt": "<",
    "lteq": "<=",
    "in": "in",
    "notin": "not in",
}


def check(tree: nodes.Template, sandbox: Sandbox) -> None:
    """Refuse what templates may not say. Raises TemplateSyntaxError."""
    level: list[nodes.Node] = [tree]
    count = 0
    for _ in range(MAX_DEPTH):
        for node in level:
            _check(node, sandbox)
        count += len(level)
        if count > MAX_NODES:
            _refuse(tree, f"it has more than {MAX_NODES:,} parts: let a node prepare the data")
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    _refuse(tree, "it is nested too deeply: write it simpler")


def _check(node: nodes.Node, sandbox: Sandbox) -> None:
    if type(node) in REFUSED:
        word, remedy = REFUSED[type(node)]
        _refuse(node, f"`{{% {word} %}}` is not available in prompts: {remedy}")
    if type(node) not in PRICES:
        _refuse(node, f"`{type(node).__name__}` is not available in prompts")
    name = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg) if isinstance(node, nodes.Getitem) else None
    if isinstance(name, str) and name.startswith("__"):
        _refuse(node, f"`{name}` is out of reach of a template: use the fields of your data")
    if isinstance(node, nodes.Const) and isinstance(node.value, int) and node.value.bit_length() > MAX_BITS:
        _refuse(node, "a number is too large: write a smaller one")
    if isinstance(node, (nodes.Call, nodes.Filter, nodes.Test)) and (node.dyn_args is not None or node.dyn_kwargs is not None):
        _refuse(node, "`*` and `**` are not available in prompts: write the arguments out")
    for kind, known in ((nodes.Filter, sandbox.filters), (nodes.Test, sandbox.tests)):
        if isinstance(node, kind) and node.name not in known:
            word = "filter" if kind is nodes.Filter else "test"
            _refuse(
                node, f"there is no {word} `{node.name}`: {did_you_mean(node.name, sorted(n for n in known if n[-1] != ' '))}"
            )


def metered(tree: nodes.Template) -> tuple[nodes.Template, int]:
    """The same template with a meter in everything that works with values, and the units that one run of its top level takes."""
    price = _body_price(tree.body)
    _meter(tree)
    return tree, price


def _price(node: nodes.Node) -> int:
    """Units of one run of a node, without the bodies of loops and macros in it: those pay for themselves."""
    own = PRICES[type(node)]
    if isinstance(node, nodes.TemplateData):
        return own + (len(node.data) >> 3)
    if isinstance(node, nodes.For):
        return own + _body_price([node.target, node.iter, *node.else_])
    if isinstance(node, nodes.Macro):
        return own
    if isinstance(node, nodes.CallBlock):
        return own + _price(node.call)
    return own + _body_price(node.iter_child_nodes())


def _body_price(body: Iterable[nodes.Node]) -> int:
    return sum(map(_price, body))


def _paying(price: int, lineno: int) -> nodes.Filter:
    return _filter(SPEND, nodes.Const(30 + price, lineno=lineno))


def _meter(node: nodes.Node) -> nodes.Node:
    if isinstance(node, nodes.For):
        test = None if node.test is None else _paying(_price(node.test), node.lineno)
        pays = _statement(_body_price(node.body) + _price(node.target), node.lineno)
        _meter_fields(node)
        node.body.insert(0, pays)
        node.iter = _filter(LOOP, node.iter)
        if test is not None and node.test is not None:
            node.test = nodes.And(test, node.test, lineno=node.lineno)
        return node
    if isinstance(node, (nodes.Macro, nodes.CallBlock)):
        pays = _statement(_body_price([*node.body, *node.args, *node.defaults]), node.lineno)
        _meter_fields(node)
        node.body.insert(0, pays)
        return node
    _meter_fields(node)
    return _replaced(node)


def _meter_fields(node: nodes.Node) -> None:
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, name, _meter(value))
        elif isinstance(value, list):
            value[:] = [_meter(item) if isinstance(item, nodes.Node) else item for item in value]


def _statement(price: int, lineno: int) -> nodes.ExprStmt:
    return nodes.ExprStmt(_paying(price, lineno), lineno=lineno)


def _replaced(node: nodes.Node) -> nodes.Node:
    if isinstance(node, nodes.Compare):
        others: list[nodes.Node] = []
        for operand in node.ops:
            others += [nodes.Const(COMPARISONS[operand.op], lineno=node.lineno), operand.expr]
        return _filter(COMPARE, node.expr, *others)
    if isinstance(node, nodes.Concat):
        return _filter(CONCAT, nodes.Tuple(node.nodes, "load", lineno=node.lineno))
    if isinstance(node, nodes.Dict):
        pairs: list[nodes.Expr] = [nodes.Tuple([pair.key, pair.value], "load", lineno=node.lineno) for pair in node.items]
        return _filter(MAPPING, nodes.Tuple(pairs, "load", lineno=node.lineno))
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        none = nodes.Const(None, lineno=node.lineno)
        return _filter(PART, node.node, node.arg.start or none, node.arg.stop or none, node.arg.step or none)
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) and node.node.attr in methods.MAPPING:
        # `order.items()` means the method although `order.items` means the field.
        node.node = _filter(METHOD, node.node.node, nodes.Const(node.node.attr, lineno=node.lineno))
    return node


def _filter(name: str, node: nodes.Node, *arguments: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


def _constant(node: nodes.Expr) -> Any:
    return node.value if isinstance(node, nodes.Const) else None


def _refuse(node: nodes.Node, message: str) -> NoReturn:
    raise TemplateSyntaxError(message, node.lineno)

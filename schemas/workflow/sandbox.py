"""Jinja2 as prompts may use it: bounded, without includes, attributes of objects, or anything that reaches out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from jinja2 import UndefinedError, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from schemas.workflow import methods
from schemas.workflow.bounds import Budget, arithmetic, bounded_range, sized
from schemas.workflow.faults import did_you_mean
from schemas.workflow.filters import BUDGET, CONCAT, FILTERS, METHOD, STEPS, WEIGHED, printed
from schemas.workflow.values import Absent, Method, field

JINJA_OBJECTS = (LoopContext, Namespace, Cycler, Joiner, Macro)
"""What a template may hold besides data; Jinja's own sandbox guards their attributes."""


def _mapping(**fields: Any) -> dict[str, Any]:
    return fields


class Sandbox(ImmutableSandboxedEnvironment):
    """The one environment of all templates. Stateless: what a render spends is in its context."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(undefined=Absent, finalize=printed, optimized=False, cache_size=0)
        self.globals = {"namespace": Namespace, "joiner": Joiner, "cycler": Cycler, "range": bounded_range, "dict": _mapping}
        self.filters = dict(FILTERS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._look(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._look(obj, argument) if isinstance(obj, tuple) and isinstance(argument, str) else self._item(obj, argument)

    def _look(self, obj: Any, name: str) -> Any:
        if isinstance(obj, tuple) and name in getattr(obj, "_fields", ()):  # what groupby gives
            return getattr(obj, name)
        found = self._item(obj, name)
        if isinstance(found, Absent) and not isinstance(obj, (Absent, Mapping)) and name in methods.offered(obj):
            return Method(obj, name)
        return found

    def _item(self, obj: Any, name: Any) -> Any:
        if isinstance(obj, Absent):
            obj._check()
            return Absent(obj=obj, name=str(name))
        if obj is None or isinstance(obj, (Mapping, str, list, tuple, int, float)):
            if isinstance(name, str) and name.startswith("__") and not isinstance(obj, Mapping):
                raise SecurityError(f"`{name}` is out of reach")
            return field(obj, name)
        if isinstance(obj, JINJA_OBJECTS) and isinstance(name, str):
            return super().getattr(obj, name)
        raise SecurityError(f"`{name}` is out of reach")

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        raise SecurityError(f"`{attribute}` is out of reach")

    def call(self, context: Context, obj: Any, /, *arguments: Any, **named: Any) -> Any:
        budget: Budget = context[BUDGET]
        budget.spend(10)
        if isinstance(obj, (Absent, Method)):
            return budget.weigh(sized(obj(*arguments, **named)))
        if not callable(obj):
            raise UndefinedError(f"{methods.kind(obj)} cannot be called")
        return budget.weigh(sized(super().call(context, obj, *arguments, **named)))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, Absent):
            left._check()
        return context[BUDGET].weigh(arithmetic(operator, left, right))


REFUSED: Mapping[type[nodes.Node], tuple[str, str]] = {
    nodes.Include: ("include", "write its text out"),
    nodes.Import: ("import", "write the macro in this template"),
    nodes.FromImport: ("import", "write the macro in this template"),
    nodes.Extends: ("extends", "write the whole prompt out"),
    nodes.Block: ("block", "remove it: there is nothing to extend"),
}


def check(tree: nodes.Template, sandbox: Sandbox) -> None:
    """Refuse what templates may not say. Raises TemplateSyntaxError."""
    for node in tree.find_all(nodes.Node):
        if type(node) in REFUSED:
            word, remedy = REFUSED[type(node)]
            _refuse(node, f"`{{% {word} %}}` is not available in prompts: {remedy}")
        name = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg) if isinstance(node, nodes.Getitem) else None
        if isinstance(name, str) and name.startswith("__"):
            _refuse(node, f"`{name}` is out of reach of a template: use the fields of your data")
        for kind, known in ((nodes.Filter, sandbox.filters), (nodes.Test, sandbox.tests)):
            if isinstance(node, kind) and node.name not in known:
                word = "filter" if kind is nodes.Filter else "test"
                _refuse(
                    node, f"there is no {word} `{node.name}`: {did_you_mean(node.name, sorted(n for n in known if n[-1] != ' '))}"
                )


def metered(tree: nodes.Template) -> nodes.Template:
    """The same template with meters in its loops, lists, comparisons and `~`."""
    _meter(tree)
    return tree


def _meter(node: nodes.Node) -> nodes.Node:
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, name, _meter(value))
        elif isinstance(value, list):
            value[:] = [_meter(item) if isinstance(item, nodes.Node) else item for item in value]
    if isinstance(node, nodes.For):
        node.iter = _filter(STEPS, node.iter)
    elif isinstance(node, nodes.Compare):
        node.expr = _filter(WEIGHED, node.expr)
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) and node.node.attr in methods.MAPPING:
        # `order.items()` means the method although `order.items` means the field.
        node.node = _filter(METHOD, node.node.node, nodes.Const(node.node.attr, lineno=node.lineno))
    elif isinstance(node, nodes.Concat):
        return _filter(CONCAT, nodes.Tuple(node.nodes, "load", lineno=node.lineno))
    elif isinstance(node, (nodes.List, nodes.Dict)) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return _filter(WEIGHED, node)
    return node


def _filter(name: str, node: nodes.Node, *arguments: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


def _constant(node: nodes.Expr) -> Any:
    return node.value if isinstance(node, nodes.Const) else None


def _refuse(node: nodes.Node, message: str) -> NoReturn:
    raise TemplateSyntaxError(message, node.lineno)

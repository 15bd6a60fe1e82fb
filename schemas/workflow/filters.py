"""The filters and tests of prompts, every one of them ours: what is not in these tables does not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, pass_context, pass_environment
from jinja2.runtime import Context, Undefined

from schemas.workflow import methods
from schemas.workflow.bounds import Bag, Budget, TooMuch, table
from schemas.workflow.comparing import compare
from schemas.workflow.delimiters import inert
from schemas.workflow.listfilters import OF_LIST
from schemas.workflow.probes import PROBES, probe
from schemas.workflow.textfilters import OF_TEXT, OF_VALUE
from schemas.workflow.values import BUDGET, TAGS, Absent, Made, Method, text

MAX_ARGUMENT = 1_000
"""Widths, counts and precisions given to filters."""
MAX_ODD_KEYS = 100
"""Keys of a template's mapping that are no texts. Looking one up costs at most as many comparisons."""
STEP = 20
"""Units of any filter or test, beside what its values take."""
SPEND, LOOP, COMPARE, CONCAT, METHOD, MAPPING, PART = "spend ", "loop ", "compare ", "concat ", "method ", "mapping ", "part "
"""Filters that the sandbox puts in itself; no template can spell them."""


@pass_context
def printed(context: Context, value: Any) -> str:
    """How a value stands in a prompt: without anything that could open or close the author's tags."""
    budget: Budget = context[BUDGET]
    shown = value if type(value) is str else text(value, budget)
    budget.spend(5 + (len(shown) >> 3))
    return shown if type(value) is Made else inert(shown, context[TAGS])


@pass_context
def _spend(context: Context, units: int) -> bool:
    context[BUDGET].spend(units)
    return True


@pass_context
def _loop(context: Context, values: Any) -> Any:
    """What a loop goes over. Its body pays for each turn."""
    return looped(values)


def looped(values: Any) -> Any:
    """`values`, if a loop can go over them. Raises TypeError."""
    if isinstance(values, (list, tuple, str, Mapping, Undefined, Bag)):
        return values
    raise TypeError(f"{methods.kind(values) if values is None or isinstance(values, (int, float)) else 'this'} is not a list")


@pass_context
def _compare(context: Context, left: Any, *others: Any) -> Any:
    """`left symbol right symbol right …`"""
    budget: Budget = context[BUDGET]
    result: Any = True
    for symbol, right in zip(others[::2], others[1::2], strict=True):
        budget.spend(STEP)
        result = compare(symbol, left, right, budget)
        if not result:
            break
        left = right
    return result


@pass_context
def _concat(context: Context, parts: tuple[Any, ...]) -> Any:
    budget: Budget = context[BUDGET]
    budget.spend(STEP * len(parts))
    return methods.joined(budget, "", [text(part, budget) for part in parts])


@pass_context
def _mapping(context: Context, pairs: tuple[tuple[Any, Any], ...]) -> Any:
    made = table(context[BUDGET], pairs)
    if sum(not isinstance(key, str) for key in made) > MAX_ODD_KEYS:
        raise TooMuch(f"a mapping has at most {MAX_ODD_KEYS} keys that are not texts")
    return made


@pass_context
def _part(context: Context, value: Any, low: Any, high: Any, step: Any) -> Any:
    if isinstance(value, Absent):
        value._check()
    return methods.part(value, slice(low, high, step), context[BUDGET])


@pass_environment
def _method(environment: Environment, value: Any, name: str) -> Any:
    return Method(value, name) if isinstance(value, Mapping) else environment.getattr(value, name)


@pass_context
def _default(context: Context, value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """The default for what is absent or null; with `boolean`, for anything falsy."""
    context[BUDGET].spend(STEP)
    if isinstance(value, Undefined) or value is None or (boolean and not value):
        return default_value
    return value


def _filter(function: Callable[..., Any], *, as_text: bool = False, of_context: bool = False) -> Callable[..., Any]:
    """The filter as Jinja calls it."""

    @pass_context
    def wrapped(context: Context, value: Any, *arguments: Any, **named: Any) -> Any:
        budget: Budget = context[BUDGET]
        budget.spend(STEP)
        for argument in (*arguments, *named.values()):
            if isinstance(argument, (int, float)) and not abs(argument) <= MAX_ARGUMENT:
                raise TooMuch(f"a filter's number may not be beyond {MAX_ARGUMENT:,}")
        if isinstance(value, Absent):
            value._check()
        if as_text:
            value = text(value, budget)
        return function(context if of_context else budget, value, *arguments, **named)

    return wrapped


def _test(name: str) -> Callable[..., bool]:
    @pass_context
    def tested(context: Context, value: Any, *arguments: Any) -> bool:
        return probe(context[BUDGET], name, value, arguments)

    return tested


FILTERS: Mapping[str, Callable[..., Any]] = {
    **{name: _filter(function, as_text=True) for name, function in OF_TEXT.items()},
    **{name: _filter(function) for name, function in OF_VALUE.items()},
    **{name: _filter(function, of_context=True) for name, function in OF_LIST.items()},
    "default": _default,
    "d": _default,
    SPEND: _spend,
    LOOP: _loop,
    COMPARE: _compare,
    CONCAT: _concat,
    METHOD: _method,
    MAPPING: _mapping,
    PART: _part,
}
TESTS: Mapping[str, Callable[..., bool]] = {name: _test(name) for name in PROBES}

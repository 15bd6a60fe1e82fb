"""The filters of prompts: Jinja's own within bounds, and ours where Jinja's cannot be bounded or print values another way."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, pass_context, pass_environment
from jinja2 import filters as jinja
from jinja2.runtime import Context, Undefined
from jinja2.utils import _PassArg

from schemas.workflow import methods
from schemas.workflow.bounds import MAX_TEXT, Budget, TooMuch, sized
from schemas.workflow.jsontext import as_json
from schemas.workflow.values import Absent, Method, field, text

BUDGET = " budget"
SOURCE_SIZE = " source size"
"""Names in a render's context that no template can spell."""
MAX_ARGUMENT = 1_000
"""Widths, counts and precisions given to filters."""
BORROWED = methods.words(
    "abs batch capitalize count dictsort filesizeformat float groupby int items length list lower map max min"
    " reject rejectattr reverse round select selectattr slice sort striptags sum title trim truncate unique upper urlencode"
    " wordcount wordwrap"
)
"""Jinja's own filters that are kept, each wrapped in bounds."""
STEPS, WEIGHED, CONCAT, METHOD = "steps ", "weighed ", "concat ", "method "
"""Filters that the sandbox puts in itself; no template can spell them."""


@pass_context
def printed(context: Context, value: Any) -> str:
    budget: Budget = context[BUDGET]
    shown = text(value, budget)
    budget.spend(len(shown) >> 2)
    return shown


@pass_context
def _steps(context: Context, values: Any) -> Iterator[Any]:
    """What a loop goes over: each turn costs as much as the template is long."""
    budget: Budget = context[BUDGET]
    for value in values:
        budget.spend(10 + (context[SOURCE_SIZE] >> 3))
        yield value


@pass_context
def _weighed(context: Context, value: Any) -> Any:
    return context[BUDGET].weigh(value)


@pass_context
def _concat(context: Context, parts: tuple[Any, ...]) -> Any:
    budget: Budget = context[BUDGET]
    return budget.weigh(sized("".join(text(part, budget) for part in parts)))


@pass_environment
def _method(environment: Environment, value: Any, name: str) -> Any:
    return Method(value, name) if isinstance(value, Mapping) else environment.getattr(value, name)


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """The default for what is absent or null; with `boolean`, for anything falsy."""
    if isinstance(value, Undefined) or value is None or (boolean and not value):
        return default_value
    return value


def _join(value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    parts = [text(field(item, attribute) if attribute is not None else item, Budget()) for item in value]
    if sum(map(len, parts)) + len(d) * len(parts) > MAX_TEXT:
        raise TooMuch("a joined text would be too long")
    return d.join(parts)


def _indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    margin = width if isinstance(width, str) else " " * width
    lines = str(value).split("\n")
    if len(lines) * len(margin) + len(value) > MAX_TEXT:
        raise TooMuch("an indented text would be too long")
    indented = [margin + line if (line or blank) else line for line in lines[1:]]
    return "\n".join([margin + lines[0] if first else lines[0], *indented])


def _tojson(value: Any, indent: int | None = None) -> str:
    plain = None if isinstance(value, Absent) else value
    return as_json(plain, indent=min(indent, 8) if indent else None)


def _first(value: Any) -> Any:
    return next(iter(value), Absent(obj=value, name="first"))


def _last(value: Any) -> Any:
    return next(iter(reversed(list(value))), Absent(obj=value, name="last"))


OWN: Mapping[str, Callable[..., Any]] = {
    "join": _join,
    "indent": _indent,
    "tojson": _tojson,
    "replace": lambda value, old, new, count=None: methods.replace(
        text(value, Budget()), old, new, -1 if count is None else count
    ),
    "string": lambda value: text(value, Budget()),
    "safe": lambda value: text(value, Budget()),
    "escape": lambda value: html.escape(text(value, Budget())),
    "e": lambda value: html.escape(text(value, Budget())),
    "first": _first,
    "last": _last,
}
TEXT_FILTERS = frozenset(
    ["capitalize", "lower", "striptags", "title", "trim", "truncate", "upper", "urlencode", "wordcount", "wordwrap", "indent"]
)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter within bounds: sizes of its input, its arguments and its result are accounted for."""
    wants = _PassArg.from_obj(function)
    as_text = function.__name__.removeprefix("do_").removeprefix("_") in TEXT_FILTERS

    @pass_context
    def wrapped(context: Context, value: Any, *arguments: Any, **named: Any) -> Any:
        budget: Budget = context[BUDGET]
        for argument in (*arguments, *named.values()):
            if isinstance(argument, int) and abs(argument) > MAX_ARGUMENT:
                raise TooMuch(f"a filter's number may not be beyond {MAX_ARGUMENT:,}")
        if isinstance(value, Absent):
            value._check()
        value = text(value, budget) if as_text else budget.weigh(value)
        first = {_PassArg.context: context, _PassArg.eval_context: context.eval_ctx, _PassArg.environment: context.environment}
        result = function(*((first[wants],) if wants else ()), value, *arguments, **named)
        if isinstance(result, Iterator):
            result = budget.listed(result)
        return budget.weigh(sized(str(result) if isinstance(result, str) else result))

    return wrapped


FILTERS: Mapping[str, Callable[..., Any]] = {
    **{name: _bounded(jinja.FILTERS[name]) for name in BORROWED},
    **{name: _bounded(function) for name, function in OWN.items()},
    "default": _default,
    "d": _default,
    STEPS: _steps,
    WEIGHED: _weighed,
    CONCAT: _concat,
    METHOD: _method,
}

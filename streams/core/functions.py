"""The functions `python_expr` may call. Each takes the evaluation's budget first and pays for what it goes through."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from schemas.workflow import methods
from schemas.workflow.bounds import Budget, bounded_range
from schemas.workflow.jsontext import as_json

TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float,),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "tuple": (tuple,),
    "set": (set,),
}
"""What `isinstance` knows."""


def _text(budget: Budget, value: Any = "") -> str:
    if isinstance(value, str):
        return value
    return as_json(budget.weigh(value)) if isinstance(value, (Mapping, list, tuple, set)) else str(value)


def _round(budget: Budget, number: Any, digits: int | None = None) -> Any:
    if digits is not None and abs(digits) > 20:
        raise ValueError("round() takes at most 20 digits")
    return round(number, digits)


def _sum(budget: Budget, values: Any, start: Any = 0) -> Any:
    numbers = [*_items(budget, values), start]
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError("sum() adds numbers only")
    return sum(numbers)


def _extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(budget: Budget, *values: Any, **named: Any) -> Any:
        found = _items(budget, values[0]) if len(values) == 1 else list(values)
        return function(found, **named)

    return extreme


def _items(budget: Budget, values: Any) -> list[Any]:
    if isinstance(values, (str, list, tuple, set, Mapping, Iterator)):
        return budget.listed(values)
    raise TypeError(f"{methods.kind(values)} is not a list")


def _dict(budget: Budget, values: Any = (), **named: Any) -> dict[Any, Any]:
    return {**(values if isinstance(values, Mapping) else dict(_items(budget, values))), **named}


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "len": lambda budget, value: len(value),
    "str": _text,
    "int": lambda budget, value=0, base=None: int(value) if base is None else int(value, base),
    "float": lambda budget, value=0.0: float(value),
    "bool": lambda budget, value=False: bool(value),
    "abs": lambda budget, value: abs(value),
    "round": _round,
    "min": _extreme(min),
    "max": _extreme(max),
    "sum": _sum,
    "any": lambda budget, values: any(values),
    "all": lambda budget, values: all(values),
    "sorted": lambda budget, values, reverse=False: sorted(_items(budget, values), reverse=bool(reverse)),
    "reversed": lambda budget, values: _items(budget, values)[::-1],
    "range": lambda budget, *bounds: bounded_range(*bounds),
    "enumerate": lambda budget, values, start=0: list(enumerate(_items(budget, values), start)),
    "zip": lambda budget, *lists: list(zip(*(_items(budget, values) for values in lists), strict=False)),
    "list": lambda budget, values=(): _items(budget, values),
    "tuple": lambda budget, values=(): tuple(_items(budget, values)),
    "set": lambda budget, values=(): set(_items(budget, values)),
    "dict": _dict,
    "floor": lambda budget, value: math.floor(value),
    "ceil": lambda budget, value: math.ceil(value),
}

"""The functions `python_expr` may call. Each takes the evaluation's budget first and pays for what it goes through."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from schemas.workflow import methods
from schemas.workflow.bounds import Bag, Budget, TooMuch, bag, bounded_range, figures, numeral, table
from schemas.workflow.comparing import sorting
from schemas.workflow.jsontext import as_json

TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float,),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "tuple": (tuple,),
    "set": (Bag,),
}
"""What `isinstance` knows."""


def _text(budget: Budget, value: Any = "") -> str:
    if isinstance(value, str):
        return value
    return as_json(value, budget) if isinstance(value, (Mapping, list, tuple, Bag)) else figures(budget, value)


def _int(budget: Budget, value: Any = 0, base: int | None = None) -> int:
    return int(numeral(budget, value)) if base is None else int(numeral(budget, value), base)


def _round(budget: Budget, number: Any, digits: int | None = None) -> Any:
    if digits is not None and abs(digits) > 20:
        raise ValueError("round() takes at most 20 digits")
    budget.weigh(number)
    return round(number, digits)


def _sum(budget: Budget, values: Any, start: Any = 0) -> Any:
    numbers = [*_items(budget, values), start]
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError("sum() adds numbers only")
    return sum(budget.weigh(numbers))


def _extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(budget: Budget, *values: Any, **named: Any) -> Any:
        found = _items(budget, values[0]) if len(values) == 1 else list(values)
        return function(budget.weigh(found), **named)

    return extreme


def _any(budget: Budget, values: Any) -> bool:
    return any(_seen(budget, values))


def _all(budget: Budget, values: Any) -> bool:
    return all(_seen(budget, values))


def _seen(budget: Budget, values: Any) -> Any:
    """To be gone through once, without a copy."""
    if not isinstance(values, Iterator):
        budget.spend(len(_iterable(values)))
    return values


def _sorted(budget: Budget, values: Any, reverse: Any = False) -> list[Any]:
    listed = _items(budget, values)
    sorting(budget, listed)
    return sorted(listed, reverse=bool(reverse))


def _enumerate(budget: Budget, values: Any, start: Any = 0) -> list[Any]:
    listed = _items(budget, values)
    budget.collected(len(listed), 6)
    budget.weigh(start)
    if isinstance(start, int) and start.bit_length() > 64:
        raise TooMuch("enumerate() starts at a smaller number")
    return list(enumerate(listed, start))


def _zip(budget: Budget, *lists: Any) -> list[Any]:
    listed = [_items(budget, values) for values in lists]
    if listed:
        budget.collected(min(map(len, listed)), 4 + 2 * len(listed))
    return list(zip(*listed, strict=False))


def _iterable(values: Any) -> Any:
    if isinstance(values, (str, list, tuple, Bag, Mapping, Iterator)):
        return values
    raise TypeError(f"{methods.kind(values)} is not a list")


def _items(budget: Budget, values: Any) -> list[Any]:
    return budget.listed(_iterable(values))


def _dict(budget: Budget, values: Any = (), **named: Any) -> dict[Any, Any]:
    pairs = budget.listed(values.items()) if isinstance(values, Mapping) else _items(budget, values)
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise TypeError("dict() takes pairs of a key and a value")
    return table(budget, (*pairs, *named.items()))


def _tuple(budget: Budget, values: Any = ()) -> tuple[Any, ...]:
    listed = _items(budget, values)
    budget.collected(len(listed), 1)
    return tuple(listed)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "len": lambda budget, value: len(value),
    "str": _text,
    "int": _int,
    "float": lambda budget, value=0.0: float(numeral(budget, value)),
    "bool": lambda budget, value=False: bool(value),
    "abs": lambda budget, value: abs(budget.weigh(value)),
    "round": _round,
    "min": _extreme(min),
    "max": _extreme(max),
    "sum": _sum,
    "any": _any,
    "all": _all,
    "sorted": _sorted,
    "reversed": lambda budget, values: _items(budget, values)[::-1],
    "range": bounded_range,
    "enumerate": _enumerate,
    "zip": _zip,
    "list": lambda budget, values=(): _items(budget, values),
    "tuple": _tuple,
    "set": lambda budget, values=(): bag(budget, _items(budget, values)),
    "dict": _dict,
    "floor": lambda budget, value: math.floor(value),
    "ceil": lambda budget, value: math.ceil(value),
}

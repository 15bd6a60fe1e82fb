"""Jinja's tests (`is defined`, `is in`, …), each paid for before it looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2.runtime import Undefined

from schemas.workflow import methods
from schemas.workflow.bounds import Bag, Budget, arithmetic
from schemas.workflow.comparing import COMPARISONS, compare
from schemas.workflow.values import text

STEP = 15
"""Units of any test, beside what its values take."""

WORDS = {
    "eq": "==",
    "equalto": "==",
    "ne": "!=",
    "gt": ">",
    "greaterthan": ">",
    "ge": ">=",
    "lt": "<",
    "lessthan": "<",
    "le": "<=",
    "in": "in",
    "sameas": "is",
    **{symbol: symbol for symbol in ("==", "!=", ">", ">=", "<", "<=")},
}


def _compared(symbol: str) -> Callable[..., bool]:
    return lambda budget, value, other: bool(compare(symbol, value, other, budget))


def _lower(budget: Budget, value: Any) -> bool:
    return bool(methods.call(text(value, budget), "islower", (), {}, budget))


def _upper(budget: Budget, value: Any) -> bool:
    return bool(methods.call(text(value, budget), "isupper", (), {}, budget))


PROBES: Mapping[str, Callable[..., bool]] = {
    **{name: _compared(symbol) for name, symbol in WORDS.items()},
    "defined": lambda budget, value: not isinstance(value, Undefined),
    "undefined": lambda budget, value: isinstance(value, Undefined),
    "none": lambda budget, value: value is None,
    "true": lambda budget, value: value is True,
    "false": lambda budget, value: value is False,
    "boolean": lambda budget, value: isinstance(value, bool),
    "integer": lambda budget, value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda budget, value: isinstance(value, float),
    "number": lambda budget, value: isinstance(value, (int, float)),
    "string": lambda budget, value: isinstance(value, str),
    "mapping": lambda budget, value: isinstance(value, Mapping),
    "sequence": lambda budget, value: isinstance(value, (str, list, tuple, Mapping)),
    "iterable": lambda budget, value: isinstance(value, (str, list, tuple, Mapping, Bag)),
    "odd": lambda budget, value: _rest(budget, value, 2) == 1,
    "even": lambda budget, value: _rest(budget, value, 2) == 0,
    "divisibleby": lambda budget, value, num: _rest(budget, value, num) == 0,
    "lower": _lower,
    "upper": _upper,
}
assert set(WORDS.values()) <= set(COMPARISONS)


def probe(budget: Budget, name: Any, value: Any, arguments: tuple[Any, ...]) -> bool:
    """`value is name(*arguments)`. Raises TypeError for a test that is none."""
    if not isinstance(name, str) or name not in PROBES:
        raise TypeError("there is no such test")
    budget.spend(STEP)
    return PROBES[name](budget, value, *arguments)


def _rest(budget: Budget, value: Any, divisor: Any) -> Any:
    if isinstance(value, (int, float)) and isinstance(divisor, (int, float)):
        return arithmetic("%", value, divisor, budget)
    raise TypeError(f"{methods.kind(value)} is not a number")

"""How much an author's expression or template may do: steps, and sizes of texts, lists and numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

MAX_UNITS = 1_000_000
"""What one evaluation may spend: about half a second of work."""
MAX_TEXT = 1_000_000
MAX_ITEMS = 100_000
MAX_BITS = 4_096
"""Integers beyond this are no business of a workflow."""
MAX_RANGE = 10_000


class TooMuch(ValueError):
    """The evaluation would take too long or grow too large."""


class Budget:
    """Units left for one evaluation."""

    __slots__ = ("left",)

    def __init__(self, units: int = MAX_UNITS) -> None:
        self.left = units

    def spend(self, units: int = 1) -> None:
        self.left -= units
        if self.left < 0:
            raise TooMuch("it takes too many steps: work on less data")

    def weigh(self, value: Any) -> Any:
        """Spend a unit for each value inside `value`, and hand it back. Shared parts count each time they are met."""
        if isinstance(value, str):
            self.spend(len(value) >> 6)
        elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
            open_: list[Iterable[Any]] = [value]
            while open_:
                current = open_.pop()
                items = current.values() if isinstance(current, Mapping) else current
                self.spend(1 + len(items))  # type: ignore[arg-type]  # one of the sized types above
                open_ += [item for item in items if isinstance(item, (Mapping, list, tuple, set, frozenset))]
        return value

    def listed(self, values: Iterable[Any]) -> list[Any]:
        """A list of `values`, not longer than a list may be."""
        made = list(islice(values, MAX_ITEMS + 1))
        if len(made) > MAX_ITEMS:
            raise TooMuch(f"a list would have more than {MAX_ITEMS:,} items")
        self.weigh(made)
        return made


def sized(value: Any) -> Any:
    """`value`, unless it is larger than a value may be."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise TooMuch(f"a text would have more than {MAX_TEXT:,} characters")
    if isinstance(value, (list, tuple, dict, set)) and len(value) > MAX_ITEMS:
        raise TooMuch(f"a list would have more than {MAX_ITEMS:,} items")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise TooMuch("a number would be too large")
    return value


def bounded_range(*arguments: Any) -> list[int]:
    """`range`, made at once and short."""
    numbers = range(*arguments)
    if len(numbers) > MAX_RANGE:
        raise TooMuch(f"range() gives at most {MAX_RANGE:,} numbers")
    return list(numbers)


OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "|": operator.or_,
    "&": operator.and_,
    "^": operator.xor,
}


def arithmetic(symbol: str, left: Any, right: Any) -> Any:
    """`left symbol right`, refused before it grows. Raises TooMuch, TypeError, ZeroDivisionError or OverflowError."""
    if symbol == "*":
        _check_product(left, right)
    elif symbol == "**":
        _check_power(left, right)
    elif symbol == "%" and isinstance(left, (str, bytes)):
        raise TypeError("% fills no texts here: put the parts together with +")
    elif symbol == "+":
        _check_sum(left, right)
    result = OPERATORS[symbol](left, right)
    if isinstance(result, complex):
        raise TypeError("the root of a negative number is no number here")
    return sized(result)


def _check_sum(left: Any, right: Any) -> None:
    both = isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple))
    if both and len(left) + len(right) > _longest(left):
        raise TooMuch("the sum of two texts or lists would be too long")


def _longest(sequence: Any) -> int:
    return MAX_TEXT if isinstance(sequence, str) else MAX_ITEMS


def _check_product(left: Any, right: Any) -> None:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(times, int):
            if len(sequence) * times > _longest(sequence):
                raise TooMuch("a repeated text or list would be too long")
            return
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > MAX_BITS:
        raise TooMuch("a product would be too large")


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and max(1, left.bit_length()) * abs(right) > MAX_BITS:
        raise TooMuch("a power would be too large")

"""Comparing, searching and sorting values, each paid for before it runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from schemas.workflow.bounds import Bag, Budget, look_up

CONTAINERS = (list, tuple, Mapping, Bag)
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "is": operator.is_,
    "is not": operator.is_not,
    "in": lambda left, right: left in right,
    "not in": lambda left, right: left not in right,
}


def compare(symbol: str, left: Any, right: Any, budget: Budget) -> Any:
    """`left symbol right`. Raises TooMuch, or TypeError for what has no order."""
    if symbol in ("in", "not in"):
        _membership(left, right, budget)
    elif symbol not in ("is", "is not"):
        if isinstance(left, str):
            if isinstance(right, str):
                budget.spend(min(len(left), len(right)) >> 5)
        elif isinstance(left, CONTAINERS) and isinstance(right, CONTAINERS):
            budget.weigh(left)
            budget.weigh(right)
        elif isinstance(left, int) and isinstance(right, int):
            budget.spend((left.bit_length() >> 6) + (right.bit_length() >> 6))
    return COMPARISONS[symbol](left, right)


def search(budget: Budget, text: int, sought: int) -> None:
    """Pay for finding `sought` characters in `text` from the left. Python's search has a square part for short texts only."""
    if sought > text:
        budget.spend(1)
    elif text < 2_500 or (sought < 100 and text < 30_000) or sought < 6:
        budget.spend(2 + (text * max(2, min(sought, text - sought + 1)) >> 4))
    else:
        budget.spend(2 + (text >> 2) + (sought >> 2))


def search_back(budget: Budget, text: int, sought: int) -> None:
    """The same from the right, where Python compares at every place."""
    budget.spend(2 + (text * max(2, min(sought, text - sought + 1)) >> 4) if sought <= text else 1)


def found_in(values: Any, item: Any, budget: Budget) -> None:
    """Pay for looking for `item` in a list."""
    if isinstance(item, CONTAINERS):
        budget.weigh(values)
        budget.spend(len(values) * budget.price(item))
    else:
        price = 1 + (len(item) >> 5) if isinstance(item, str) else 1 + (item.bit_length() >> 6) if isinstance(item, int) else 2
        budget.spend(len(values) * price)


def sorting(budget: Budget, values: list[Any]) -> None:
    """Pay for bringing `values` into order: each is compared about as often as their number has digits."""
    budget.spend(budget.price(values) * len(values).bit_length() >> 1)


def _membership(item: Any, values: Any, budget: Budget) -> None:
    if isinstance(values, str):
        if isinstance(item, str):
            search(budget, len(values), len(item))
    elif isinstance(values, (list, tuple)):
        found_in(values, item, budget)
    elif isinstance(values, (Mapping, Bag)):
        look_up(budget, values, item)

"""How much an author's expression or template may do: one meter for work and memory, and sizes of texts, lists and numbers.

Every operation that an author can reach is charged by the sizes of its operands before it runs; what has no price does not
exist. Charges are counts of lengths and steps, never of a clock: an evaluation ends the same way on every machine and at every
replay.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
MAX_UNITS = 1_000_000
"""What one evaluation may spend. A unit is at most about 20 ns of work and 48 bytes of new memory: 20 ms and 48 MB in all."""
MAX_TOGETHER = 2 * MAX_UNITS
"""What all conditions that one event decides may spend."""
FIRST_UNITS = 20_000
"""What an evaluation may spend before it is given a stack of its own."""
MAX_TEXT = 1_000_000
MAX_ITEMS = 100_000
MAX_BITS = 4_096
"""Integers beyond this are no business of a workflow."""
MAX_RANGE = 10_000
MAX_NUMERAL = 1_000
"""Characters of a text that is read as a number."""
MAX_DEPTH = 100
"""Of lists in lists, so that no comparison depends on how much stack its caller has left."""
ITEM = 5
"""Units for looking at one value inside a list or mapping."""


class TooMuch(ValueError):
    """The evaluation would take too long or grow too large."""


class Spent(TooMuch):
    """The budget is used up."""


class Budget:
    """Units left for one evaluation."""

    __slots__ = ("characters", "left")

    def __init__(self, units: int = MAX_UNITS) -> None:
        self.left = units
        self.characters = 0
        """Of all texts inside what was weighed last."""

    def spend(self, units: int = 1) -> None:
        self.left -= units
        if self.left < 0:
            raise Spent("it takes too many steps: work on less data")

    def written(self, length: int) -> None:
        """Pay for a new text of so many characters, before it is made."""
        if length > MAX_TEXT:
            raise TooMuch(f"a text would have more than {MAX_TEXT:,} characters")
        self.spend(2 + (length >> 3))

    def collected(self, count: int, each: int = 2) -> None:
        """Pay for a new list or mapping of so many items, before it is made."""
        if count > MAX_ITEMS:
            raise TooMuch(f"a list would have more than {MAX_ITEMS:,} items")
        self.spend(2 + count * each)

    def weigh(self, value: Any) -> Any:
        """Pay for going through `value` and all that is inside, and hand it back. Shared parts count each time they are met."""
        level, total = [value], 0
        for _ in range(MAX_DEPTH):
            deeper: list[Any] = []
            for current in level:
                total += self._weigh_one(current, deeper)
            if not deeper:
                break
            level = deeper
        else:
            raise TooMuch(f"its values are nested deeper than {MAX_DEPTH} levels")
        self.characters = total
        return value

    def _weigh_one(self, value: Any, deeper: list[Any]) -> int:
        """Pay for the items of `value`, and give the characters of the texts among them; `deeper` gets the others."""
        characters = 0
        if isinstance(value, Mapping):
            self.spend(10 + len(value) * (ITEM + getattr(value, "odd", 0)))
            characters = sum([len(key) for key in value if type(key) is str])
            items: Iterable[Any] = value.values()
        elif isinstance(value, (list, tuple, Bag)):
            self.spend(10 + len(value) * (ITEM + getattr(value, "odd", 0)))
            items = value
        else:
            items = (value,)
        for item in items:
            kind = type(item)
            if kind is str:
                characters += len(item)
            elif kind is int:
                characters += item.bit_length() >> 1
            elif isinstance(item, (Mapping, list, tuple, Bag)):
                deeper.append(item)
            elif isinstance(item, str):
                characters += len(item)
        self.spend(characters >> 5)
        return characters

    def price(self, value: Any) -> int:
        """What `weigh` takes for `value`, paid."""
        before = self.left
        self.weigh(value)
        return before - self.left

    def listed(self, values: Iterable[Any]) -> list[Any]:
        """A list of `values`, not longer than a list may be. Each item of an iterator has paid for itself when it is made."""
        if isinstance(values, Iterator):
            made = list(islice(values, MAX_ITEMS + 1))
            self.collected(len(made))
            return made
        self.collected(len(values), 4)  # type: ignore[arg-type]  # texts, lists, tuples, mappings, Bags
        return list(values)


class Table(dict[Any, Any]):
    """A mapping made with keys that are not texts. All of those may collide: `odd` is what a look-up may cost."""

    __slots__ = ("odd",)

    def __init__(self, odd: int = 0) -> None:
        super().__init__()
        self.odd = odd


class Bag:
    """A set that keeps the order in which it was filled: the order of Python's own differs from process to process."""

    __slots__ = ("items", "odd")

    def __init__(self, items: Table) -> None:
        self.items, self.odd = items, items.odd

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __contains__(self, item: object) -> bool:
        return item in self.items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bag) and self.items.keys() == other.items.keys()

    def __le__(self, other: object) -> bool:
        return self.items.keys() <= other.items.keys() if isinstance(other, Bag) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.items.keys() < other.items.keys() if isinstance(other, Bag) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as Python's own sets


class Allowance:
    """What several evaluations may spend together."""

    __slots__ = ("left",)

    def __init__(self, units: int = MAX_TOGETHER) -> None:
        self.left = units

    def drawn(self, budget: Budget, given: int) -> None:
        self.left -= given - max(0, budget.left)


def within_budget(evaluate: Callable[[Budget], T], allowance: Allowance | None = None) -> T:
    """What `evaluate` gives within a budget. It is asked a second time, on a stack of its own, when it needs more than a little.

    CPython keeps frames in chunks of 16 kB, and a call across the edge of one maps and unmaps memory: a loop that happens to call
    there takes a hundred times as long. In a chunk that is large enough there is no edge; making one takes longer than most
    evaluations.
    """
    most = MAX_UNITS if allowance is None else min(MAX_UNITS, allowance.left)
    first = min(FIRST_UNITS, most)
    budget = Budget(first)
    try:
        return evaluate(budget)
    except Spent:
        if first == most:
            raise
    finally:
        if allowance is not None:
            allowance.drawn(budget, first)
    budget = Budget(most)
    try:
        return _with_room(evaluate, budget)
    finally:
        if allowance is not None:
            allowance.drawn(budget, most)


def _with_room(evaluate: Callable[[Budget], T], budget: Budget) -> T:
    return evaluate(budget)


_with_room.__code__ = _with_room.__code__.replace(co_stacksize=40_000)
"""A frame of 320 kB is given a chunk of 512 kB: the rest holds the frames of what it calls."""


def keyed(budget: Budget, key: Any) -> int:
    """Pay for hashing a key. Gives what telling it from one of equal hash may cost: 0 for a text, whose hash nobody can aim."""
    if type(key) is str:
        budget.spend(3 + (len(key) >> 6))
        return 0
    if key is None or isinstance(key, (int, float)):
        budget.spend(3)
        return 1
    if isinstance(key, tuple):
        return 1 + budget.price(key)
    raise TypeError("a list, a mapping or a set cannot be a key")


def table(budget: Budget, pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """A mapping of `pairs`. Numbers can be chosen so that they all collide, so each pays for all before it."""
    made, odd = Table(), 0
    for key, value in pairs:
        step = keyed(budget, key)
        if step:
            odd += step
            budget.spend(odd)
        made[key] = value
        if len(made) > MAX_ITEMS:
            raise TooMuch(f"a mapping would have more than {MAX_ITEMS:,} fields")
    budget.spend(5 * len(made))
    if not odd:
        return dict(made)
    made.odd = odd
    return made


def bag(budget: Budget, values: Iterable[Any]) -> Bag:
    """A set of `values`, paid for as `table` is."""
    made = table(budget, ((value, None) for value in values))
    if isinstance(made, Table):
        return Bag(made)
    plain = Table()
    plain.update(made)
    return Bag(plain)


def look_up(budget: Budget, owner: Any, key: Any) -> None:
    """Pay for `owner[key]`, `key in owner` and the like on a mapping or set."""
    if keyed(budget, key) or type(owner) is not dict:
        budget.spend(getattr(owner, "odd", 0))


def bounded_range(budget: Budget, *arguments: Any) -> list[int]:
    """`range`, made at once and short."""
    numbers = range(*arguments)
    if len(numbers) > MAX_RANGE:
        raise TooMuch(f"range() gives at most {MAX_RANGE:,} numbers")
    budget.collected(len(numbers))
    return list(numbers)


def numeral(budget: Budget, value: Any) -> Any:
    """`value`, ready to be read as a number: a text must be short."""
    if isinstance(value, str):
        if len(value) > MAX_NUMERAL:
            raise TooMuch(f"a number has at most {MAX_NUMERAL:,} characters")
        budget.spend(len(value) * len(value) >> 11)
    return value


def figures(budget: Budget, value: Any) -> str:
    """A number or truth value as text."""
    if isinstance(value, int):
        bits = value.bit_length()
        if bits > MAX_BITS:
            raise TooMuch("a number is too large to be written out")
        budget.spend(2 + (bits * bits >> 14))
    return str(value)


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


def arithmetic(symbol: str, left: Any, right: Any, budget: Budget) -> Any:
    """`left symbol right`, paid for before it runs. Raises TooMuch, TypeError, ZeroDivisionError or OverflowError."""
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return _numbers(symbol, left, right, budget)
    if isinstance(left, Bag) and isinstance(right, Bag):
        return _sets(symbol, left, right, budget)
    if symbol == "+":
        if isinstance(left, str) and isinstance(right, str):
            budget.written(len(left) + len(right))
        elif isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
            budget.collected(len(left) + len(right), 1)
    elif symbol == "*":
        _repeated(left, right, budget)
    elif symbol == "%" and isinstance(left, (str, bytes)):
        raise TypeError("% fills no texts here: put the parts together with +")
    elif symbol == "|" and isinstance(left, Mapping) and isinstance(right, Mapping):
        return table(budget, (*budget.listed(left.items()), *budget.listed(right.items())))
    return OPERATORS[symbol](left, right)  # what is left are kinds that Python refuses


def _numbers(symbol: str, left: Any, right: Any, budget: Budget) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        mine, other = left.bit_length(), right.bit_length()
        if symbol == "*":
            result = mine + other
        elif symbol == "**":
            result = max(1, mine) * abs(right) if left not in (-1, 0, 1) else 1
        else:
            result = max(mine, other)
        if max(result, mine, other) > MAX_BITS:
            raise TooMuch("a number would be too large")
        budget.spend(4 + (mine * other >> 14) + (result * result >> 16 if symbol == "**" else result >> 6))
    made = OPERATORS[symbol](left, right)
    if isinstance(made, complex):
        raise TypeError("the root of a negative number is no number here")
    return made


def _sets(symbol: str, left: Bag, right: Bag, budget: Budget) -> Any:
    budget.spend((left.odd + right.odd) * (len(left) + len(right)) + 4 * (len(left) + len(right)))
    match symbol:
        case "|":
            return bag(budget, (*left, *right))
        case "&":
            return bag(budget, [item for item in left if item in right])
        case "-":
            return bag(budget, [item for item in left if item not in right])
        case "^":
            others = [item for item in right if item not in left]
            return bag(budget, [*(item for item in left if item not in right), *others])
        case _:
            raise TypeError(f"sets have no `{symbol}`")


def _repeated(left: Any, right: Any, budget: Budget) -> None:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(times, int):
            if isinstance(sequence, str):
                budget.written(len(sequence) * max(0, times))
            elif isinstance(sequence, (list, tuple)):
                budget.collected(len(sequence) * max(0, times), 1)

"""The methods of texts, lists, mappings and sets that expressions and templates may call, and their prices.

Everything not named here does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from schemas.workflow.bounds import MAX_ITEMS, MAX_TEXT, Bag, Budget, TooMuch, arithmetic, bag, look_up
from schemas.workflow.comparing import compare, found_in, search, search_back

Price = Callable[[Budget, str, tuple[Any, ...]], None]
PIECE = 3
"""Units for a piece that a text is cut into."""


def words(text: str) -> frozenset[str]:
    """A set of names, written as one text."""
    return frozenset(text.split())


def _asked(budget: Budget, text: str, arguments: tuple[Any, ...]) -> None:
    """isalpha and the like look at each character."""
    budget.spend(2 + (len(text) >> 3))


def _cased(budget: Budget, text: str, arguments: tuple[Any, ...]) -> None:
    budget.written(len(text))
    budget.spend(0 if text.isascii() else len(text) >> 1)


def _stripped(budget: Budget, text: str, arguments: tuple[Any, ...]) -> None:
    budget.written(len(text))
    for sought in arguments:
        if isinstance(sought, str):
            budget.spend(len(text) * len(sought) >> 4)


def _begins(budget: Budget, text: str, arguments: tuple[Any, ...]) -> None:
    for sought in arguments:
        budget.weigh(sought)


def _sought(budget: Budget, text: str, arguments: tuple[Any, ...]) -> None:
    if arguments and isinstance(arguments[0], str):
        search(budget, len(text), len(arguments[0]))


def _sought_back(budget: Budget, text: str, arguments: tuple[Any, ...]) -> None:
    if arguments and isinstance(arguments[0], str):
        search_back(budget, len(text), len(arguments[0]))


def _parted(budget: Budget, text: str, arguments: tuple[Any, ...]) -> None:
    budget.written(len(text))
    _sought(budget, text, arguments)


def _parted_back(budget: Budget, text: str, arguments: tuple[Any, ...]) -> None:
    budget.written(len(text))
    _sought_back(budget, text, arguments)


def _shortened(budget: Budget, text: str, arguments: tuple[Any, ...]) -> None:
    budget.written(len(text))


PRICES: Mapping[str, Price] = {
    **dict.fromkeys(words("isdigit isalpha isalnum isspace isupper islower isnumeric isdecimal"), _asked),
    **dict.fromkeys(words("lower upper title capitalize casefold swapcase"), _cased),
    **dict.fromkeys(words("strip lstrip rstrip"), _stripped),
    **dict.fromkeys(words("startswith endswith"), _begins),
    **dict.fromkeys(words("find index count"), _sought),
    **dict.fromkeys(words("rfind rindex"), _sought_back),
    "partition": _parted,
    "rpartition": _parted_back,
    **dict.fromkeys(words("removeprefix removesuffix"), _shortened),
}
"""Of methods that Python's own str carries out. The rest of TEXT is written out below."""
TEXT = frozenset(PRICES) | words("split rsplit splitlines replace join")
LIST = frozenset({"count", "index"})
MAPPING = frozenset({"get", "keys", "values", "items"})
SET = frozenset({"issubset", "issuperset", "isdisjoint", "union", "intersection", "difference"})
NUMBER = frozenset({"is_integer"})
ALL = TEXT | LIST | MAPPING | SET | NUMBER


def offered(value: Any) -> frozenset[str]:
    """The methods of a value."""
    if isinstance(value, str):
        return TEXT
    if isinstance(value, Mapping):
        return MAPPING
    if isinstance(value, (list, tuple)):
        return LIST
    if isinstance(value, Bag):
        return SET
    return NUMBER if isinstance(value, float) else frozenset()


def call(value: Any, name: str, arguments: tuple[Any, ...], named: Mapping[str, Any], budget: Budget) -> Any:
    """`value.name(*arguments)`. Raises AttributeError for a method that is not offered, and what the method itself raises."""
    if name not in offered(value):
        raise AttributeError(f"{kind(value)} has no method {name}()")
    budget.spend(5)
    if isinstance(value, str):
        return _of_text(value, name, arguments, named, budget)
    if isinstance(value, Mapping):
        return _of_mapping(value, name, arguments, named, budget)
    if named:
        raise TypeError(f"{name}() takes no named arguments")
    if isinstance(value, Bag):
        return _of_set(value, name, arguments, budget)
    if name in LIST:
        found_in(value, arguments[0] if arguments else None, budget)
    return getattr(value, name)(*arguments)  # one of LIST or NUMBER


def _of_text(value: str, name: str, arguments: tuple[Any, ...], named: Mapping[str, Any], budget: Budget) -> Any:
    if name == "join":
        (parts,) = arguments
        return joined(budget, value, parts)
    if name == "replace":
        return replace(budget, value, *arguments, **named)
    if name in ("split", "rsplit", "splitlines"):
        return _pieces(value, name, arguments, named, budget)
    if named:
        raise TypeError(f"{name}() takes no named arguments")
    PRICES[name](budget, value, arguments)
    return getattr(value, name)(*arguments)


def _pieces(value: str, name: str, arguments: tuple[Any, ...], named: Mapping[str, Any], budget: Budget) -> Any:
    separator = named.get("sep", arguments[0] if arguments else None)
    most = named.get("maxsplit", arguments[1] if len(arguments) > 1 else -1)
    budget.written(len(value))
    if name != "splitlines" and isinstance(separator, str):
        (search if name == "split" else search_back)(budget, len(value), len(separator))
        pieces = value.count(separator) + 1 if separator else 1
    else:
        pieces = (len(value) >> 1) + 1
    if name != "splitlines" and isinstance(most, int) and most >= 0:
        pieces = min(pieces, most + 1)
    budget.spend(PIECE * pieces)
    made = getattr(value, name)(*arguments, **named)
    if len(made) > MAX_ITEMS:
        raise TooMuch(f"a text would be cut into more than {MAX_ITEMS:,} pieces")
    return made


def part(value: Any, cut: slice, budget: Budget) -> Any:
    """`value[cut]` of a text or list."""
    if not isinstance(value, (str, list, tuple)):
        raise TypeError(f"{kind(value)} has no parts from … to …")
    length = len(range(*cut.indices(len(value))))
    if isinstance(value, str):
        budget.written(length)
    else:
        budget.collected(length, 1)
    return value[cut]


def joined(budget: Budget, separator: str, parts: Iterable[Any]) -> str:
    """str.join, of texts only."""
    listed = parts if isinstance(parts, (list, tuple)) else budget.listed(_texts(parts))
    budget.spend(2 * len(listed))
    budget.written(sum([len(part) for part in listed if isinstance(part, str)]) + len(separator) * len(listed))
    return separator.join(listed)


def _texts(parts: Any) -> Iterable[Any]:
    if isinstance(parts, (str, Mapping, Bag, Iterator)):
        return parts
    raise TypeError(f"{kind(parts)} cannot be joined")


def replace(budget: Budget, text: str, old: str, new: str, count: int = -1) -> str:
    """str.replace, refused before it grows too long."""
    if not (isinstance(old, str) and isinstance(new, str)):
        raise TypeError("replace() takes two texts")
    search(budget, len(text), len(old))
    times = text.count(old)
    times = times if count < 0 else min(count, times)
    if len(text) + times * max(0, len(new) - len(old)) > MAX_TEXT:
        raise TooMuch("a text would be too long after replace()")
    budget.written(len(text) + times * max(0, len(new) - len(old)))
    budget.spend(times)
    return text.replace(old, new, count)


def _of_mapping(value: Mapping[str, Any], name: str, arguments: tuple[Any, ...], named: Mapping[str, Any], budget: Budget) -> Any:
    if named or (name != "get" and arguments):
        raise TypeError(f"{name}() takes no such arguments")
    if name == "get":
        if arguments:
            look_up(budget, value, arguments[0])
        return value.get(*arguments)
    budget.collected(len(value), 4)
    match name:
        case "keys":
            return list(value)
        case "values":
            return list(value.values())
        case _:
            return list(value.items())


def _of_set(value: Bag, name: str, arguments: tuple[Any, ...], budget: Budget) -> Any:
    others = [other if isinstance(other, Bag) else bag(budget, budget.listed(other)) for other in arguments]
    symbols = {"union": "|", "intersection": "&", "difference": "-"}
    if name in symbols:
        for other in others:
            value = arithmetic(symbols[name], value, other, budget)
        return value
    (other,) = others
    if name == "isdisjoint":
        return not arithmetic("&", value, other, budget)
    return compare("<=", value, other, budget) if name == "issubset" else compare("<=", other, value, budget)


def kind(value: Any) -> str:
    """What a value is, for messages."""
    if isinstance(value, bool):
        return "a truth value"
    if value is None:
        return "null"
    for types, said in (((str,), "a text"), ((int, float), "a number"), ((Mapping,), "a mapping"), ((Bag,), "a set")):
        if isinstance(value, types):
            return said
    return "a list"

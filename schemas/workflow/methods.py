"""The methods of texts, lists and mappings that expressions and templates may call. Everything not named here does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.workflow.bounds import MAX_TEXT, Budget, TooMuch, sized


def words(text: str) -> frozenset[str]:
    """A set of names, written as one text."""
    return frozenset(text.split())


TEXT = words(
    "lower upper strip lstrip rstrip startswith endswith split rsplit splitlines partition rpartition replace find rfind count"
    " index rindex join title capitalize casefold swapcase removeprefix removesuffix isdigit isalpha isalnum isspace isupper"
    " islower isnumeric isdecimal"
)
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
    if isinstance(value, (set, frozenset)):
        return SET
    return NUMBER if isinstance(value, float) else frozenset()


def call(value: Any, name: str, arguments: tuple[Any, ...], named: Mapping[str, Any], budget: Budget) -> Any:
    """`value.name(*arguments)`. Raises AttributeError for a method that is not offered, and what the method itself raises."""
    if name not in offered(value):
        raise AttributeError(f"{kind(value)} has no method {name}()")
    budget.weigh(value)
    for argument in arguments:
        budget.weigh(argument)
    if isinstance(value, Mapping):
        return _of_mapping(value, name, arguments, named)
    if name == "join":
        (parts,) = arguments
        parts = budget.listed(parts)
        if sum(len(part) if isinstance(part, str) else 0 for part in parts) + len(value) * len(parts) > MAX_TEXT:
            raise TooMuch("a joined text would be too long")
        return value.join(parts)
    if name == "replace":
        return replace(value, *arguments, **named)
    return sized(getattr(value, name)(*arguments, **named))  # one of the names above, on one of the types above


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    """str.replace, refused before it grows too long."""
    if len(text) + text.count(old) * max(0, len(new) - len(old)) > MAX_TEXT:
        raise TooMuch("a text would be too long after replace()")
    return text.replace(old, new, count)


def _of_mapping(value: Mapping[str, Any], name: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    if named or (name != "get" and arguments):
        raise TypeError(f"{name}() takes no such arguments")
    match name:
        case "get":
            return value.get(*arguments)
        case "keys":
            return list(value)
        case "values":
            return list(value.values())
        case _:
            return list(value.items())


def kind(value: Any) -> str:
    """What a value is, for messages."""
    if isinstance(value, bool):
        return "a truth value"
    if value is None:
        return "null"
    for types, words in (((str,), "a text"), ((int, float), "a number"), ((Mapping,), "a mapping"), ((set, frozenset), "a set")):
        if isinstance(value, types):
            return words
    return "a list"

"""How a prompt sees values: fields that may be absent, methods that may be called, and how each prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined
from jinja2.utils import missing

from schemas.workflow import methods
from schemas.workflow.bounds import Bag, Budget, figures
from schemas.workflow.jsontext import as_json

BUDGET = " budget"
TAGS = " tags"
"""A render's budget in its context, under a name that no template can spell."""
MAX_NAME = 200
"""Characters of a name that is not there, as messages show it."""


class UnknownName(UndefinedError):
    """The template uses a name that nothing defines."""

    def __init__(self, name: str) -> None:
        super().__init__(f"`{name}` is not defined")
        self.name = name


class Absent(Undefined):
    """What is not there. An unknown name refuses to be used; a missing field, or a node that did not run, is falsy and empty."""

    __slots__ = ()

    def _check(self) -> None:
        if self._undefined_obj is missing and self._undefined_name is not None:
            raise UnknownName(self._undefined_name)

    def __str__(self) -> str:
        self._check()
        return ""

    def __iter__(self) -> Iterator[Any]:
        self._check()
        yield from ()

    def __len__(self) -> int:
        self._check()
        return 0

    def __bool__(self) -> bool:
        self._check()
        return False

    def __eq__(self, other: object) -> bool:
        self._check()
        return isinstance(other, Absent)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        self._check()
        return hash(Absent)

    def called(self, arguments: tuple[Any, ...], named: Mapping[str, Any], budget: Budget) -> Any:
        """`order.items()`: a field that is not there may be a method of the mapping it is not in."""
        self._check()
        owner = {} if isinstance(self._undefined_obj, Absent) or self._undefined_obj is None else self._undefined_obj
        name = self._undefined_name or ""
        if isinstance(owner, Mapping) and name in methods.MAPPING:
            found = methods.call(owner, name, arguments, named, budget)
            return reach(owner, arguments[0]) if name == "get" and found is None and len(arguments) == 1 else found
        raise UndefinedError(f"{methods.kind(owner)} has no method {name}()")


NOT_RUN = Absent(hint="the node did not run", obj=None)
"""Stands for a node that did not run, and for its output."""


class Method:
    """One offered method of one value, ready to be called. Not called it is as empty as a missing field."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name

    def called(self, arguments: tuple[Any, ...], named: Mapping[str, Any], budget: Budget) -> Any:
        return methods.call(self.owner, self.name, arguments, named, budget)

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return ""


def field(owner: Any, name: Any) -> Any:
    """A field of a mapping, an item of a list, else something absent. Never an attribute of an object."""
    if isinstance(owner, Mapping):
        plain = isinstance(name, (str, int, float)) or name is None  # of other keys the hash has no bound
        return owner[name] if plain and name in owner else _absent(owner, name)
    if isinstance(owner, (str, list, tuple)) and isinstance(name, int):
        try:
            return owner[name]
        except IndexError:
            pass
    return _absent(owner, name)


def reach(owner: Any, name: Any) -> Any:
    """`owner.name` and `owner[name]`, wherever a template can write them. Raises SecurityError for what is no data."""
    if isinstance(owner, Absent):
        owner._check()
        return _absent(owner, name)
    if isinstance(name, str) and isinstance(owner, tuple) and name in getattr(owner, "_fields", ()):  # what groupby gives
        return getattr(owner, name)
    if owner is None or isinstance(owner, (Mapping, str, list, tuple, int, float)):
        if isinstance(name, str) and name.startswith("__") and not isinstance(owner, Mapping):
            raise SecurityError(f"`{name[:MAX_NAME]}` is out of reach")
        return field(owner, name)
    raise SecurityError(f"`{name if isinstance(name, str) else type(name).__name__}` is out of reach")


def _absent(owner: Any, name: Any) -> Absent:
    return Absent(obj=owner, name=name[:MAX_NAME] if isinstance(name, str) else type(name).__name__)


def text(value: Any, budget: Budget) -> str:
    """How a value prints: a text as it is, null as nothing, lists and mappings as compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return figures(budget, value)
    if isinstance(value, Listing):
        return value.shown
    if isinstance(value, (Mapping, list, tuple, Bag)):
        return as_json(value, budget)
    if isinstance(value, (Undefined, Method)):
        return str(value)
    raise TypeError("only texts, numbers, lists and mappings can be printed")


class Made(str):
    """What a macro of the template wrote: its author's tags stand in it, and what it printed was looked at there."""

    __slots__ = ()


class Listing(list[Any]):
    """A list that prints as people would write it, e.g. a conversation."""

    def __init__(self, items: Iterable[Any], shown: str) -> None:
        super().__init__(items)
        self.shown = shown

    def __str__(self) -> str:
        return self.shown

"""How a prompt sees values: fields that may be absent, methods that may be called, and how each prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import UndefinedError
from jinja2.runtime import Undefined
from jinja2.utils import missing

from schemas.workflow import methods
from schemas.workflow.bounds import Budget
from schemas.workflow.jsontext import as_json


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

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """`order.items()`: a field that is not there may be a method of the mapping it is not in."""
        self._check()
        owner = {} if isinstance(self._undefined_obj, Absent) or self._undefined_obj is None else self._undefined_obj
        name = self._undefined_name or ""
        if isinstance(owner, Mapping) and name in methods.MAPPING:
            found = methods.call(owner, name, arguments, named, Budget())
            return field(owner, str(arguments[0])) if name == "get" and found is None and len(arguments) == 1 else found
        raise UndefinedError(f"{methods.kind(owner)} has no method {name}()")


NOT_RUN = Absent(hint="the node did not run", obj=None)
"""Stands for a node that did not run, and for its output."""


class Method:
    """One offered method of one value, ready to be called. Not called it is as empty as a missing field."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return methods.call(self.owner, self.name, arguments, named, Budget())

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return ""


def field(owner: Any, name: Any) -> Any:
    """A field of a mapping, an item of a list, else something absent. Never an attribute of an object."""
    if isinstance(owner, Mapping):
        return owner[name] if name in owner else Absent(obj=owner, name=str(name))
    if isinstance(owner, (str, list, tuple)) and isinstance(name, (int, slice)):
        try:
            return owner[name]
        except IndexError:
            pass
    return Absent(obj=owner, name=str(name))


def text(value: Any, budget: Budget) -> str:
    """How a value prints: a text as it is, null as nothing, lists and mappings as compact JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Listing):
        return str(value)
    if isinstance(value, (Mapping, list, tuple, set)):
        return as_json(budget.weigh(value))
    return str(value)


class Listing(list[Any]):
    """A list that prints as people would write it, e.g. a conversation."""

    def __init__(self, items: Iterable[Any], shown: str) -> None:
        super().__init__(items)
        self.shown = shown

    def __str__(self) -> str:
        return self.shown

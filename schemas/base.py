"""What every event shares: an id and a time that come from its cause, and marks that only the codec reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, PlainSerializer

from schemas.bounds import END_OF_TIME_MS


@dataclass(frozen=True, slots=True)
class Personal:
    """The field holds personal data of an end customer. The codec is the one place that acts on this mark."""


@dataclass(frozen=True, slots=True)
class AsJson:
    """In Avro the field travels as a JSON text, because its shape belongs to the workflow's author, not to us."""


PersonalText = Annotated[str, Personal()]
Json = Annotated[Any, AsJson()]
"""Any JSON value: null, boolean, number, text, list, or mapping with text keys."""
JsonObject = Annotated[Mapping[str, Any], AsJson()]
PersonalJson = Annotated[Any, AsJson(), Personal()]

Millis = Annotated[int, Ge(0), Le(END_OF_TIME_MS)]
"""Milliseconds since 1970-01-01T00:00:00Z, or a duration in milliseconds."""
MicroUsd = Annotated[int, Ge(0)]
"""Millionths of a US dollar. Money is never a float."""
Usd = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""US dollars with six decimals, for the topics people read. In JSON a number whose shortest form is exact."""


def usd(micro_usd: int) -> Decimal:
    """Micro-dollars as dollars with six decimals."""
    return Decimal(micro_usd).scaleb(-6)


class Event(BaseModel):
    """A fact on a topic. `id` is the same each time the same cause is handled, so a repeat is known by it.

    The wire only grows: readers ignore fields they do not know, writers add optional fields alone.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str]
    """CloudEvents type, e.g. `hil.node.completed`; also names the Avro record."""

    id: str
    time_ms: Millis
    """When the cause happened, not when this was written."""
    conversation_id: str

    @property
    def key(self) -> str:
        """The record key, which decides the partition."""
        return self.conversation_id


M = TypeVar("M", bound=BaseModel)


def trusted(kind: type[M], fields: Mapping[str, Any]) -> M:
    """An event, or a part of one, of values that are known to be of its fields' types: our own, or read by a schema that says so.

    Pydantic would check each once more, which takes four times as long; every message becomes some forty events.
    """
    _, blank, factories = _shape(kind)
    values = {**blank, **fields}
    for name, factory in factories:
        if name not in fields:
            values[name] = factory()
    return complete(kind, values)


def complete(kind: type[M], values: dict[str, Any]) -> M:
    """`trusted`, where `values` are all of its fields in their order, and nobody else's."""
    made = _new(kind)
    _set_values(made, values)
    _set_names(made, _shape(kind)[0])
    _set_extra(made, None)
    _set_private(made, None)
    return made


_new = object.__new__
_set_values, _set_names, _set_extra, _set_private = (
    vars(BaseModel)[slot].__set__
    for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)
"""What `object.__setattr__` finds anew each time, of a model that forbids to be changed."""


@cache
def _shape(kind: type[BaseModel]) -> tuple[set[str], dict[str, Any], tuple[tuple[str, Callable[[], Any]], ...]]:
    """(every name, every field in order with its default, what makes the defaults that must not be shared)."""
    blank = {name: None if field.is_required() else field.default for name, field in kind.model_fields.items()}
    factories = tuple(
        (name, field.default_factory) for name, field in kind.model_fields.items() if field.default_factory is not None
    )
    return set(blank), blank, factories  # type: ignore[return-value]  # none of ours takes what is validated already

"""What a compiled reader must check so that pydantic need not look at its values again: the constraints of a plain model."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.base import AsJson, Personal

Check = tuple[str, Any]
"""A statement about `{v}`, the value just read, that raises when it does not fit; and what the statement calls `known`."""


def checks_of(model: type[BaseModel]) -> Mapping[str, Check] | None:
    """The checks by field; None when the model has a field whose rules are not known here."""
    if model.model_config.get("strict") or model.__pydantic_decorators__.field_validators:
        return None
    found: dict[str, Check] = {}
    for name, field in model.model_fields.items():
        kind, marks = _stripped(field.annotation, list(field.metadata))
        check = _check(kind, marks)
        if check is None:
            return None
        if check[0]:
            found[name] = check
    return found


def _stripped(annotation: Any, marks: list[Any]) -> tuple[Any, list[Any]]:
    """The bare type of `Annotated[T, …]` and `T | None`, and all marks on the way."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            for mark in more:
                marks += mark.metadata if isinstance(mark, FieldInfo) else (mark,)
        elif get_origin(annotation) in (Union, UnionType):
            inner = [branch for branch in get_args(annotation) if branch is not NoneType]
            if len(inner) != 1:
                return annotation, marks
            annotation = inner[0]
        else:
            return annotation, marks


def _check(kind: Any, marks: list[Any]) -> Check | None:
    as_json, low, high = False, None, None
    for mark in marks:
        if isinstance(mark, AsJson):
            as_json = True
        elif isinstance(mark, Ge):
            low = mark.ge
        elif isinstance(mark, Le):
            high = mark.le
        elif not isinstance(mark, Personal):
            return None
    if as_json:
        return ("if type({v}) is not dict: raise ValueError", None) if get_origin(kind) is Mapping else ("", None)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "{v} = known[{v}]", dict(kind._value2member_map_)
    if kind in (str, int, bool) or kind == list[str]:
        return _bounded(low, high)
    return None


def _bounded(low: Any, high: Any) -> Check:
    if low is None and high is None:
        return "", None
    if high is None:
        return "if {v} is not None and {v} < known: raise ValueError", low
    return "if {v} is not None and not known[0] <= {v} <= known[1]: raise ValueError", (
        float("-inf") if low is None else low,
        high,
    )

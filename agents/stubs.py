"""Shows tools to a model as Python functions, and maps a program's call of one back to named arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.jsonable import NotJson, plain
from agents.names import WireNames
from agents.ports import ToolSpec
from agents.sandbox import CallFailed

_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
    "null": "None",
}


class Stubs:
    """The tools of one node as functions of a program."""

    def __init__(self, specs: Sequence[ToolSpec]) -> None:
        names = WireNames(spec.name for spec in specs)
        self._specs = {names.to_wire(spec.name): spec for spec in specs}

    @property
    def functions(self) -> tuple[str, ...]:
        return tuple(self._specs)

    def spec(self, function: str) -> ToolSpec:
        return self._specs[function]

    def source(self) -> str:
        """Python stubs, as the model reads them."""
        return "\n\n".join(_stub(function, spec) for function, spec in self._specs.items())

    def bind(self, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name. Raises CallFailed, as Python raises TypeError, when they do not fit the signature."""
        required, optional = _parameters(self._specs[function].parameters)
        order = [*required, *optional]
        shape = f"{function}({', '.join([*required, *(f'{name}=None' for name in optional)])})"
        if len(args) > len(order):
            raise CallFailed(f"{shape} takes {len(order)} positional arguments but {len(args)} were given", kind="TypeError")
        bound = dict(zip(order, args, strict=False))
        for name, value in kwargs.items():
            if name in bound:
                raise CallFailed(f"{shape} got two values for {name!r}", kind="TypeError")
            bound[name] = value
        missing = [name for name in required if name not in bound]
        if missing:
            raise CallFailed(f"{shape} misses {', '.join(map(repr, missing))}", kind="TypeError")
        try:  # None for an optional argument is the stub's way of leaving it out
            return {name: plain(value) for name, value in bound.items() if value is not None or name in required}
        except NotJson as error:
            raise CallFailed(f"an argument of {function} cannot be sent: {error}", kind="TypeError") from error


def _parameters(schema: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    properties = list(schema.get("properties") or {})
    required = [name for name in schema.get("required") or () if isinstance(name, str)]
    return required, [name for name in properties if name not in required]


def _stub(function: str, spec: ToolSpec) -> str:
    required, optional = _parameters(spec.parameters)
    properties = spec.parameters.get("properties") or {}
    signature = [f"{name}: {_type(properties.get(name))}" for name in required]
    signature += [f"{name}: {_type(properties.get(name))} = None" for name in optional]
    doc = [" ".join(spec.description.split())[:600] or "(no description)"]
    for name in [*required, *optional]:
        described = _described(properties.get(name))
        if described:
            doc.append(f"    {name}: {described}")
    body = "\n".join(doc).replace("\\", "\\\\").replace('"""', "'''")
    return f'def {function}({", ".join(signature)}) -> dict:\n    """{body}"""'


def _type(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    kinds = kind if isinstance(kind, list) else [kind]
    return " | ".join(_TYPES.get(str(each), "object") for each in kinds)


def _described(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return ""
    words = " ".join(str(schema.get("description") or "").split())[:300]
    allowed = schema.get("enum")
    return f"{words} One of {allowed!r}.".strip() if allowed else words

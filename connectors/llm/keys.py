"""Property names that Anthropic does not take, such as `$filter` or `filter[id]`: others on the wire, and their own back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agents.jsonable import NotJson, parse, shown

LONGEST = 64
_TAKEN = re.compile(rf"[a-zA-Z0-9_.-]{{1,{LONGEST}}}")


class KeyNames:
    """Both directions for the schemas of one request. Most have nothing to rename, and then nothing is touched."""

    def __init__(self, schemas: Iterable[Any]) -> None:
        self._out = {key: _wire_key(key) for schema in schemas for key in _keys(schema) if not _TAKEN.fullmatch(key)}
        self._back = {written: key for key, written in self._out.items()}

    def schema(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._renamed_schema(schema) if self._out else schema

    def to_wire(self, value: Any) -> Any:
        """Arguments, as the schema on the wire names them."""
        return _renamed(value, self._out) if self._out else value

    def from_wire(self, value: Any) -> Any:
        return _renamed(value, self._back) if self._back else value

    def text_from_wire(self, written: str) -> str:
        """JSON text with its own names; any other text as it is."""
        if not self._back:
            return written
        try:
            return shown(self.from_wire(parse(written)), limit=len(written) * 2)
        except NotJson:
            return written

    def _renamed_schema(self, schema: Any) -> Any:
        if isinstance(schema, list):
            return [self._renamed_schema(each) for each in schema]
        if not isinstance(schema, Mapping):
            return schema
        made: dict[str, Any] = {}
        for key, value in schema.items():
            if key == "properties" and isinstance(value, Mapping):
                made[key] = {self._out.get(name, name): self._renamed_schema(each) for name, each in value.items()}
            elif key == "required" and isinstance(value, list):
                made[key] = [self._out.get(name, name) for name in value]
            else:
                made[key] = value if key in ("enum", "const", "default", "examples") else self._renamed_schema(value)
        return made


def _wire_key(key: str) -> str:
    digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{re.sub(r'[^a-zA-Z0-9_.-]', '_', key)[: LONGEST - 9]}_{digest}"


def _keys(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _keys(each)
    elif isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "properties" and isinstance(value, Mapping):
                yield from value
                yield from _keys(list(value.values()))
            elif key not in ("enum", "const", "default", "examples"):
                yield from _keys(value)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {names.get(key, key): _renamed(each, names) for key, each in value.items()}
    return [_renamed(each, names) for each in value] if isinstance(value, list) else value

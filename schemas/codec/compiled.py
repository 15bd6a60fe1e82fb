"""Writers and readers made for one schema each: the common case of `single_object`, in half of the time.

Only for records of texts, integers, booleans, lists of texts, and each of them or null. Whatever else there is, and whatever is
unusual about a value, is left to fastavro, which then also says what is wrong: a compiled writer or reader refuses by raising.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Write = Callable[[Mapping[str, Any]], bytes]
"""A model's attributes → body. Raises when it cannot be sure to write what fastavro would."""
Read = Callable[[bytes, int], dict[str, Any]]
"""(value, where its body begins) → fields, those that travel as JSON text parsed. Raises when it cannot be sure."""

_SMALL = 4096


@lru_cache(maxsize=4096, typed=True)
def _long(number: int) -> bytes:
    """An Avro long: zig-zag, then seven bits a byte, lowest first."""
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


class _Sizes(dict[int, bytes]):
    """Sizes as they are written: the common ones at hand, the others made."""

    def __missing__(self, size: int) -> bytes:
        return _long(size)


_SIZES = _Sizes({size: _long(size) for size in range(_SMALL)})


def _text(value: str) -> bytes:
    data = value.encode()
    return _SIZES[len(data)] + data


def _texts(values: list[str]) -> bytes:
    if not values:
        return b"\0"
    return b"".join((_long(len(values)), *map(_text, values), b"\0"))


def _more(data: bytes, at: int, low: int) -> tuple[int, int]:
    """The rest of a number whose first byte says that there is more: (number before zig-zag, where it ends)."""
    number, shift = low & 127, 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            if number >> 64:
                raise OverflowError
            return number, at
        shift += 7
        if shift > 63:
            raise OverflowError


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    number = data[at]
    at += 1
    if number > 127:
        number, at = _more(data, at, number)
    return (number >> 1) ^ -(number & 1), at


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    size, at = _read_long(data, at)
    end = at + size
    if size < 0 or end > len(data):
        raise EOFError
    return data[at:end].decode(), end


def _read_texts(data: bytes, at: int) -> tuple[list[str], int]:
    found: list[str] = []
    while True:
        count, at = _read_long(data, at)
        if count == 0:
            return found, at
        if count < 0:
            raise NotImplementedError("blocks that say their size")
        for _ in range(count):
            text, at = _read_text(data, at)
            found.append(text)


_NUMBER = """\
{v} = data[at]; at += 1
if {v} > 127: {v}, at = ({v} & 127 | data[at] << 7, at + 1) if data[at] < 128 else _more(data, at, {v})
"""
"""A number before zig-zag; one of two bytes needs no call."""
_END = _NUMBER.format(v="size") + "if size & 1: raise ValueError\nend = at + (size >> 1)\n"
_WRITERS = {
    "string": "_text({v})",
    "long": "_long({v})",
    "boolean": "(b'\\1' if {v} else b'\\0')",
    "texts": "(_texts({v}) if {v} else b'\\0')",
}
"""Expressions of a value's bytes."""
_READERS = {
    "string": _END + "{v} = data[at:end].decode(); at = end",
    "json": _END + "{v} = from_json(data[at:end]); at = end",
    "long": _NUMBER + "{v} = {v} >> 1 ^ -({v} & 1)",
    "boolean": "{v} = data[at]; at += 1\nif {v} > 1: raise ValueError\n{v} = {v} == 1",
    "texts": "if data[at]: {v}, at = _read_texts(data, at)\nelse: {v} = []; at += 1",
}
"""Statements that read a value, and go on behind it."""


def _kind(avro: Any) -> str | None:
    """A name of _READERS, or None for what is not compiled."""
    if isinstance(avro, dict):
        if avro.get("hil.json"):
            return "json"
        if avro.get("type") == "array" and avro.get("items") == "string":
            return "texts"
        return None
    return avro if avro in ("string", "long", "boolean") else None


def _union(avro: Any) -> tuple[str, int] | None:
    """(kind, its branch) of a union with null, or None for what is none of ours."""
    if not isinstance(avro, list) or len(avro) != 2 or "null" not in avro:
        return None
    branch = 1 - avro.index("null")
    kind = _kind(avro[branch])
    return None if kind in (None, "json", "boolean") else (str(kind), branch)


def compile_writer(schema: Mapping[str, Any], head: bytes, to_json: Callable[[Any], bytes]) -> Write | None:
    """The writer of a record schema, or None when it has a field of another kind."""
    lines, parts = [], ["head"]
    for number, field in enumerate(schema["fields"]):
        v, value, union, kind = f"v{number}", f"fields[{field['name']!r}]", _union(field["type"]), _kind(field["type"])
        if union is not None:
            name, branch = union
            null, other = _long(1 - branch), _long(branch)
            lines.append(f"{v} = {value}")
            parts += [f"({null!r} if {v} is None else {other!r} + {_WRITERS[name].format(v=v)})"]
        elif kind in ("string", "json"):
            lines.append(f"{v} = " + (f"to_json({value})" if kind == "json" else f"{value}.encode()"))
            parts += [f"_SIZES[len({v})]", v]
        elif kind is not None:
            parts += [_WRITERS[kind].format(v=value)]
        else:
            return None
    body = "".join(f"    {line}\n" for line in lines)
    source = f"def write(fields):\n{body}    return b''.join(({', '.join(parts)},))\n"
    return _made(source, "write", head=head, to_json=to_json)  # type: ignore[no-any-return]


def compile_reader(
    schema: Mapping[str, Any], from_json: Callable[[bytes], Any], checks: Mapping[str, tuple[str, Any]] | None = None
) -> Read | None:
    """The reader of a record schema, or None when it has a field of another kind. `checks`: as schemas.codec.plain has them."""
    lines: list[str] = []
    names = []
    known: dict[str, Any] = {"from_json": from_json}
    for number, field in enumerate(schema["fields"]):
        v, union, kind = f"v{number}", _union(field["type"]), _kind(field["type"])
        names.append(f"{field['name']!r}: {v}")
        if union is not None:
            name, branch = union
            lines += [
                "tag = data[at]; at += 1",
                f"if tag == {_long(1 - branch)[0]}: {v} = None",
                f"elif tag != {_long(branch)[0]}: raise ValueError",
                "else:",
                *(f"    {line}" for line in _READERS[name].format(v=v).splitlines()),
            ]
        elif kind is not None:
            lines += _READERS[kind].format(v=v).splitlines()
        else:
            return None
        if checks is not None and field["name"] in checks:
            statement, known[f"k{number}"] = checks[field["name"]]
            lines.append(statement.replace("known", f"k{number}").format(v=v))
    body = "".join(f"    {line}\n" for line in lines)
    end = "    if at != len(data): raise EOFError\n"
    source = f"def read(data, at):\n{body}{end}    return {{{', '.join(names)}}}\n"
    return _made(source, "read", **known)  # type: ignore[no-any-return]


def _made(source: str, name: str, **known: Any) -> Any:
    helpers = (_long, _text, _texts, _more, _read_texts)
    scope: dict[str, Any] = {"_SIZES": _SIZES, **{each.__name__: each for each in helpers}, **known}
    exec(compile(source, f"<avro {name}>", "exec"), scope)  # noqa: S102  of our own schemas, as dataclasses do
    return scope[name]

"""YAML text as plain JSON values, with the line of every key. Bounded, no tags that build objects, no key twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from schemas.bounds import LARGEST_INT, SMALLEST_INT
from schemas.workflow.faults import Fault, InvalidWorkflow, KeyPath
from schemas.workflow.yaml12 import MAX_DEPTH, TAG, Composing

MAX_BYTES = 1024 * 1024
_LONGEST_INTEGER = 64
MAX_VALUES = 200_000
"""Values after aliases are followed; an alias bomb ends here."""


@dataclass(frozen=True, slots=True)
class Positions:
    """Where each value of a file stands. A path that is not in the file answers with its nearest parent's line."""

    file: str
    keys: dict[KeyPath, int] = field(default_factory=dict)
    values: dict[KeyPath, int] = field(default_factory=dict)
    """Line of the first line of the value itself: for a block text, the line below its `|`."""

    def line(self, path: KeyPath) -> int:
        for depth in range(len(path), 0, -1):
            if (found := self.keys.get(self._written(path[:depth]))) is not None:
                return found
        return 1

    def text_line(self, path: KeyPath, line: int) -> int:
        """The file's line of line `line` (from 1) of the text at `path`."""
        start = self.values.get(self._written(path))
        return self.line(path) if start is None else start + line - 1

    def _written(self, path: KeyPath) -> KeyPath:
        """Authors may write some keys of a node inside its `config`."""
        if path in self.keys or len(path) != 4 or path[:2] != ("workflow", "nodes"):
            return path
        return (*path[:3], "config", path[3])


class Unreadable(Exception):
    """Ends reading at once: nothing after it can be understood."""

    def __init__(self, line: int, message: str, remedy: str) -> None:
        super().__init__(message)
        self.line, self.message, self.remedy = line, message, remedy


@dataclass(slots=True)
class _Builder:
    """Turns nodes into values and remembers lines. `faults` are those that leave the rest readable."""

    positions: Positions
    faults: list[Fault] = field(default_factory=list)
    made: int = 0
    open: set[int] = field(default_factory=set)

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.made += 1
        if self.made > MAX_VALUES:
            raise Unreadable(
                _line(node), f"has more than {MAX_VALUES:,} values once its aliases are followed", "use fewer aliases"
            )
        self.positions.keys.setdefault(path, _line(node))
        self.positions.values[path] = _line(node) + (1 if getattr(node, "style", None) in ("|", ">") else 0)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if id(node) in self.open or len(path) > MAX_DEPTH:
            raise Unreadable(_line(node), "an alias leads back into itself", "write the value out instead of the alias")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                self.expect_tag(node, "seq")
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            self.expect_tag(node, "map")
            return self.mapping(node, path)
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(key_node, path, "a key is a list or a mapping", "use a plain word as key", "key")
                continue
            if key_node.tag == f"{TAG}merge":
                for other in self.merged(value_node, path):
                    merged = {**other, **merged}
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in own:
                first = self.positions.keys[here]
                self.fault(
                    key_node, here, f"`{key}` is given twice (first in line {first})", "keep one of the two", "duplicate-key"
                )
                self.build(value_node, (*path, f"{key} again"))
                continue
            self.positions.keys[here] = _line(key_node)
            own[key] = self.build(value_node, here)
        return {**merged, **own}

    def merged(self, node: yaml.Node, path: KeyPath) -> Iterator[dict[str, Any]]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.build(source, (*path, "<<"))
            if isinstance(value, dict):
                yield value
            else:
                self.fault(source, path, "`<<` merges something that is no mapping", "let `<<` name a mapping's alias", "merge")

    def scalar(self, node: yaml.ScalarNode) -> Any:
        text = str(node.value)
        try:
            match node.tag.removeprefix(TAG):
                case "str" | "merge":
                    return text
                case "null":
                    return None
                case "bool" if text.lower() in ("true", "false"):
                    return text.lower() == "true"
                case "int":
                    return _integer(text)
                case "float":
                    return self.number(node, text)
        except ValueError:
            self.fault(
                node, (), f"`{text[:40]}` is no number we can hold", "write one within 64 bits, or put it in quotes", "number"
            )
            return None
        self.fault(
            node,
            (),
            f"the tag `{node.tag.replace(TAG, '!!')}` is not supported",
            "remove the tag and write the plain value",
            "tag",
        )
        return None

    def number(self, node: yaml.ScalarNode, text: str) -> float | None:
        value = float(
            text.replace(".inf", "inf").replace(".nan", "nan") if text.lstrip("+-")[:1] == "." and text[-1].isalpha() else text
        )
        if value - value == 0:  # neither infinite nor NaN, which JSON cannot hold
            return value
        self.fault(node, (), f"`{text[:40]}` is no JSON number", "write a finite number", "number")
        return None

    def expect_tag(self, node: yaml.Node, kind: str) -> None:
        if node.tag != TAG + kind:
            tag = node.tag.replace(TAG, "!!")
            self.fault(node, (), f"the tag `{tag}` is not supported", "remove the tag and write a plain list or mapping", "tag")

    def fault(self, node: yaml.Node, path: KeyPath, message: str, remedy: str, code: str) -> None:
        self.faults.append(Fault(self.positions.file, _line(node), path, message, remedy, code=code))


def _integer(text: str) -> int:
    """Raises ValueError beyond 64 bits; the length first, for very many digits take very long."""
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(text[:_LONGEST_INTEGER])
    value = int(text.replace("0o", "0", 1), 8) if text.startswith("0o") else int(text, 16 if text[:2] == "0x" else 10)
    if not SMALLEST_INT <= value <= LARGEST_INT:
        raise ValueError(text)
    return value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def read_document(
    source: str | Path, *, file: str | None = None, begin: str = "start with `name:`, `version:` and `workflow:`"
) -> tuple[dict[str, Any], Positions, list[Fault]]:
    """The mapping that `source` holds: a Path is read, a text is taken as it is. Raises InvalidWorkflow when there is none.

    `begin`: what its author is told to begin with, if it is none.
    """
    positions = Positions(file or (str(source) if isinstance(source, Path) else "<text>"))
    try:
        text = _text(source)
        composer = Composing(text)
        root = composer.get_single_node()
        if root is None:
            raise Unreadable(1, "the file is empty", begin)
        builder = _Builder(positions)
        value = builder.build(root, ())
        if not isinstance(value, dict):
            kind = "a list" if isinstance(value, list) else "a single value"
            raise Unreadable(_line(root), f"the file holds {kind}, not a mapping", begin)
    except Unreadable as error:
        _refuse(positions, error.line, error.message, error.remedy)
    except RecursionError:
        _refuse(positions, 1, "the file is nested too deeply", f"keep it under {MAX_DEPTH} levels")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        _refuse(positions, mark.line + 1 if mark else 1, f"this is no YAML: {what}", _yaml_remedy(what))
    except yaml.YAMLError as error:
        _refuse(
            positions,
            1,
            f"this is no YAML: {' '.join(str(error).split())}",
            "save the file as UTF-8 text without control characters",
        )
    return value, positions, builder.faults


def _refuse(positions: Positions, line: int, message: str, remedy: str) -> NoReturn:
    raise InvalidWorkflow([Fault(positions.file, line, (), message, remedy, code="unreadable")]) from None


def _text(source: str | Path) -> str:
    if isinstance(source, str):
        data = source.encode("utf-8", "surrogatepass")
    else:
        try:
            with source.open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
        except OSError as error:
            raise Unreadable(1, f"the file cannot be read: {error.strerror or error}", "check its path and permissions") from None
    if len(data) > MAX_BYTES:
        raise Unreadable(1, f"the file is larger than {MAX_BYTES // 1024} KiB", "split it into several")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(line, f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8") from None


def _yaml_remedy(problem: str) -> str:
    if "'\\t'" in problem:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return "put text that contains `: ` in quotes, or check the indentation"
    if "nested deeper" in problem:
        return f"keep it under {MAX_DEPTH} levels"
    if "document" in problem and "another" in problem:
        return "keep one workflow in a file: remove the second `---`"
    if "alias" in problem:
        return "define the anchor (`&name`) before its alias (`*name`)"
    return "check indentation, quotes and brackets on this line and the one above"

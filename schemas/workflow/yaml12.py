"""YAML 1.2's core schema on PyYAML's parser, up to a tree of nodes that know their lines."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

MAX_DEPTH = 64

TAG = "tag:yaml.org,2002:"
SCALARS = {f"{TAG}{name}" for name in ("str", "int", "float", "bool", "null", "merge")}


class Yaml12(BaseResolver):
    """The core schema of YAML 1.2: `on`, `no` and `12:30` are text, only `true` and `false` are booleans."""


for _name, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
    ("merge", r"^<<$", "<"),
):
    Yaml12.add_implicit_resolver(f"{TAG}{_name}", re.compile(_pattern), list(_first))


class Composing(Reader, Scanner, Parser, Composer, Yaml12):
    """PyYAML up to its node tree, which has the lines; values are made here, not by its constructors."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        Yaml12.__init__(self)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                None,
                None,
                f"nested deeper than {MAX_DEPTH} levels",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]  # not in PyYAML's stubs
            )
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

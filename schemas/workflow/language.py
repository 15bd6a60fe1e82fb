"""Which language a condition is written in when its author did not say."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import Parser

BARE_WORDS = frozenset({"true", "false", "null", "True", "False", "None"})


def parse_jmespath(text: str) -> Any:
    """Its syntax tree. Raises JMESPathError, RecursionError or ValueError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a bare word in backticks is old, but still JMESPath
        return Parser().parse(text).parsed


def language_of(expression: str) -> Literal["always", "jmespath", "python_expr"]:
    """JMESPath when it parses as that and means what it looks like, else Python.

    `output.intent == "refund"` and `output.vip == true` parse as JMESPath, but there `"refund"` and `true` are names of fields;
    whoever writes them means the values, so these are Python.
    """
    text = expression.strip()
    if text in ("", "always"):
        return "always"
    try:
        nodes = list(_walk(parse_jmespath(text), 0))
    except (JMESPathError, RecursionError, ValueError):
        return "python_expr"
    if any(node["type"] == "function_expression" and node["value"] not in Functions.FUNCTION_TABLE for node in nodes):
        return "python_expr"
    if any(node["type"] == "field" and node["value"] in BARE_WORDS for node in nodes):
        return "python_expr"
    return "python_expr" if re.search(r"[=<>!]=?\s*\"|\"\s*[=<>!]=?", text) else "jmespath"


_LITERALS = re.compile(r"`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'")
_QUOTED = re.compile(r"""(?<![.\w])"([^"\\]*)"(?!\s*[.\[(:])""")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def quoted_operands(expression: str) -> list[str]:
    """Names in double quotes that a JMESPath expression compares as they stand, where authors mostly mean texts."""
    bare = _LITERALS.sub(lambda literal: " " * len(literal[0]), expression)
    found = (match for match in _QUOTED.finditer(bare))
    return [
        match[1]
        for match in found
        if bare[: match.start()].rstrip().endswith(_COMPARISONS) or bare[match.end() :].lstrip().startswith(_COMPARISONS)
    ]


def _walk(node: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node["children"]:
        if isinstance(child, dict) and depth < 200:
            yield from _walk(child, depth + 1)

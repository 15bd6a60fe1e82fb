"""Our interpreter of Python's expressions means what Python means: some thousands of random ones, evaluated by both."""

# ruff: noqa: E501  a table reads best with a case on one line

from __future__ import annotations

import builtins
import json
import random
import warnings
from typing import Any

import pytest

from streams.core import expressions

DATA = {"a": "Hello World", "b": "ab,cd,,ef", "n": 7, "f": 2.5, "l": [3, 1, 2, 2], "t": ["b", "A", "c", "a"], "m": {"k": "v", "z": 1}, "none": None, "yes": True, "e": [], "u": "Ünïcode ß"}  # fmt: skip
LEAVES = [
    *DATA,
    "1",
    "0",
    "'a'",
    "'ab'",
    "','",
    "2.0",
    "[1, 2]",
    "('a', 'b')",
    "{'k': 1}",
    "None",
    "True",
    "l[0]",
    "l[-1]",
    "-1",
    "10",
]
OPERATORS = ["+", "-", "*", "/", "//", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "|", "&", "^"]
ONE = ["len", "str", "int", "float", "bool", "abs", "round", "min", "max", "sum", "any", "all", "sorted", "reversed", "list", "tuple", "enumerate", "range", "dict"]  # fmt: skip
PLAIN = ["upper", "lower", "strip", "title", "split", "splitlines", "isdigit", "isalpha", "swapcase", "casefold", "capitalize"]
GIVEN = ["split", "rsplit", "count", "find", "rfind", "index", "startswith", "endswith", "partition", "rpartition", "join", "get", "removeprefix", "removesuffix", "strip"]  # fmt: skip


def expression(draw: random.Random, depth: int) -> str:
    def inner() -> str:
        return expression(draw, depth - 1)

    if depth <= 0 or draw.random() < 0.2:
        return draw.choice(LEAVES)
    match draw.randrange(10):
        case 0 | 1:
            return f"({inner()} {draw.choice(OPERATORS)} {inner()})"
        case 2:
            return f"(not {inner()})"
        case 3:
            return f"({inner()} if {inner()} else {inner()})"
        case 4:
            return f"{draw.choice(ONE)}({inner()})"
        case 5:
            return f"[x for x in {inner()} if x != {inner()}]"
        case 6:
            return f"{{x: 1 for x in {inner()}}}"
        case 7:
            return f"{inner()}[{draw.choice(['0', '-1', '1:', '::-1', '::2', '5', '-3:-1'])}]"
        case 8:
            return f"{inner()}.{draw.choice(PLAIN)}()"
        case _:
            return f"{inner()}.{draw.choice(GIVEN)}({inner()})"


def shown(value: Any = "") -> str:
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if isinstance(value, (dict, list, tuple))
        else str(value)
    )


FUNCTIONS = {
    **{name: getattr(builtins, name) for name in ONE},
    "str": shown,
    "reversed": lambda values: list(values)[::-1],
    "enumerate": lambda values: list(enumerate(values)),
    "range": lambda *bounds: list(range(*bounds)),
}


@pytest.mark.parametrize("seed", range(20))
def test_an_expression_means_what_it_means_in_python(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(150):
        source = expression(draw, 3)
        try:
            expected: Any = eval(source, {"__builtins__": FUNCTIONS, **DATA})
        except Exception:  # noqa: BLE001  whatever Python says, ours must not answer
            with pytest.raises(Exception):  # noqa: B017
                expressions.parse(source).evaluate(DATA)
            continue
        found = expressions.parse(source).evaluate(DATA)
        assert repr(found) == repr(expected), source


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        yield

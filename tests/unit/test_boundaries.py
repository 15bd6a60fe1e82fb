"""Who may import what, module by module: a new module is covered the day it appears."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("schemas", "agents", "connectors", "streams")
PURE = {
    *(
        "__future__",
        "ast",
        "base64",
        "bisect",
        "collections",
        "contextlib",
        "dataclasses",
        "decimal",
        "difflib",
        "enum",
        "fractions",
    ),
    *(
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
        "types",
        "typing",
        "unicodedata",
        "warnings",
    ),
    *("msgspec", "jmespath", "pydantic"),
}
"""What streams.core may use besides schemas: nothing that knows a clock, chance or the world."""


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imported(path: Path) -> set[str]:
    """Every module a file names in an import, with `from a import b` as both `a` and `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def below(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def forbidden(module: str) -> tuple[str, ...]:
    """What this module may not import, by prefix."""
    if below(module, "streams.app"):
        return ()
    names: list[str] = ["streams.app"]
    if below(module, "schemas"):
        names += ["agents", "connectors", "streams"]
    if below(module, "agents"):
        names += ["connectors", "streams", "asyncpg"]
    if below(module, "connectors"):
        names += ["streams"]
    if below(module, "streams"):
        names += ["connectors", "asyncpg", "openai", "composio_client"]
    if not below(module, "streams.runtime"):
        names += ["aiokafka.consumer", "aiokafka.AIOKafkaConsumer"]
        if not below(module, "connectors.kafka", "streams.replay"):
            names += ["aiokafka"]
    return tuple(names)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_place_allows(module: str):
    names = imported(MODULES[module])
    assert sorted(name for name in names if below(name, *forbidden(module))) == []


@pytest.mark.parametrize("module", [name for name in MODULES if below(name, "streams.core")])
def test_the_core_is_pure(module: str):
    names = imported(MODULES[module])
    strange = {name for name in names if not below(name, "schemas", "streams.core", *PURE)}
    assert strange - {"streams"} == set()


def test_the_rules_notice():
    """What a careless import would look like."""
    assert below("aiokafka.AIOKafkaConsumer", *forbidden("streams.definitions"))
    assert below("asyncpg", *forbidden("agents.simple"))
    assert below("streams.app.system", *forbidden("streams.replay.window"))
    assert not {"time", "datetime", "random", "os", "socket", "asyncio", "uuid", "threading", "logging"} & PURE

"""Workflow definitions as nobody should publish them: written past the validator, straight to workflow.definitions."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Mapping
from typing import Any

from tests.hostile.payloads import Item, fresh

TOPIC = "workflow.definitions"
HUGE = "9" * 900_000
NUMBERS = (1e308, -1e308, 10**400, -1, 0, "1e999999", "NaN", "Infinity", -0.0, 2**63, 2**64, 1e-320, True, None, [], {})
VERSIONS = ("", "1", "1.0", "latest", "1.0.0.0", "01.0.0", "1.0.0-", "١.٠.٠", "9" * 5000 + ".0.0", "1.0.0\n", "-1.0.0", "1.0.x")
TEMPLATES = (
    "{% for i in range(10**8) %}x{% endfor %}",
    "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}x{% endfor %}{% endfor %}{% endfor %}",
    "{{ 'x' * 10**9 }}",
    "{{ 10 ** 10 ** 8 }}",
    "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
    "{{ [1] * 10**9 }}",
    "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 2) }}{% endmacro %}{{ m(0) }}",
    "{% for i in [1] recursive %}{{ loop([1]) }}{{ loop([1]) }}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{{ 'a' * 3000 in 'b' * 30000000 }}",
    "{{ range(10**7) | join(',') }}",
    "{{ range(10**6) | list | tojson }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ ().__class__.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ text | center(10**9) }}",
    "{{ text | indent(10**9) }}",
    "{{ (range(10**6) | map('string') | list).sort() }}",
    "{{ 1 / 0 }}",
    "{% include 'x' %}",
    "{% raw %}",
    "{{ nothing_of_this_name }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
)
CONDITIONS = (
    ("python_expr", "10 ** 10 ** 8"),
    ("python_expr", "[x for x in range(10**9)]"),
    ("python_expr", "sum([1 for a in [1] * 1000 for b in [1] * 1000 for c in [1] * 1000])"),
    ("python_expr", "'a' * 10**9"),
    ("python_expr", "('a' * 100000).replace('a', 'b' * 100000)"),
    ("python_expr", "len({x * (2**61 - 1) for x in [1] * 100000})"),
    ("python_expr", "f'{1:1000000000}'"),
    ("python_expr", "'x' in ['y' * 1000000] * 1000000"),
    ("python_expr", "().__class__.__base__.__subclasses__()"),
    ("python_expr", "__import__('os').environ"),
    ("python_expr", "(" * 2000 + "1" + ")" * 2000),
    ("python_expr", "not " * 5000 + "1"),
    ("jmespath", "join(',', [" + ",".join(["text"] * 5000) + "])"),
    ("jmespath", "[[[" * 300 + "@" + "]]]" * 300),
    ("jmespath", "||" * 100),
    ("jmespath", "a" + ".a" * 20000),
    ("always", ""),
    ("nothing", "x"),
)


def valid(name: str, **node: Any) -> dict[str, Any]:
    """A workflow of one node that greets."""
    return {
        "name": name,
        "version": "1.0.0",
        "workflow": {
            "nodes": [
                {
                    "id": "answer",
                    "agent": "simple_response_generator",
                    "prompt_template": "Greet: {{ text }}",
                    "config": {},
                    **node,
                }
            ],
            "edges": [{"from": "answer", "to": "END"}],
        },
    }


def published(body: Any, *, digest: str | None = None, agents: Any = None, key: bytes | None = None, **fields: Any) -> Item:
    """The record of a definition, as our own publisher would write it, but for what is said otherwise."""
    used = {"answer": "simple"} if agents is None else agents
    if agents is None and isinstance(body, Mapping):
        used = {"simple_response_generator": "simple"}
    true = hashlib.sha256(json.dumps([body, used], sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()
    name = body.get("name", "x") if isinstance(body, Mapping) else "x"
    event = {
        "id": digest or true,
        "time_ms": 1_700_000_000_000,
        "conversation_id": "",
        "name": name,
        "version": body.get("version", "1.0.0") if isinstance(body, Mapping) else "1.0.0",
        "digest": digest or true,
        "source": "",
        "definition": body,
        "agent_types": used,
        "deprecated": False,
        "published_ms": 1_700_000_000_000,
    } | fields
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", true.encode()),
        ("ce_type", b"hil.workflow.published"),
        ("ce_source", b"/hil"),
        ("content-type", b"application/json"),
    )
    value = json.dumps(event, allow_nan=True).encode()
    return Item("definition", value, key or f"{name}@{digest or true}".encode(), headers, topic=TOPIC)


def broken(chance: random.Random) -> tuple[str, Item, str | None]:
    """(kind, record, the workflow a message may name to run it; None when it can never run)."""
    name = fresh("hostile_definition").replace("-", "_")
    body = valid(name)
    node = body["workflow"]["nodes"][0]
    match chance.randrange(12):
        case 0:
            template = chance.choice(TEMPLATES)
            node["prompt_template"] = template
            return f"template {template[:40]}", published(body), name
        case 1:
            kind, expression = chance.choice(CONDITIONS)
            body["workflow"]["edges"][0]["condition"] = {"type": kind, "expression": expression}
            return f"condition {expression[:40]}", published(body), name
        case 2:
            kind, expression = chance.choice(CONDITIONS)
            node["condition"] = {"type": kind, "expression": expression}
            return f"node condition {expression[:40]}", published(body), name
        case 3:
            place = chance.choice(
                ("temperature", "max_tokens", "max_iterations", "max_retries", "max_cost_per_call", "max_latency_ms")
            )
            node["config"][place] = chance.choice(NUMBERS)
            return f"number in {place}", published(body), name
        case 4:
            place = chance.choice(("timeout_seconds", "retry"))
            number = chance.choice(NUMBERS)
            retry = chance.choice(("initial_delay_seconds", "max_delay_seconds", "backoff", "max_attempts"))
            node[place] = number if place == "timeout_seconds" else {retry: number}
            return f"number in {place}", published(body), name
        case 5:
            body["cost_controls"] = {
                chance.choice(("max_cost_per_conversation", "daily_budget", "alert_threshold")): chance.choice(NUMBERS)
            }
            return "number in cost_controls", published(body), name
        case 6:
            return "digest of another", published(body, digest=hashlib.sha256(name.encode()).hexdigest()), name
        case 7:
            version = chance.choice(VERSIONS)
            return "version", published({**body, "version": version}), f"{name}@{version}"
        case 8:
            return "deprecated", published(body, deprecated=True), name
        case 9:
            wrong = copy.deepcopy(body)
            wrong["workflow"]["edges"] = chance.choice(
                (None, [], 7, [{"from": "answer", "to": "answer"}], [{"from": "x", "to": "y"}], [{"from": "END", "to": "answer"}])
            )
            return "edges", published(wrong), name
        case 10:
            agents = chance.choice(
                ({}, {"simple_response_generator": "code"}, {"simple_response_generator": "nothing"}, [], "x", None)
            )
            return "agents", published(body, agents=agents if agents is not None else {"x": "simple"}), name
        case _:
            value = chance.choice(
                (b"", b"null", b"[]", b"{}", b'{"name": ' + HUGE.encode() + b"}", b"\xff" * 50, None, b"[" * 200_000)
            )
            return "no definition", Item("definition", value, name.encode(), topic=TOPIC), None

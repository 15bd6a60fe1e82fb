"""Programs for the code agent run in the sandbox and end with what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agents.code import SYSTEM, split
from agents.ports import ToolSpec
from agents.sandbox import CallFailed, Sandbox
from agents.stubs import Stubs
from connectors.rehearsal.model import RehearsalModel
from tests.unit.rehearsal.asking import ask

ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
READING = Stubs([ToolSpec("stock.get_level", "How many are left", ORDER), ToolSpec("stock.find_supplier", "Who makes it", ORDER)])
RETURNING = Stubs([ToolSpec("shop.get_order", "An order", ORDER), ToolSpec("shop.create_return", "Take it back", ORDER)])
GOAL = "Help with the order.\n\nOrder number: 1003\n\n<message>\nplease return it\n</message>"


async def run(model: RehearsalModel, stubs: Stubs, results: Mapping[str, Any], *later: str) -> tuple[dict[str, Any], list[str]]:
    """The program's result and the functions it called; a result that is text is raised as the tool's failure."""
    prompts = [
        {"role": "system", "content": SYSTEM + stubs.source()},
        GOAL,
        *({"role": "user", "content": text} for text in later),
    ]
    _, program = split(ask(model, *prompts).text)
    called: list[str] = []

    async def answer(function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        called.append(function)
        assert stubs.bind(function, args, kwargs)["order_id"] == "1003"
        if isinstance(results[function], str):
            raise CallFailed(results[function])
        return results[function]

    sandbox = Sandbox()
    try:
        finished = await sandbox.run(program, functions=stubs.functions, answer=answer)
    finally:
        await sandbox.close()
    assert finished.value["response"].endswith("(rehearsal model)")
    assert finished.value["summary"]
    return finished.value, called


async def test_any_reading_tools_are_called_and_told(model: RehearsalModel) -> None:
    told, called = await run(model, READING, {"stock_get_level": {"level": 7}, "stock_find_supplier": "no such supplier"})
    assert called == ["stock_get_level", "stock_find_supplier"]
    assert "level: 7" in told["response"]
    assert "no such supplier" in told["response"]


async def test_after_a_failure_the_program_is_simpler(model: RehearsalModel) -> None:
    failed = "The program failed:\nTraceback (most recent call last): TypeError\nMend it and answer with the whole program again."
    told, called = await run(model, RETURNING, {"shop_get_order": {"status": "delivered"}, "shop_create_return": {}}, failed)
    assert called == ["shop_get_order"]
    assert "delivered" in told["response"]


@pytest.mark.parametrize(
    ("order", "status", "calls"),
    [
        ({"status": "delivered", "age_days": 3}, "return_created", 2),
        ({"status": "delivered", "age_days": 30}, "store_credit_offered", 1),
        ({"status": "returned", "returned": True}, "already_returned", 1),
        ({"status": "unfulfilled"}, "not_returnable", 1),
        ("Order not found", "not_found", 1),
    ],
)
async def test_a_return_is_decided_by_the_order(model: RehearsalModel, order: Any, status: str, calls: int) -> None:
    results = {"shop_get_order": order, "shop_create_return": {"return_id": "RET-1003"}}
    told, called = await run(model, RETURNING, results)
    assert (told["status"], len(called)) == (status, calls)
    assert told["needs_human"] is (status == "not_found")


async def test_a_return_the_shop_refuses_is_said(model: RehearsalModel) -> None:
    told, _ = await run(model, RETURNING, {"shop_get_order": {"status": "delivered"}, "shop_create_return": "the shop is closed"})
    assert told["status"] == "failed"
    assert "the shop is closed" in told["response"]

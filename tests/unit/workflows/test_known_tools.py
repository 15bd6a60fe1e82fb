"""Validation asks the tool server that is configured, and says so when it cannot."""

from __future__ import annotations

from connectors.shop.server import serve_shop
from streams.app.publishing import known_tools
from streams.workflows.validator import validate
from tests.unit.workflows.flows import AGENTS
from tests.unit.workflows.test_dialect import BUILT_IN, DESK


async def test_the_actions_of_declared_apps_are_those_the_server_lists():
    definition, _ = validate(DESK, agents=BUILT_IN)
    assert definition is not None
    said: list[str] = []
    server, url = await serve_shop()
    try:
        tools = await known_tools([definition], {"HIL_COMPOSIO_BASE_URL": url}, said.append)
    finally:
        await server.close()
    assert said == []
    assert tools is not None
    assert "shopify.get_order" in tools
    unknown = [fault.line for fault in validate(DESK, agents=BUILT_IN, tools=tools)[1] if fault.code == "unknown-tool"]
    assert len(unknown) == 2


async def test_a_server_that_cannot_be_asked_is_told_of_and_nothing_is_judged():
    definition, _ = validate(DESK, agents={**AGENTS, **BUILT_IN})
    assert definition is not None
    said: list[str] = []
    assert await known_tools([definition], {"HIL_COMPOSIO_BASE_URL": "http://127.0.0.1:9"}, said.append) is None
    assert len(said) == 1
    assert said[0].startswith("warning: whether the tools exist was not checked: ")
    assert await known_tools([definition], {}, said.append) is None, "none is configured, so there is nothing to say"
    assert len(said) == 1

"""The tools of one node."""

from __future__ import annotations

import pytest

from agents.errors import Fatal, Park, Retryable
from agents.ports import ToolCall
from connectors.composio.client import ComposioClient, ComposioSettings, Executed, InDoubt, KeyRefused, NotDone, RemoteTool
from connectors.composio.tools import Toolbox, split_specs
from connectors.shop.server import serve_shop
from schemas.workflow.definition import WorkflowDefinition

ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}, "note": {"type": "string"}}, "required": ["order_id"]}
KNOWN = {
    tool.name: tool
    for tool in (
        RemoteTool("shopify.get_order", "SHOPIFY_GET_ORDER", "Reads.", ORDER, idempotent=True),
        RemoteTool("shopify.create_return", "SHOPIFY_CREATE_RETURN", "Acts.", ORDER, idempotent=False),
        RemoteTool("shopify.delete_order", "SHOPIFY_DELETE_ORDER", "Undeclared.", ORDER, idempotent=False),
    )
}
ASK = {"order_id": "7"}


class Composio:
    """Answers in order; a failure in the script is raised."""

    def __init__(self, *script):
        self.script, self.done = list(script), []

    async def tools(self, app):
        return {name: tool for name, tool in KNOWN.items() if name.startswith(f"{app}.")}

    async def execute(self, tool, arguments, *, entity_id):
        self.done.append((tool.name, dict(arguments), entity_id))
        said = self.script.pop(0) if self.script else Executed(True, {"ok": 1}, None)
        if isinstance(said, Exception):
            raise said
        return said


def workflow(*specs, source="customer_id", actions=("get_order", "create_return"), **more):
    node = {"id": "n", "agent": "a", "task": "t", "config": {"tools": list(specs)}}
    apps = [{"name": "shopify", "entity_id_source": source, "actions": list(actions)}]
    return WorkflowDefinition.model_validate(
        {"name": "w", "version": "1.0.0", "composio": {"apps": apps}, "workflow": {"nodes": [node]}, **more}
    )


async def opened(composio, *specs, input=None, context=None, waited=None, **more):
    async def sleep(seconds):
        (waited if waited is not None else []).append(seconds)

    definition = workflow(*specs, **more)
    box = Toolbox(composio, sleep=sleep)
    return await box.for_node(
        definition.workflow.nodes[0], definition, {"customer_id": "cust"} if input is None else input, context or {}
    )


async def names(*specs, **more):
    return [spec.name for spec in (await opened(Composio(), *specs, **more)).specs()]


async def test_a_node_sees_what_it_names_of_the_apps_that_the_workflow_declares():
    assert await names("shopify.get_order") == ["shopify.get_order"]
    assert await names("shopify.*") == ["shopify.get_order", "shopify.create_return"]
    assert await names("shopify.get_order, shopify.create_return") == ["shopify.get_order", "shopify.create_return"]
    assert await names("shopify.*", actions=()) == list(KNOWN)
    assert await names("shopify.delete_order") == ["shopify.delete_order"], "the node's own list is the whitelist"
    assert await names() == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("shopify.get_ordr", r"no tool shopify\.get_ordr\. shopify has: shopify\.get_order"),
        ("gmail.send_email", "app is not declared"),
        ("shopify", "Write app.action"),
        ("shopify.get order", "Write app.action"),
        ("*.*", "Write app.action"),
    ],
)
async def test_a_tool_that_cannot_be_used_is_fatal_and_says_what_to_write(spec, told):
    with pytest.raises(Fatal, match=told):
        await opened(Composio(), spec)


async def test_without_composio_a_node_with_tools_says_what_to_set_and_one_without_works():
    assert (await opened(None)).specs() == []
    with pytest.raises(Fatal, match="COMPOSIO_API_KEY"):
        await opened(None, "shopify.get_order")


async def use(composio, name="shopify.get_order", arguments=ASK, **more):
    tools = await opened(composio, "shopify.*", **more)
    return await tools.call(ToolCall("c", name, arguments))


@pytest.mark.parametrize(
    ("values", "entity"),
    [
        ({"input": {"customer_id": "a"}, "context": {"customer_id": "b"}}, "a"),
        ({"input": {"customer_id": None}, "context": {"customer_id": "b"}}, "b"),
        ({"input": {}, "context": {"customer_id": 42}}, "42"),
        ({"input": {}, "entities": {"customer_id": "shop"}}, "shop"),
        ({"input": {}, "source": None}, "default"),
        ({"input": {}, "source": None, "entities": {"shopify": "house"}}, "house"),
    ],
)
async def test_the_entity_is_the_value_of_the_field_the_app_names(values, entity):
    composio = Composio()
    result = await use(composio, **values)
    assert (composio.done[0][2], result.entity_id) == (entity, entity)


async def test_without_an_entity_nothing_is_called_and_the_reason_is_clear():
    composio = Composio()
    result = await use(composio, input={})
    assert (composio.done, result.acted) == ([], False)
    assert "Send customer_id with the message" in result.error


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("shopify.get_order", {}, "'order_id' is a required property"),
        ("shopify.get_order", {"order_id": 7}, "7 is not of type 'string'"),
        ("shopify.get_order", None, "not a JSON object"),
        ("shopify.delete_order", ASK, "not a tool of this node"),
        ("gmail.send_email", ASK, "not a tool of this node"),
    ],
)
async def test_a_call_that_does_not_fit_is_refused_before_it_is_made(name, arguments, told):
    composio = Composio()
    result = await use(composio, name, arguments)
    assert (result.success, result.acted, composio.done) == (False, False, [])
    assert told in result.error


async def test_null_for_an_optional_argument_is_left_out():
    composio = Composio()
    await use(composio, arguments={"order_id": "7", "note": None})
    assert composio.done[0][1] == {"order_id": "7"}


async def test_the_tools_own_failure_is_a_result():
    result = await use(Composio(Executed(False, {}, "order not found")))
    assert (result.success, result.error, result.acted) == (False, "order not found", True)


async def test_a_read_is_tried_three_times_with_growing_pauses():
    waited: list[float] = []
    composio = Composio(InDoubt("503"), NotDone("refused"), Executed(True, {"id": 7}, None))
    assert (await use(composio, waited=waited)).data == {"id": 7}
    assert waited == [0.25, 1.0]
    with pytest.raises(Retryable):
        await use(Composio(*[InDoubt("503")] * 3))


async def test_an_action_is_tried_once_and_parked_when_it_may_have_acted():
    composio = Composio(InDoubt("no answer in time"))
    with pytest.raises(Park, match="may or may not have acted") as parked:
        await use(composio, "shopify.create_return")
    assert len(composio.done) == 1
    assert parked.value.details == {"tool": "shopify.create_return", "arguments": ASK, "entity_id": "cust"}


async def test_an_action_that_was_never_sent_is_retryable():
    with pytest.raises(Retryable, match="Nothing was done") as failed:
        await use(Composio(NotDone("asked to wait", retry_after_seconds=9)), "shopify.create_return")
    assert failed.value.retry_after_seconds == 9


async def test_a_refusal_of_the_request_is_a_result_the_model_can_read():
    result = await use(Composio(NotDone("400 No connected account found", final=True)))
    assert (result.success, result.error) == (False, "400 No connected account found")


async def test_a_refused_key_is_fatal():
    with pytest.raises(Fatal, match="COMPOSIO_API_KEY"):
        await use(Composio(KeyRefused("Set COMPOSIO_API_KEY", final=True)))


async def test_a_huge_result_is_cut():
    result = await use(Composio(Executed(True, {"text": "x" * 1_000_000}, None)))
    assert result.data["cut"] is True
    assert len(result.data["text"]) < 210_000


def test_specs_are_each_kept_once():
    assert split_specs(["a.b, A.B,a.c", "a.b"], owner="n") == ["a.b", "a.c"]


async def test_the_toy_shop_is_reached_over_its_own_wire():
    server, url = await serve_shop()
    try:
        async with ComposioClient(ComposioSettings(url, "toy-shop")) as client:
            result = await use(client, arguments={"order_id": "1001"}, actions=())
            missing = await use(client, arguments={"order_id": "999999"}, actions=())
    finally:
        await server.close()
    assert result.success
    assert result.data["order_id"].endswith("1001")
    assert not missing.success

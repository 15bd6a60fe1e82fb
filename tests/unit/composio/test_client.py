"""Composio's API: what is listed, and what each failure means."""

from __future__ import annotations

import importlib.metadata
import logging

import pytest

from agents.errors import Fatal, Retryable
from connectors.composio.client import (
    ComposioClient,
    ComposioSettings,
    InDoubt,
    KeyRefused,
    NotDone,
    RemoteTool,
    configure,
    is_idempotent,
    warn_of_old_package,
)
from tests.unit.llm.misbehaving import HANG_UP, SILENCE, answer, closed_port, serving

KEY = "ak_secret_0123456789"
TOOL = RemoteTool("shopify.get_order", "SHOPIFY_GET_ORDER", "", {"type": "object"}, idempotent=True, version="1")


def item(slug, **more):
    return {
        "slug": slug,
        "description": slug,
        "input_parameters": {"type": "object"},
        "tags": [],
        "version": "20260101_00",
        **more,
    }


def page(*items, cursor=None):
    return answer({"items": list(items), "next_cursor": cursor, "total_items": 9, "total_pages": 2, "current_page": 1})


def client_at(url, **more):
    return ComposioClient(ComposioSettings(url, KEY, **more))


async def listed(*script, app="shopify"):
    async with serving(*script) as server, client_at(server.url) as client:
        return await client.tools(app), server.asked


async def test_tools_are_listed_over_all_pages_under_our_names():
    tools, asked = await listed(page(item("SHOPIFY_GET_ORDER"), cursor="two"), page(item("SHOPIFY_CREATE_RETURN")))
    assert {name: (tool.slug, tool.idempotent) for name, tool in tools.items()} == {
        "shopify.get_order": ("SHOPIFY_GET_ORDER", True),
        "shopify.create_return": ("SHOPIFY_CREATE_RETURN", False),
    }
    assert asked[0].path.startswith("/api/v3.1/tools?")
    assert "cursor=two" in asked[1].path
    assert asked[0].headers["x-api-key"] == KEY


async def test_apps_with_underscores_keep_their_names():
    tools, _ = await listed(page(item("GOOGLE_DRIVE_LIST_FILES")), app="google_drive")
    assert list(tools) == ["google_drive.list_files"]


async def test_deprecated_and_malformed_items_are_left_out():
    tools, _ = await listed(
        page(item("SHOPIFY_OLD", is_deprecated=True), {"name": "no slug"}, item("SHOPIFY_NEW", input_parameters=[]))
    )
    assert [(name, tool.parameters) for name, tool in tools.items()] == [("shopify.new", {"type": "object", "properties": {}})]


async def test_a_list_is_asked_for_once():
    async with serving(page(item("SHOPIFY_GET_ORDER"))) as server, client_at(server.url) as client:
        await client.tools("shopify")
        await client.tools("shopify")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("said", "raised", "told"),
    [
        (answer({"error": {"message": "bad key"}}, 401), Fatal, "COMPOSIO_API_KEY"),
        (answer({}, 503), Retryable, "503"),
        (answer({}, 429, retry_after="9"), Retryable, "fewer requests"),
        (HANG_UP, Retryable, "connection broke"),
    ],
)
async def test_a_list_that_cannot_be_had_says_why(said, raised, told):
    with pytest.raises(raised, match=told):
        await listed(said)


async def test_an_app_nobody_knows_has_no_tools():
    assert (await listed(answer({"error": {"message": "no"}}, 404)))[0] == {}


async def executed(said, **more):
    async with serving(said) as server, client_at(server.url, **more) as client:
        return await client.execute(TOOL, {"order_id": "7"}, entity_id="cust"), server.asked


async def test_a_call_carries_arguments_entity_and_version():
    done, asked = await executed(answer({"data": {"id": 7}, "error": None, "successful": True}))
    assert (asked[0].method, asked[0].path) == ("POST", "/api/v3.1/tools/execute/SHOPIFY_GET_ORDER")
    assert asked[0].body == {"arguments": {"order_id": "7"}, "user_id": "cust", "version": "1"}
    assert (done.successful, done.data) == (True, {"id": 7})


async def test_the_tools_own_failure_is_no_failure_of_the_call():
    done, _ = await executed(answer({"data": {}, "error": "order not found", "successful": False}))
    assert (done.successful, done.error) == (False, "order not found")


@pytest.mark.parametrize(
    ("said", "raised"),
    [
        (answer({"error": {"message": "x"}}, 400), NotDone),
        (answer({"error": {"message": "x"}}, 401), KeyRefused),
        (answer({"error": {"message": "x"}}, 404), NotDone),
        (answer({}, 429), NotDone),
        (answer({}, 408), InDoubt),
        (answer({}, 500), InDoubt),
        (answer(b"<html>", 502, content_type="text/html"), InDoubt),
        (answer(b"<html>", 200, content_type="text/html"), InDoubt),
        (answer(b'{"data": {', 200), InDoubt),
        (answer([1]), InDoubt),
        (answer({"data": {}}), InDoubt),
        (HANG_UP, InDoubt),
    ],
    ids=["400", "401", "404", "429", "408", "500", "502", "html", "cut", "list", "silent on success", "hang up"],
)
async def test_each_failure_says_whether_the_tool_may_have_acted(said, raised):
    with pytest.raises(raised):
        await executed(said)


@pytest.mark.parametrize("patience", [{"read_seconds": 0.05}, {"total_seconds": 0.05}])
async def test_silence_after_sending_leaves_doubt(patience):
    with pytest.raises(InDoubt, match="in time"):
        await executed(SILENCE, **patience)


async def test_a_refused_connection_did_nothing():
    async with client_at(await closed_port()) as client:
        with pytest.raises(NotDone, match="cannot be reached") as failed:
            await client.execute(TOOL, {}, entity_id="x")
    assert not failed.value.final


async def test_nothing_is_sent_twice_by_itself():
    async with serving(answer({}, 503)) as server, client_at(server.url) as client:
        with pytest.raises(InDoubt):
            await client.execute(TOOL, {}, entity_id="x")
    assert len(server.asked) == 1


async def test_the_key_is_in_no_message_log_or_repr(caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(KeyRefused) as failed:
        await executed(answer({"error": {"message": "bad key"}}, 401))
    assert KEY not in caplog.text + str(failed.value) + repr(ComposioSettings("http://x", KEY))


@pytest.mark.parametrize(
    ("action", "tags", "idempotent"),
    [
        ("get_order", set(), True),
        ("list_orders", {"important"}, True),
        ("getaway_booking", set(), False),
        ("create_return", set(), False),
        ("get_or_create_order", {"createHint"}, False),
        ("upsert", {"idempotentHint", "updateHint"}, True),
        ("query", {"readOnlyHint"}, True),
    ],
)
def test_hints_say_what_may_be_repeated_and_the_name_where_there_are_none(action, tags, idempotent):
    assert is_idempotent(action, tags) is idempotent


def test_settings_come_from_the_environment_then_from_the_shop():
    assert configure({}) is None
    assert configure({}, shop_url="http://127.0.0.1:1").base_url == "http://127.0.0.1:1"
    assert configure({"COMPOSIO_API_KEY": "k"}, shop_url="http://127.0.0.1:1").base_url == "https://backend.composio.dev"
    assert configure({"HIL_COMPOSIO_BASE_URL": "http://127.0.0.1:2"}).base_url == "http://127.0.0.1:2"


def test_the_old_package_is_noticed_with_a_way_on(monkeypatch, caplog):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.7.0")
    warn_of_old_package()
    assert "pip uninstall composio-core" in caplog.text

"""The toy shop over its wire, with Composio's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date

import composio_client
import httpx
import pytest

from connectors.shop import serve_shop


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    server, url = await serve_shop(today=date(2026, 11, 23))
    yield url
    await server.close()


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[composio_client.AsyncComposio]:
    auth = composio_client.ProjectAuth("any-key")
    async with composio_client.AsyncComposio(auth=auth, base_url=base_url, max_retries=0) as made:
        yield made


async def test_tools_are_listed_page_by_page_with_schemas_and_hints(client: composio_client.AsyncComposio) -> None:
    first = await client.tools.list(toolkit_slug="shopify", limit=3)
    rest = await client.tools.list(toolkit_slug="shopify", limit=3, cursor=first.next_cursor or "")
    tools = {tool.slug: tool for tool in [*first.items, *rest.items]}
    assert sorted(tools) == [
        "SHOPIFY_CREATE_RETURN",
        "SHOPIFY_GENERATE_RETURN_LABEL",
        "SHOPIFY_GET_ORDER",
        "SHOPIFY_GET_TRACKING_INFO",
        "SHOPIFY_LIST_ORDERS",
    ]
    assert rest.next_cursor is None
    assert "readOnlyHint" in tools["SHOPIFY_GET_ORDER"].tags
    assert "readOnlyHint" not in tools["SHOPIFY_CREATE_RETURN"].tags
    assert tools["SHOPIFY_GET_ORDER"].input_parameters["required"] == ["order_id"]
    assert (await client.tools.retrieve("GMAIL_SEND_EMAIL")).toolkit.slug == "gmail"
    assert [kit.slug for kit in (await client.toolkits.list()).items] == ["shopify", "gmail", "slack"]


async def test_a_tools_own_failure_is_a_result(client: composio_client.AsyncComposio) -> None:
    lost = await client.tools.execute("SHOPIFY_GET_ORDER", user_id="cust-1", arguments={"order_id": "4711"})
    assert (lost.successful, lost.data) == (False, {})
    assert lost.error is not None
    assert "4711" in lost.error
    found = await client.tools.execute("SHOPIFY_GET_ORDER", user_id="cust-1", arguments={"order_id": "#1002"})
    assert (found.successful, found.error, found.data["status"]) == (True, None, "in_transit")


async def test_what_was_done_can_be_counted_without_our_logs(client: composio_client.AsyncComposio, base_url: str) -> None:
    for _ in range(2):
        await client.tools.execute("SLACK_SEND_MESSAGE", user_id="team", arguments={"channel": "#a", "text": "b"})
    await client.tools.execute("SHOPIFY_GET_ORDER", user_id="cust-1", arguments={"order_id": "1"})
    async with httpx.AsyncClient(base_url=base_url) as http:
        everything = (await http.get("/shop/actions")).json()
        posts = (await http.get("/shop/actions", params={"tool": "slack_send_message"})).json()
    assert everything["count"] == 3
    assert posts["count"] == 2
    assert posts["actions"][0]["arguments"] == {"channel": "#a", "text": "b"}
    assert everything["actions"][2]["successful"] is False


async def test_an_unconnected_user_connects_and_may_then_act(client: composio_client.AsyncComposio) -> None:
    mail = {"recipient_email": "ada@example.com", "subject": "a", "body": "b"}
    with pytest.raises(composio_client.BadRequestError, match="No connected account"):
        await client.tools.execute("GMAIL_SEND_EMAIL", user_id="unconnected-7", arguments=mail)
    config = (await client.auth_configs.list(toolkit_slug="gmail")).items[0]
    started = await client.link.create(auth_config_id=config.id, user_id="unconnected-7")
    assert (await client.connected_accounts.retrieve(started.connected_account_id)).status == "INITIATED"
    async with httpx.AsyncClient() as http:
        assert (await http.get(started.redirect_url)).status_code == 200
    accounts = await client.connected_accounts.list(user_ids=["unconnected-7"], statuses=["ACTIVE"])
    assert [account.toolkit.slug for account in accounts.items] == ["gmail"]
    assert (await client.tools.execute("GMAIL_SEND_EMAIL", user_id="unconnected-7", arguments=mail)).successful


async def test_known_users_are_connected_to_everything(client: composio_client.AsyncComposio) -> None:
    accounts = await client.connected_accounts.list(user_ids=["cust-1"])
    assert {account.toolkit.slug: account.status for account in accounts.items} == dict.fromkeys(
        ("shopify", "gmail", "slack"), "ACTIVE"
    )


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"user_id": 5}', b'{"user_id": "a", "arguments": []}', b"{}", b"\xff"])
async def test_garbage_is_an_error_in_composios_shape(base_url: str, body: bytes) -> None:
    async with httpx.AsyncClient(base_url=base_url, headers={"x-api-key": "k"}) as http:
        answer = await http.post("/api/v3.1/tools/execute/SHOPIFY_GET_ORDER", content=body)
        assert answer.status_code == 400
        assert {"message", "slug", "status", "request_id"} <= answer.json()["error"].keys()


async def test_no_key_and_no_such_tool_are_refused(base_url: str) -> None:
    async with httpx.AsyncClient(base_url=f"{base_url}/api/v3.1") as http:
        assert (await http.get("/tools")).status_code == 401
        assert (await http.get("/tools/NOPE", headers={"x-api-key": "k"})).status_code == 404

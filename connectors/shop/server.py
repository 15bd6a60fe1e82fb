"""The toy shop's HTTP: the part of Composio v3.1 that a client needs to find and execute tools, plus what was done."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.rehearsal.loopback import LoopbackServer, serve
from connectors.shop.connections import Connections
from connectors.shop.shop import BY_SLUG, Shop, ToolError
from connectors.shop.tools import TOOLKITS, TOOLS, Tool
from connectors.shop.wire import WireError, auth_config_json, page, tool_json, toolkit_json

Handler = Callable[[Request], Awaitable[Response]]


class ShopApi:
    """Request handlers over one shop."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.connections = Connections()
        self._requests = itertools.count(1)

    def app(self) -> Starlette:
        v3 = "/api/v3.1"
        return Starlette(
            routes=[
                Route(f"{v3}/tools", self._keyed(self.list_tools), methods=["GET"]),
                Route(f"{v3}/tools/execute/{{slug}}", self._keyed(self.execute), methods=["POST"]),
                Route(f"{v3}/tools/{{slug}}", self._keyed(self.get_tool), methods=["GET"]),
                Route(f"{v3}/toolkits", self._keyed(self.list_toolkits), methods=["GET"]),
                Route(f"{v3}/toolkits/{{slug}}", self._keyed(self.get_toolkit), methods=["GET"]),
                Route(f"{v3}/auth_configs", self._keyed(self.list_auth_configs), methods=["GET"]),
                Route(f"{v3}/connected_accounts", self._keyed(self.list_accounts), methods=["GET"]),
                Route(f"{v3}/connected_accounts", self._keyed(self.create_account), methods=["POST"]),
                Route(f"{v3}/connected_accounts/link", self._keyed(self.create_link), methods=["POST"]),
                Route(f"{v3}/connected_accounts/{{id}}", self._keyed(self.get_account), methods=["GET"]),
                Route("/connect/{id}", self.consent, methods=["GET"]),
                Route("/shop/actions", self.list_actions, methods=["GET"]),
                Route("/shop/orders", self.list_orders, methods=["GET"]),
            ]
        )

    def _keyed(self, handler: Handler) -> Handler:
        """Composio's door: an API key (any will do here), and every refusal in its error shape."""

        async def answer(request: Request) -> Response:
            request_id = f"req_{next(self._requests)}"
            try:
                if not request.headers.get("x-api-key"):
                    raise WireError(401, "No authentication provided", "Auth_Missing", "Send the header x-api-key.")
                response = await handler(request)
            except WireError as error:
                response = JSONResponse(error.as_json(request_id), status_code=error.status)
            response.headers["x-request-id"] = request_id
            response.headers["x-toy-shop"] = "1"
            return response

        return answer

    async def list_tools(self, request: Request) -> Response:
        query = request.query_params
        tools = list(TOOLS)
        if slugs := _listed(request, "tool_slugs"):
            tools = [tool for tool in tools if tool.slug in {slug.upper() for slug in slugs}]
        else:
            if toolkits := _listed(request, "toolkit_slug"):
                tools = [tool for tool in tools if tool.toolkit in toolkits]
            if tags := _listed(request, "tags"):
                tools = [tool for tool in tools if set(tags) & set(tool.tags)]
            if query.get("important") == "true":
                tools = [tool for tool in tools if "important" in tool.tags]
        if words := (query.get("query") or query.get("search") or "").lower().split():
            tools = [tool for tool in tools if any(word in f"{tool.slug} {tool.description}".lower() for word in words)]
        return JSONResponse(page([tool_json(tool) for tool in tools], limit=query.get("limit"), cursor=query.get("cursor")))

    async def get_tool(self, request: Request) -> Response:
        return JSONResponse(tool_json(_tool(request.path_params["slug"])))

    async def execute(self, request: Request) -> Response:
        tool = _tool(request.path_params["slug"])
        body = await _object(request)
        user_id = body.get("user_id") or body.get("entity_id") or ""
        arguments = body.get("arguments", {})
        if not isinstance(user_id, str) or not isinstance(arguments, dict):
            raise WireError(400, "user_id must be a string and arguments an object", "Request_InvalidBody")
        self.connections.require(tool.toolkit, user_id, body.get("connected_account_id"))
        data: dict[str, Any] = {}
        refusal: str | None = None
        try:
            data = self.shop.execute(tool, arguments, user_id=user_id)
        except ToolError as error:
            refusal = str(error)
        log = f"log_{len(self.shop.actions)}"
        return JSONResponse({"data": data, "error": refusal, "successful": refusal is None, "log_id": log, "session_info": None})

    async def list_toolkits(self, request: Request) -> Response:
        query = request.query_params
        found = [kit for kit in TOOLKITS if query.get("search", "").lower() in f"{kit.slug} {kit.description}".lower()]
        if category := query.get("category"):
            found = [kit for kit in found if kit.category == category]
        return JSONResponse(page([toolkit_json(kit) for kit in found], limit=query.get("limit"), cursor=query.get("cursor")))

    async def get_toolkit(self, request: Request) -> Response:
        slug = request.path_params["slug"].lower()
        for kit in TOOLKITS:
            if kit.slug == slug:
                return JSONResponse(toolkit_json(kit))
        raise WireError(404, f"Toolkit {slug} not found", "Toolkit_NotFound", "List the toolkits to see which there are.")

    async def list_auth_configs(self, request: Request) -> Response:
        wanted = _listed(request, "toolkit_slug")
        found = [auth_config_json(kit) for kit in TOOLKITS if not wanted or kit.slug in wanted]
        return JSONResponse(page(found, limit=request.query_params.get("limit"), cursor=request.query_params.get("cursor")))

    async def list_accounts(self, request: Request) -> Response:
        found = self.connections.listing(
            users=_listed(request, "user_ids"), toolkits=_listed(request, "toolkit_slugs"), statuses=_listed(request, "statuses")
        )
        return JSONResponse(page(found, limit=request.query_params.get("limit"), cursor=request.query_params.get("cursor")))

    async def get_account(self, request: Request) -> Response:
        return JSONResponse(self.connections.account(request.path_params["id"]))

    async def create_account(self, request: Request) -> Response:
        made = self.connections.start(await _object(request), _origin(request))
        return JSONResponse(made.as_created(), status_code=201)

    async def create_link(self, request: Request) -> Response:
        made = self.connections.start(await _object(request), _origin(request))
        return JSONResponse(made.as_link(), status_code=201)

    async def consent(self, request: Request) -> Response:
        """Where an OAuth provider would ask the person: here the visit is the consent."""
        try:
            return JSONResponse(self.connections.consent(request.path_params["id"]))
        except WireError as error:
            return JSONResponse(error.as_json("req_connect"), status_code=error.status)

    async def list_actions(self, request: Request) -> Response:
        tool = request.query_params.get("tool", "").upper()
        actions = [asdict(action) for action in self.shop.actions if not tool or action.tool == tool]
        return JSONResponse({"count": len(actions), "actions": actions})

    async def list_orders(self, request: Request) -> Response:
        return JSONResponse({"orders": [order.as_json(self.shop.today) for order in self.shop.orders.values()]})


def _tool(slug: str) -> Tool:
    if (tool := BY_SLUG.get(slug.upper())) is None:
        raise WireError(404, f"Tool {slug} not found", "Tool_ToolNotFound", "List the tools of the toolkit to see its slugs.")
    return tool


def _listed(request: Request, name: str) -> list[str]:
    """A query parameter that may be repeated, comma-separated, or bracketed as `name[]`."""
    values = request.query_params.getlist(name) + request.query_params.getlist(f"{name}[]")
    return [part for value in values for part in value.split(",") if part]


async def _object(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError) as error:
        raise WireError(400, f"Invalid JSON in the request body: {error}", "Request_InvalidBody") from error
    if not isinstance(body, dict):
        raise WireError(400, "The request body must be a JSON object", "Request_InvalidBody")
    return body


def _origin(request: Request) -> str:
    return str(request.base_url).rstrip("/")


async def serve_shop(port: int = 0, *, today: date | None = None) -> tuple[LoopbackServer, str]:
    """Start the shop on loopback. Returns the running server and the base URL for `AsyncComposio(base_url=…)`."""
    server = await serve(ShopApi(Shop(today or datetime.now(UTC).date())).app(), port=port)
    return server, server.origin

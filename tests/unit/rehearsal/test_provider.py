"""The rehearsal endpoint behind the provider of its name: the way every demo's model calls go."""

from __future__ import annotations

import json

from agents.ports import ChatMessage, ChatRequest, ToolSpec
from connectors.llm.opening import providers
from connectors.rehearsal.loopback import serve
from connectors.rehearsal.server import Endpoint
from tests.unit.llm.dialects import model

SCHEMA = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
ORDER = ToolSpec("shopify.get_order", "Gets an order by its number: status, items, tracking.", SCHEMA)
ASKED = (ChatMessage("user", "Where is order #1003?"),)


async def test_it_completes_streams_fills_schemas_calls_tools_and_counts(rehearsal):
    server = await serve(Endpoint(rehearsal).app())
    async with providers({}, f"{server.origin}/v1") as found:
        provider, of = found["rehearsal"], model("rehearsal", "rehearsal-fast")
        plain = await provider.complete(of, ChatRequest("fast", ASKED))
        deltas = [delta async for delta in provider.stream(of, ChatRequest("fast", ASKED))]
        filled = await provider.complete(of, ChatRequest("fast", ASKED, output_schema=SCHEMA))
        called = await provider.complete(of, ChatRequest("fast", ASKED, tools=(ORDER,)))
    await server.close()
    assert plain.text
    assert plain.usage is not None
    assert "".join(delta.text for delta in deltas) == deltas[-1].reply.text == plain.text
    assert deltas[-1].reply.usage == plain.usage
    assert json.loads(filled.text)["order_id"] == "1003"
    assert [(call.name, call.arguments) for call in called.tool_calls] == [("shopify.get_order", {"order_id": "1003"})]

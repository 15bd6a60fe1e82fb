"""A model on loopback that turns on its owner: what it says is chosen by a marker in the customer's words.

`[program:NAME]`: a code agent's program from `programs.PROGRAMS`. `[says:NAME]`: an answer from `programs.ANSWERS`. Everything
else goes on to the rehearsal model and comes back unchanged. `[honest]`: a plain answer at once, so that the honest customers
wait for the engine alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from tests.hostile.programs import ANSWERS, PROGRAMS

MARK = re.compile(rb"\[(?:(program|says):([a-z0-9_]+)|honest)\]")
HONEST = "Your order is on its way."
USED = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}


@dataclass
class Endpoint:
    url: str
    behind: str = ""
    """Base URL of the model that answers honest calls; set before the first of them."""
    served: int = 0
    """Calls that were answered with something hostile."""


@asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    """Serve until the block ends."""
    async with ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60)) as session:
        it = Endpoint("")

        async def answer(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            if request.path.endswith("/chat/completions") and (mark := MARK.search(body)):
                stream = b'"stream":true' in body.replace(b" ", b"")
                if mark[1] is None:
                    return _said('{"intent": "order_status"}' if b'"response_format"' in body else HONEST, stream=stream)
                it.served += 1
                return _hostile(mark[1].decode(), mark[2].decode(), stream=stream)
            try:
                async with session.request(
                    request.method,
                    it.behind.removesuffix("/v1") + request.path_qs,
                    data=body,
                    headers={"content-type": request.headers.get("content-type", "application/json")},
                ) as found:
                    headers = {"content-type": found.headers.get("content-type", "application/json")}
                    return web.Response(status=found.status, body=await found.read(), headers=headers)
            except ClientError as error:
                return web.json_response({"error": {"message": str(error)}}, status=502)

        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        it.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield it
        finally:
            await runner.cleanup()


def _hostile(kind: str, name: str, *, stream: bool) -> web.Response:
    if kind == "says" and isinstance(ANSWERS.get(name), bytes):
        return web.Response(body=ANSWERS[name], content_type="application/json")
    return _said(f"1. Do it.\n\n```python\n{PROGRAMS[name]}\n```" if kind == "program" else str(ANSWERS[name]), stream=stream)


def _said(said: str, *, stream: bool) -> web.Response:
    message: dict[str, Any] = {"role": "assistant", "content": said}
    if stream:
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        events = [
            {**chunk, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
            {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {**chunk, "choices": [], "usage": USED},
        ]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return web.Response(text=text, content_type="text/event-stream")
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return web.json_response(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USED}
    )

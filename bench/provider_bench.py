"""What a model call costs this process: `python -m bench.provider_bench [--calls N]`. The SDK alone, and our providers over it.

200 calls in flight against a loopback endpoint in a process of its own that answers after one second, so that the caller is never
busy all the time and a latency shows what is added to a call, not a queue. All variants in one process, in turns; the best round
of each counts, for what else the machine does only adds. About two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import anthropic
import httpx2
import openai

from agents.ports import ChatMessage, ChatRequest, ToolSpec, Usage
from agents.router.models import Model
from bench.stage import worker
from bench.tables import Table
from connectors.llm.chat_wire import ChatWire
from connectors.llm.connection import MOST_CONNECTIONS
from connectors.llm.endpoint import Endpoint
from connectors.llm.messages_wire import MessagesWire
from connectors.llm.opening import open_provider
from connectors.llm.said import Wire, names_of

IN_FLIGHT, ANSWERED_AFTER_S = 200, 1.0
Call = Callable[[], Awaitable[object]]
TOOLS = tuple(
    ToolSpec(f"shop.action_{n}", "Looks something up.", {"type": "object", "properties": {"id": {"type": "string"}}})
    for n in range(4)
)
REQUEST = ChatRequest(
    "fast",
    (ChatMessage("system", "You answer customers of a shop, kindly. " * 30), ChatMessage("user", "Where is order 7? " * 40)),
    TOOLS,
    max_tokens=400,
)
LIMITS = httpx2.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS)


class Free:
    row: Mapping[str, Any] = {}

    def micro_usd(self, usage: Usage) -> int:
        return 0


def model(provider: str) -> Model:
    knows = frozenset({"tools", "streaming"})
    return Model("m", provider, "m", 100_000, knows, 1, 5.0, Free())  # type: ignore[arg-type]  # literals in a set


def body(wire: Wire, provider: str, *, stream: bool) -> dict[str, Any]:
    return wire.body(model(provider), REQUEST, names_of(REQUEST), stream=stream)


async def drained(pieces: Any) -> None:
    async for _ in pieces:
        pass


async def variants(url: str, stack: AsyncExitStack) -> dict[tuple[str, str], Call]:
    """By wire and caller."""
    made: dict[tuple[str, str], Call] = {}
    chat, messages = ChatWire(), MessagesWire()
    for transport in ("", " over aiohttp"):
        open_http = openai.DefaultAioHttpClient if transport else openai.DefaultAsyncHttpxClient
        theirs = openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=open_http(limits=LIMITS, timeout=60)
        )
        stack.push_async_callback(theirs.close)
        whole, streamed = body(chat, "openai", stream=False), body(chat, "openai", stream=True)
        made["openai", f"SDK{transport}"] = lambda theirs=theirs, sent=whole: theirs.chat.completions.create(**sent)

        async def stream_openai(theirs: openai.AsyncOpenAI = theirs, sent: dict[str, Any] = streamed) -> None:
            await drained(await theirs.chat.completions.create(**sent))

        made["openai, streamed", f"SDK{transport}"] = stream_openai
        open_other = anthropic.DefaultAioHttpClient if transport else anthropic.DefaultAsyncHttpxClient
        other = anthropic.AsyncAnthropic(
            base_url=url, api_key="none", max_retries=0, http_client=open_other(limits=LIMITS, timeout=60)
        )
        stack.push_async_callback(other.close)
        whole, streamed = body(messages, "anthropic", stream=False), body(messages, "anthropic", stream=True)
        made["anthropic", f"SDK{transport}"] = lambda other=other, sent=whole: other.messages.create(**sent)

        async def stream_anthropic(other: anthropic.AsyncAnthropic = other, sent: dict[str, Any] = streamed) -> None:
            await drained(await other.messages.create(**sent))

        made["anthropic, streamed", f"SDK{transport}"] = stream_anthropic
    # What of it is the SDK's own, whoever reads the answer.
    sent, asked = body(chat, "openai", stream=False), body(messages, "anthropic", stream=False)
    made["openai", "SDK over aiohttp, unparsed"] = lambda: theirs.post("/chat/completions", cast_to=httpx2.Response, body=sent)
    made["anthropic", "SDK over aiohttp, unparsed"] = lambda: other.post("/v1/messages", cast_to=httpx2.Response, body=asked)
    for provider, base in (("openai", f"{url}/v1"), ("anthropic", url)):
        ours = await stack.enter_async_context(open_provider(Endpoint(provider, base, "none")))
        made[provider, "ours"] = lambda ours=ours, name=provider: ours.complete(model(name), REQUEST)
        made[f"{provider}, streamed", "ours"] = lambda ours=ours, name=provider: drained(ours.stream(model(name), REQUEST))
    return made


async def measure(call: Call, rounds: int) -> dict[str, float]:
    """CPU in microseconds a call, and what is added to the endpoint's time in milliseconds. Callers start one by one."""
    added: list[float] = []

    async def caller(place: int) -> None:
        await asyncio.sleep(place / IN_FLIGHT * ANSWERED_AFTER_S)
        for _ in range(rounds):
            began = time.perf_counter()
            await call()
            added.append((time.perf_counter() - began - ANSWERED_AFTER_S) * 1000)

    began = time.process_time()
    await asyncio.gather(*(caller(place) for place in range(IN_FLIGHT)))
    spent = (time.process_time() - began) / (rounds * IN_FLIGHT) * 1e6
    added.sort()
    return {"cpu_us": spent, "p50_ms": added[len(added) // 2], "p99_ms": added[int(len(added) * 0.99)]}


async def bench(wires: list[str], turns: int) -> Table:
    table = Table("providers", f"one model call, {IN_FLIGHT} in flight, endpoint answers after {ANSWERED_AFTER_S:g} s")
    async with worker("model_endpoint", str(ANSWERED_AFTER_S)) as endpoint, AsyncExitStack() as stack:
        found = {key: call for key, call in (await variants(endpoint.ready["url"], stack)).items() if key[0] in wires}
        rows: dict[tuple[str, str], list[dict[str, float]]] = {key: [] for key in found}
        for turn in range(turns + 1):
            for key, call in found.items():
                measured = await measure(call, 1 if turn == 0 else 3)
                if turn:  # the first opens connections
                    rows[key].append(measured)
    best = {key: {name: min(row[name] for row in seen) for name in seen[0]} for key, seen in rows.items()}
    for (wire, caller), row in best.items():
        plain = best[wire, "SDK"]
        table.add(
            wire=wire,
            caller=caller,
            **row,
            cpu_of_sdk=row["cpu_us"] / plain["cpu_us"],
            p99_added_ms=row["p99_ms"] - plain["p99_ms"],
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.provider_bench", description=__doc__)
    parser.add_argument("--wires", default="openai;anthropic;openai, streamed;anthropic, streamed", help="with semicolons")
    parser.add_argument("--turns", type=int, default=2, help="rounds of each variant")
    given = parser.parse_args()
    table = asyncio.run(bench(given.wires.split(";"), given.turns))
    table.show()
    table.keep()


if __name__ == "__main__":
    main()

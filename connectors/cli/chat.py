"""`hil chat`: a conversation in the terminal, over the same topics as any other."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from rich.text import Text

from connectors.cli import console
from connectors.cli.demo import MESSAGES, RESPONSES, dollars, intent
from connectors.cli.ports import CannotGoOn, Gateway, Seen, System

PATIENCE_SECONDS = 120


async def chat(system: System, *, customer_id: str | None, workflow: str | None) -> None:
    """Join what runs already; start everything for this conversation when nothing does."""
    try:
        async with system.attached() as gateway:
            await _talk(gateway, customer_id, workflow)
    except CannotGoOn:
        console.report("nothing is running here, so this starts it all for the time of this chat (`hil up` keeps it running)")
        async with system.started(console.report) as gateway:
            await _talk(gateway, customer_id, workflow)


async def _talk(gateway: Gateway, customer_id: str | None, workflow: str | None) -> None:
    conversation = f"chat-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    console.report(f"conversation {conversation}. Write a message and press Enter; an empty line or Ctrl-D ends it.")
    async with gateway.tail([RESPONSES]) as records:
        for turn in range(1, 10_000):
            text = await _read_line()
            if not text:
                return
            message: dict[str, Any] = {"text": text, "conversation_id": conversation, "message_id": f"{conversation}-{turn}"}
            message |= {"customer_id": customer_id} if customer_id else {}
            message |= {"workflow": workflow} if workflow else {}
            await gateway.send(MESSAGES, [(conversation, json.dumps(message).encode())])
            await _answer(records, str(message["message_id"]))


async def _answer(records: AsyncIterator[Seen], wanted: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for record in records:
                if isinstance(record.body, dict) and record.body.get("message_id") == wanted:
                    body = record.body
                    console.out().print(body["text"])
                    ran = " → ".join(entry["node"] for entry in body["trace"] if entry["status"] != "skipped")
                    cost = dollars(body["cost_usd"])
                    console.report(
                        f"  [{body['status']}; {intent(body) or 'no intent'}; {ran}; {body['duration_ms']} ms; {cost}]"
                    )
                    return
    except TimeoutError:
        console.report(f"no answer within {PATIENCE_SECONDS} s: look for it with `hil watch dead-letters --from earliest`")


async def _read_line() -> str:
    if sys.stdin.isatty():
        console.err().print(Text("you>", style="bold"), end=" ")
    return (await _line()).strip()


async def _line() -> str:
    """A line of standard input. A thread of its own, which dies with the process: Ctrl-C need not wait for Enter."""
    loop = asyncio.get_running_loop()
    read: asyncio.Future[str] = loop.create_future()

    def tell(line: str) -> None:
        if not read.done():
            read.set_result(line)

    def work() -> None:
        line = sys.stdin.readline()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, line)

    threading.Thread(target=work, daemon=True).start()
    return await read

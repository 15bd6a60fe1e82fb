"""`hil demo`: sends the bundled messages through the topic and shows what became of each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from connectors.cli import console
from connectors.cli.ports import Gateway, Seen, System, Totals

PATIENCE_SECONDS = 120
"""Without any answer for this long the demo stops waiting and names what is missing."""
LEDGER_LOOKS, LEDGER_LOOK_SECONDS = 40, 0.5
LEDGER_SETTLES_SECONDS = 1.2
"""The ledger says what it has counted once a second."""
ROLLUPS = "costs.rollups"
RESPONSES, DEAD_LETTERS, MESSAGES = "customer.responses", "dead-letters", "customer.messages"


async def demo(system: System) -> bool:
    """True when every message got exactly one response or an explained dead letter."""
    async with system.started(console.report) as gateway:
        messages = _renamed(system.demo_messages())
        wanted = {str(message["message_id"]) for message in messages}
        began_ms = int(time.time() * 1000) - 1000
        booked = await _settled(gateway)
        async with gateway.tail([RESPONSES, DEAD_LETTERS]) as records:
            await gateway.send(
                MESSAGES, [(str(m["conversation_id"]), json.dumps(m, ensure_ascii=False).encode()) for m in messages]
            )
            ends = await _collect(records, wanted)
        async with gateway.tail([RESPONSES], start=began_ms, until_end=True) as records:
            totals = await _count(records, wanted, ends)
        console.out().print(_table(messages, ends))
        _summary(totals, ends, stand_in=gateway.addresses.stand_in)
        await _compare(gateway, booked, _spent(ends))
        return totals.complete


def _renamed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fresh conversation and message ids, so that a second demo on the same data is answered anew."""
    mark = time.strftime("%m%d-%H%M%S")
    return [
        {**message, "conversation_id": f"demo-{mark}-{message['conversation_id']}", "message_id": f"demo-{mark}-{number:02}"}
        for number, message in enumerate(messages, 1)
    ]


async def _collect(records: AsyncIterator[Seen], wanted: set[str]) -> dict[str, Seen]:
    """message id → its response or dead letter, until every one has its end or patience runs out."""
    ends: dict[str, Seen] = {}
    with Progress(
        TextColumn("answering"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console.err(),
    ) as bar:
        task = bar.add_task("", total=len(wanted))
        while len(ends) < len(wanted):
            try:
                record = await asyncio.wait_for(anext(records), PATIENCE_SECONDS)
            except TimeoutError:
                break
            name = message_id(record)
            if name in wanted and name not in ends:
                ends[name] = record
                bar.update(task, completed=len(ends), description=_live(record))
                if not bar.console.is_terminal:
                    console.report(f"  {len(ends):>3}/{len(wanted)}  {_live(record)}")
    return ends


async def _booked(gateway: Gateway) -> int:
    """Micro-dollars the ledger has counted so far, of everything."""
    rows: dict[str | None, int] = {}
    async with gateway.tail([ROLLUPS], start="earliest", until_end=True) as records:
        async for record in records:
            if isinstance(record.body, dict) and record.body.get("kind") == "calls":
                rows[record.key] = record.body["cost_micro_usd"]
    return sum(rows.values())


async def _settled(gateway: Gateway) -> int:
    """What it has counted of the past: it may still be at it, if the last run ended before it was through."""
    before, booked = -1, await _booked(gateway)
    while before != booked:
        await asyncio.sleep(LEDGER_SETTLES_SECONDS)
        before, booked = booked, await _booked(gateway)
    return booked


async def _compare(gateway: Gateway, before: int, spent: int) -> None:
    """Say whether the ledger has come to the same sum as the cost column. It counts once a second, so it is given some."""
    counted = -1
    for _ in range(LEDGER_LOOKS):
        counted = await _booked(gateway) - before
        if counted == spent:
            console.out().print(f"The ledger has counted {dollars(counted / 1_000_000)}: the cost column adds up to it.")
            return
        await asyncio.sleep(LEDGER_LOOK_SECONDS)
    sums = f"the ledger has counted {dollars(counted / 1_000_000)}, the cost column adds up to {dollars(spent / 1_000_000)}"
    console.out().print(Text.assemble((sums, "red"), ": look with `hil costs by node --period hourly`"))


def _spent(ends: dict[str, Seen]) -> int:
    """Micro-dollars in the cost column."""
    return sum(round(end.body["cost_usd"] * 1_000_000) for end in ends.values() if end.topic == RESPONSES)


def message_id(record: Seen) -> str | None:
    """The message a response or a dead letter is about."""
    body = record.body if isinstance(record.body, dict) else {}
    if record.topic == RESPONSES:
        return body.get("message_id")
    payload = body.get("payload")
    return payload.get("message_id") if isinstance(payload, dict) else None


async def _count(records: AsyncIterator[Seen], wanted: set[str], ends: dict[str, Seen]) -> Totals:
    """Read the responses once more from the start: a second one with another id is a double."""
    ids: dict[str, set[str]] = {}
    async for record in records:
        name = message_id(record)
        if name in wanted:
            ids.setdefault(name, set()).add(record.body["id"])
    return Totals(
        sent=len(wanted),
        answered=sum(1 for end in ends.values() if end.topic == RESPONSES),
        dead=sum(1 for end in ends.values() if end.topic == DEAD_LETTERS),
        doubled=sorted(name for name, seen in ids.items() if len(seen) > 1),
        missing=sorted(wanted - ends.keys()),
    )


def _live(record: Seen) -> str:
    body = record.body
    if record.topic == DEAD_LETTERS:
        return f"dead letter: {short(body.get('reason', ''), 60)}"
    return f"{intent(body) or '-'}: {short(body['text'], 60)}"


def intent(response: dict[str, Any]) -> str | None:
    """What the message was taken for: the `intent` of the first node that says one."""
    for output in (response.get("outputs") or {}).values():
        if isinstance(output, dict) and "intent" in output:
            return str(output["intent"])
    return None


def short(text: str, width: int) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _table(messages: list[dict[str, Any]], ends: dict[str, Seen]) -> Table:
    table = Table(title="What became of each message", title_justify="left", pad_edge=False)
    table.add_column("#", justify="right")
    for name, ratio in (("message", 3), ("intent", 2), ("nodes that ran", 3), ("tools used", 3), ("response", 5)):
        table.add_column(name, ratio=ratio, overflow="fold")
    table.add_column("latency", justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    for number, message in enumerate(messages, 1):
        text = short(str(message["text"]), 60) or "(empty)"
        end = ends.get(str(message["message_id"]))
        if end is None:
            table.add_row(str(number), text, "-", "-", "-", "no answer", "-", "-", style="bold red")
        elif end.topic == DEAD_LETTERS:
            table.add_row(
                str(number), text, "-", "-", "-", f"dead letter: {short(end.body['reason'], 120)}", "-", "-", style="yellow"
            )
        else:
            body = end.body
            ran = [entry["node"] for entry in body["trace"] if entry["status"] != "skipped"]
            tools = dict.fromkeys(tool for entry in body["trace"] for tool in entry["tools"])
            table.add_row(
                str(number),
                text,
                intent(body) or "-",
                ", ".join(ran),
                ", ".join(tools) or "-",
                short(body["text"], 140),
                f"{body['duration_ms']} ms",
                dollars(body["cost_usd"]),
            )
    return table


def dollars(amount: float) -> str:
    return f"${amount:.6f}"


def _summary(totals: Totals, ends: dict[str, Seen], *, stand_in: bool) -> None:
    out = console.out()
    bodies = [end.body for end in ends.values() if end.topic == RESPONSES]
    latencies = sorted(body["duration_ms"] for body in bodies) or [0]
    micro = _spent(ends)
    out.print(
        Text.assemble(
            (
                f"{totals.sent} sent, {totals.answered} answered, {totals.dead} dead letters, "
                f"{len(totals.missing)} missing, {len(totals.doubled)} doubled",
                "bold",
            ),
            f"; latency p50 {latencies[len(latencies) // 2]} ms, max {latencies[-1]} ms; cost {dollars(micro / 1_000_000)}",
        )
    )
    failed = [body for body in bodies if body["status"] != "completed"]
    if failed:
        out.print(
            f"{len(failed)} ended otherwise than completed: "
            + "; ".join(f"{b['message_id']} {b['status']}: {b['error']}" for b in failed),
        )
    if stand_in:
        out.print(
            "The rehearsal model answered: a deterministic stand-in on this machine. Nothing was charged; the cost is what the "
            "models it stands in for would have cost. For a real one set OPENAI_API_KEY, or HIL_LLM_BASE_URL for a local one."
        )
    if totals.missing:
        missing = (f"no answer to {', '.join(totals.missing)}", "red")
        out.print(Text.assemble(missing, ": look with `hil watch workflow.events --from earliest`"))
    if totals.doubled:
        out.print(Text(f"more than one answer to {', '.join(totals.doubled)}", style="red"))
    out.print(
        Text.from_markup(
            "Go on:  [bold]hil up[/] keeps it all running · [bold]hil chat[/] talks to it · "
            "[bold]hil send FILE[/] sends JSON lines · [bold]hil watch customer.responses[/] shows a topic as it flows"
        )
    )

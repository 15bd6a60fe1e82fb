"""How fast `hil replay verify` reads a recorded log: runs of the reference workflow, four events and nine decisions each.

`python -m bench.replay --records 1000000`. Prints a table and writes bench/results/replay.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents import builtin
from bench.stage import ROOT, broker
from schemas.base import Event
from schemas.events import MessageReceived, NodeCompleted, NodeTask, Outcome, WorkflowPublished
from schemas.events.workflow import Decided
from schemas.ids import derive
from schemas.workflow.loading import load
from streams.core.graph import Graph, compile_graph
from streams.core.reducer import decide
from streams.core.state import Conversation
from streams.definitions import published
from streams.replay.verify import verify_log
from streams.runtime import Publisher
from streams.wire import outgoing

ANSWER = "Order #1013 is on its way. It was handed to DHL on 2026-11-13. Delivery is expected on 2026-11-24."
OUTPUTS: dict[str, Any] = {
    "classify_intent": {"intent": "order_status", "confidence": 0.97, "entities": {"order_id": "1013", "product": None}},
    "handle_order_status": {"response": ANSWER},
    "assemble_response": ANSWER,
}
START_MS = 1_795_000_000_000
TURNS = 5
"""Runs of one conversation."""
BATCH = 2_000


def definition() -> tuple[WorkflowPublished, Graph]:
    loaded, _ = load(ROOT / "workflows" / "customer_support_advanced.yaml")
    assert loaded is not None
    event = published(loaded, "", builtin.registry().agent_types(), at_ms=START_MS)
    return event, compile_graph(loaded, event.agent_types, event.digest)


def history(graph: Graph) -> Iterator[list[Event]]:
    """What each run adds to conversation.events and workflow.events."""
    number = 0
    while True:
        conversation: Conversation | None = None
        for turn in range(TURNS):
            number += 1
            name, now = f"conversation-{(number - 1) // TURNS}", START_MS + number
            event: Event = MessageReceived(
                id=derive(name, turn),
                time_ms=now,
                conversation_id=name,
                message_id=f"m{turn}",
                text="Where is my order #1013? It should have been here by now.",
                workflow=graph.name,
                version=graph.version,
                digest=graph.digest,
                customer_id="cust-001",
            )
            lying: list[Event] = []
            while True:
                lying.append(event)
                decision = decide(conversation, event, {graph.digest: graph})
                conversation = decision.conversation
                lying += [output for output in decision.outputs if isinstance(output, Decided)]
                task = next((output for output in decision.outputs if isinstance(output, NodeTask)), None)
                if task is None:
                    break
                event = completed(task, now)
            yield lying


def completed(task: NodeTask, now: int) -> NodeCompleted:
    return NodeCompleted(
        id=derive(task.execution_id, task.attempt, "completed"),
        time_ms=now,
        conversation_id=task.conversation_id,
        run_id=task.run_id,
        node_id=task.node_id,
        execution_id=task.execution_id,
        attempt=task.attempt,
        epoch=task.epoch,
        outcome=Outcome.OK,
        output=OUTPUTS[task.node_id],
        cost_micro_usd=1_250,
        input_text_tokens=310,
        output_text_tokens=40,
        duration_ms=420,
        models=["rehearsal-fast"],
    )


async def fill(bootstrap: str, records: int) -> int:
    """Put a history of about so many records on the broker."""
    event, graph = definition()
    written, batch = 0, [outgoing(event)]
    async with Publisher(bootstrap) as publisher:
        for run in history(graph):
            batch += map(outgoing, run)
            written += len(run)
            if len(batch) >= BATCH:
                await publisher.send(batch)
                batch = []
            if written >= records:
                break
        await publisher.send(batch)
    return written


async def main(records: int) -> None:
    rows: list[dict[str, Any]] = []
    async with broker() as bootstrap:
        began = time.monotonic()
        written = await fill(bootstrap, records)
        print(f"a log of {written:,} records, made in {time.monotonic() - began:.0f} s")
        for processes in dict.fromkeys((1, os.cpu_count() or 1)):
            outcome = await verify_log(bootstrap, processes=processes)
            assert outcome.difference is None, str(outcome.difference)
            counts = outcome.counts
            seen = counts.events + counts.outputs
            assert seen == written, f"{seen} of {written} were compared"
            rows.append(
                {
                    "processes": processes,
                    "records": seen,
                    "events": counts.events,
                    "states": counts.digests,
                    "seconds": round(outcome.seconds, 1),
                    "records_per_s": round(seen / outcome.seconds),
                    "events_per_s": round(counts.events / outcome.seconds),
                    "differences": 0,
                }
            )
            print("  ".join(f"{name} {value:,}" for name, value in rows[-1].items()))
    path = Path(ROOT / "bench" / "results" / "replay.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="events and decisions together")
    asyncio.run(main(parser.parse_args().records))

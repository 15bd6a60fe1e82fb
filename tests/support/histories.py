"""Records the histories under tests/histories anew, from a system that is sent messages, killed, started again and made to fail.

`python -m tests.support.histories`, which is `make histories`. On purpose only: later versions must agree with what they hold.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.system import System, environ, hil, produce, reading, start

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "histories"
MESSAGES = 14
NO_MODEL = {"HIL_LLM_BASE_URL": "http://127.0.0.1:9/v1", "HIL_LLM_API_KEY": "none"}
"""Nobody listens there: nodes are attempted again and then fail."""


def workflows() -> list[str]:
    """The bundled workflows, by name."""
    return sorted(path.stem for path in (ROOT / "workflows").glob("*.yaml"))


def demo() -> list[dict[str, Any]]:
    text = (ROOT / "workflows" / "messages" / "demo.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def said(workflow: str, turn: int, count: int) -> list[dict[str, Any]]:
    """`count` messages to a workflow, of all kinds; every fourth comes twice, every third has a second turn."""
    chosen = demo()[:: max(1, len(demo()) // count)][:count]
    made = []
    for at, line in enumerate(chosen):
        message = {**line, "workflow": workflow, "conversation_id": f"{workflow}-{at}", "message_id": f"m{turn}-{at}"}
        made += [message] * (2 if at % 4 == 0 else 1)
        if at % 3 == 0:
            made.append({**message, "message_id": f"m{turn}-{at}-b", "text": "And what are your opening hours?"})
    return made


async def ask(system: System, messages: list[dict[str, Any]], *, kill: bool = False) -> list[dict[str, Any]]:
    """Send messages and wait for all answers; with `kill` only for the first, and end the system there."""
    wanted = {(message["conversation_id"], message["message_id"]) for message in messages}
    async with reading(system.bootstrap) as reader:
        await produce(system.bootstrap, messages, keys=[message["conversation_id"].encode() for message in messages])
        answers = await reader.until(
            lambda values: bool(values) if kill else wanted <= {(v["conversation_id"], v["message_id"]) for v in values}
        )
        if kill:
            system.stop(signal.SIGKILL)
    return answers


def command(system: System, *arguments: str) -> None:
    subprocess.run(hil(*arguments), env=environ(system.log.parent), check=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hil-histories-") as folder:
        data = Path(folder)
        crashing = start(data)
        asyncio.run(ask(crashing, [line for name in workflows() for line in said(name, 1, MESSAGES)], kill=True))
        system = start(data)
        answers = asyncio.run(ask(system, [line for name in workflows() for line in said(name, 2, MESSAGES)]))
        for name in workflows():
            answer = next(answer for answer in answers if answer["conversation_id"] == f"{name}-1")
            last = [entry["node"] for entry in answer["trace"] if entry["status"] == "executed"][-1]
            command(system, "replay", "rerun", answer["run_id"], "--from", last)
        system.stop()
        failing = start(data, **NO_MODEL)
        asyncio.run(ask(failing, [line for name in workflows() for line in said(name, 3, 2)]))
        for name in workflows():
            command(failing, "replay", "record", str(FOLDER / f"{name}.jsonl.gz"), "--workflow", name)
        failing.stop()
    sys.stdout.write(
        f"recorded {len(workflows())} histories under {FOLDER.relative_to(ROOT)}: look at the differences before you commit\n"
    )


if __name__ == "__main__":
    main()

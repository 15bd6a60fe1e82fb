"""The rehearsal model and the toy shop, as a child process on loopback. Used for whatever is not configured."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from connectors.cli.ports import CannotGoOn
from schemas.environment import child_environment

START_PATIENCE_SECONDS = 60
STOP_PATIENCE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class StandIns:
    llm_base_url: str
    composio_base_url: str


@asynccontextmanager
async def stand_ins() -> AsyncIterator[StandIns]:
    """Start both and yield their addresses. They end with us, also when we are killed: they watch the pipe we hold."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "connectors.rehearsal",
        "--json",
        "--with-parent",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=child_environment(),
        start_new_session=True,  # Ctrl-C is ours to answer, in order
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        line = await asyncio.wait_for(child.stdout.readline(), START_PATIENCE_SECONDS)
        if not line:
            raise CannotGoOn(f"the rehearsal model did not start (exit {await child.wait()}): see above, or set HIL_LLM_BASE_URL")
        yield StandIns(**json.loads(line))
    finally:
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), STOP_PATIENCE_SECONDS)
        except TimeoutError:
            child.kill()
            await child.wait()

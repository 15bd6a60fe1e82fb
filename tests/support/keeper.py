"""Runs one embedded part for a whole test run. A process of its own: it ends when the run's process is gone, however it went.

`python keeper.py RUN PART`: RUN is the run's folder, PART is `kafka` or `postgres`. The address, or why there is none, is left in
RUN/PART.json.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import sys
import threading
from pathlib import Path

from connectors.embedded import Embedded, EmbeddedError
from connectors.settings import Settings

ELSEWHERE = {"kafka": {"database_url": "postgresql://unused"}, "postgres": {"kafka_bootstrap": "unused:1"}}
"""For each part: the setting that keeps the other one from being started."""


def write(path: Path, content: dict[str, str]) -> None:
    """In one step, so that a reader never sees half."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


async def run_ended(run: Path) -> None:
    """Wait until nobody holds RUN/run.lock, which the run's process does as long as it lives."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        with (run / "run.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    await ended.wait()


async def keep(run: Path, part: str) -> None:
    settings = Settings(data=run / part, **ELSEWHERE[part])  # type: ignore[arg-type]
    answer = run / f"{part}.json"
    embedded = Embedded(settings, lambda words: logging.warning(words), durable=False)
    try:
        async with embedded as parts:
            write(answer, {"address": parts.kafka_bootstrap if part == "kafka" else parts.database_url})
            waits = [asyncio.create_task(run_ended(run)), asyncio.create_task(embedded.failure())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
    except EmbeddedError as error:
        write(answer, {"error": str(error)})


if __name__ == "__main__":
    run, part = Path(sys.argv[1]), sys.argv[2]
    # Held until this process is gone: the run waits for it before it removes the folder.
    held = os.open(run / f"{part}.keeper", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    asyncio.run(keep(run, part))
    shutil.rmtree(run / part, ignore_errors=True)  # the run's process may have been killed, and cleans up nothing then

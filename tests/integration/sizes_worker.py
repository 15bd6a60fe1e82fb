"""A process that reads a topic slowly, for a test that asks how large it becomes: BOOTSTRAP TOPIC DEAD_LETTERS POSITION.

Prints the most memory it ever had, in bytes, once its position is there.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from streams.runtime import Record, Runtime, RuntimeSettings, Step
from tests.integration.runtime_world import dead_letter_to


class Slow:
    async def handle(self, record: Record, step: Step[None]) -> None:
        await asyncio.sleep(0.02)


async def main(bootstrap: str, topic: str, dead: str, position: int) -> None:
    settings = RuntimeSettings(bootstrap, f"{topic}.sizes", (topic,), commit_interval_s=0.1)
    runtime: Runtime[None] = Runtime(settings, Slow(), None, dead_letter_to(dead))
    running = asyncio.create_task(runtime.run())
    while sum(status.position for status in runtime.status()) < position:
        await asyncio.wait((running,), timeout=0.05)
        if running.done():
            running.result()
    await runtime.stop()
    await running
    sys.stdout.write(f"{peak_bytes()}\n")


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))

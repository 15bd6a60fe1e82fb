"""A ledger worker as a process of its own, to be killed: `python ledger_worker.py BOOTSTRAP PREFIX SESSION_TIMEOUT_MS`.

Ends at SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from schemas import topics
from streams.ledger.app import LedgerSettings
from streams.ledger.ledger import Ledger
from streams.runtime import Publisher

TOPICS = (
    *topics.LEDGER_SOURCES,
    *topics.LEDGER_STATE,
    topics.COSTS_ROLLUPS,
    topics.DEAD_LETTERS,
    topics.AGENT_HEALTH,
    topics.ALERTS,
    topics.BUDGET_NOTICES,
)


def renamed(prefix: str) -> dict[str, str]:
    return {name: f"{prefix}.{name}" for name in TOPICS}


def settings(bootstrap: str, prefix: str, session_timeout_ms: int = 4_500) -> LedgerSettings:
    return LedgerSettings(
        bootstrap,
        f"{prefix}.ledger",
        session_timeout_ms=session_timeout_ms,
        commit_interval_s=0.1,
        topics=renamed(prefix),
    )


async def main(bootstrap: str, prefix: str, session_timeout_ms: int) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("streams").setLevel(logging.INFO)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with Publisher(bootstrap) as publisher:
        ledger = Ledger(settings(bootstrap, prefix, session_timeout_ms), publisher)
        running = asyncio.create_task(ledger.run())
        try:
            await ledger.ready()
            await asyncio.wait((running, asyncio.ensure_future(stopped.wait())), return_when=asyncio.FIRST_COMPLETED)
            await ledger.stop()
        finally:
            await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

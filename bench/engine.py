"""One process of the engine under measurement: the processors as `hil` runs them, with the bench's agents."""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import logging
import sys
import time
from functools import partial

from bench.stage import chain, say_ready, until_end_of_input
from bench.workshop import open_workshop
from connectors.settings import Settings
from streams.app.processors import running


async def main(given: argparse.Namespace) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    settings = Settings(
        kafka_bootstrap=given.bootstrap,
        database_url="postgresql://nobody.invalid/unused",
        default_workflow=chain(3),
        node_concurrency=given.concurrency,
    )
    began = time.monotonic()
    workshop = partial(open_workshop, seconds=given.seconds, calls=given.calls)
    async with running(settings, given.processors.split(","), _say, workshop=workshop) as state:
        say_ready(seconds=time.monotonic() - began)
        ending = asyncio.ensure_future(until_end_of_input())
        failing = asyncio.ensure_future(state.until_failure())
        done, waiting = await asyncio.wait((ending, failing), return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        for task in done:
            task.result()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("--processors", default="intake,conversations,nodes")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long an agent takes")
    parser.add_argument("--concurrency", type=int, help="HIL_NODE_CONCURRENCY")
    parser.add_argument("--calls", action="store_true", help="each agent makes one model call, which is journaled and booked")
    parser.add_argument("--profile", help="write cProfile's figures here at the end")
    arguments = parser.parse_args()
    if arguments.profile:
        profile = cProfile.Profile()
        profile.runcall(asyncio.run, main(arguments))
        profile.dump_stats(arguments.profile)
    else:
        asyncio.run(main(arguments))

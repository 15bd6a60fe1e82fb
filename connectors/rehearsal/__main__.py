"""`python -m connectors.rehearsal --json`: the rehearsal model and the toy shop in one process, until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

from connectors.embeddings import EmbeddingsError
from connectors.rehearsal.server import serve_rehearsal
from connectors.shop.server import serve_shop


async def run(*, llm_port: int, shop_port: int, as_json: bool, with_parent: bool) -> None:
    """Serve until SIGTERM or SIGINT or, `with_parent`, until standard input ends (the parent is gone)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    model, llm_base_url = await serve_rehearsal(llm_port)
    try:
        shop, composio_base_url = await serve_shop(shop_port)
        try:
            addresses = {"llm_base_url": llm_base_url, "composio_base_url": composio_base_url}
            lines = [json.dumps(addresses)] if as_json else [f"{name} {url}" for name, url in addresses.items()]
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
            if with_parent:
                await _watch_parent(stop)
            await stop.wait()
        finally:
            await shop.close()
    finally:
        await model.close()


async def _watch_parent(stop: asyncio.Event) -> None:
    class Watch(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

    await asyncio.get_running_loop().connect_read_pipe(Watch, sys.stdin)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m connectors.rehearsal", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the addresses as one JSON line")
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input ends")
    parser.add_argument("--llm-port", type=int, default=0, help="port of the model; a free one without it")
    parser.add_argument("--shop-port", type=int, default=0, help="port of the shop; a free one without it")
    given = parser.parse_args()
    try:
        asyncio.run(
            run(llm_port=given.llm_port, shop_port=given.shop_port, as_json=given.json, with_parent=given.with_parent),
        )
    except (EmbeddingsError, OSError) as error:
        sys.stderr.write(f"the rehearsal model did not start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

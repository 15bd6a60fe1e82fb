"""Serves what a process measures at `GET /metrics`, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

PATH = "/metrics"


class MetricsError(Exception):
    """The metrics cannot be served. The message names the address and the way out."""


@asynccontextmanager
async def serving(address: str, registry: CollectorRegistry) -> AsyncIterator[str]:
    """Serve `registry` at `address`, host:port, and yield its URL; port 0 is a free one.

    Answered between two steps of the loop, so a collector sees no half-made change. Raises MetricsError.
    """
    host, _, port = address.rpartition(":")

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    application = web.Application()
    application.router.add_get(PATH, metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            raise MetricsError(
                f"the metrics cannot be served at {address} ({error.strerror or error}): "
                "set HIL_METRICS to an address that is free here, or with port 0 to any"
            ) from error
        yield f"http://{host}:{runner.addresses[0][1]}{PATH}"
    finally:
        await runner.cleanup()

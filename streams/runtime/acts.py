"""What handlers of a partition do that should not be cut off: a rebalance waits for it, and meanwhile nothing more begins."""

from __future__ import annotations

import asyncio


class Acts:
    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()
        self._open = asyncio.Event()
        self._open.set()

    async def begin(self) -> None:
        """Waits while it is held."""
        await self._open.wait()
        self._count += 1
        self._none.clear()

    def end(self) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    def hold(self) -> None:
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    async def over(self, patience_s: float) -> bool:
        """Wait for what has begun. False: it takes longer."""
        try:
            async with asyncio.timeout(patience_s):
                await self._none.wait()
        except TimeoutError:
            return False
        return True

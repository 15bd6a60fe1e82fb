"""On the path of every process of a hostile round: one whose loop stands still for two seconds says where, on standard error."""

from __future__ import annotations

import asyncio.base_events as base
import faulthandler
from typing import Any

LIMIT_S = 2.0
BEAT_S = 0.5
_run_forever = base.BaseEventLoop.run_forever


def _beat(loop: base.BaseEventLoop) -> None:
    faulthandler.dump_traceback_later(LIMIT_S)  # its watch needs no interpreter: it sees C code that holds it, too
    loop.call_later(BEAT_S, _beat, loop)


def _watched(loop: base.BaseEventLoop) -> Any:
    _beat(loop)
    try:
        return _run_forever(loop)
    finally:
        faulthandler.cancel_dump_traceback_later()


base.BaseEventLoop.run_forever = _watched  # type: ignore[method-assign]

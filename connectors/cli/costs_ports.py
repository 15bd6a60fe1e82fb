"""What `hil costs` needs of the rest of the system. streams/app implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class Period(StrEnum):
    """How long one row is; and without --from, how far back the rows go."""

    HOURLY = "hourly"
    DAILY = "daily"
    MONTHLY = "monthly"


class By(StrEnum):
    MODEL = "model"
    AGENT = "agent"
    WORKFLOW = "workflow"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Line:
    """What attempts at models came to, of one thing in one period."""

    start: datetime
    name: str
    calls: int
    errors: int
    cost_micro_usd: int
    input_text_tokens: int
    cached_text_tokens: int
    cache_write_text_tokens: int
    output_text_tokens: int
    reasoning_text_tokens: int
    mean_ms: int
    p50_ms: int
    p95_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """Lines of whole hours in [start, end)."""

    start: datetime
    end: datetime
    lines: Sequence[Line]


class Ask(Protocol):
    """Questions on one open connection."""

    async def report(self, period: Period, by: By | None, start: str | None, end: str | None) -> Report: ...

    async def latest(self) -> Sequence[Line]:
        """The present hour, by model."""
        ...


class CostBooks(Protocol):
    def asking(self) -> AbstractAsyncContextManager[Ask]: ...

    async def what_if(
        self, period: Period, start: str | None, end: str | None, profiles: Mapping[str, Sequence[str]], prices: str | None
    ) -> Mapping[str, Any]:
        """`from`, `to`, `lines`, `was_usd`, `would_be_usd`, `difference_usd`, and calls that would not have fitted."""
        ...

"""connectors.cli.costs_ports.CostBooks: questions about money, answered from the projection and the catalogue."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from agents.ports import Usage
from agents.router.catalogue import Catalogue
from agents.router.faults import CatalogueError
from agents.router.installs import configured
from agents.router.models import Model, ModelCapability
from agents.router.whatif import Recorded, what_if
from connectors.cli.costs_ports import By, Line, Period, Report
from connectors.cli.ports import CannotGoOn
from connectors.postgres.costs import Calls, Costs
from connectors.postgres.pool import Pool, open_pool
from schemas.base import usd
from schemas.events.ledger import HOUR_MS
from schemas.topics import DAY_MS
from schemas.workflow.definition import WorkflowDefinition
from streams.app.processors import clock_ms
from streams.app.system import Application
from streams.app.words import in_words
from streams.replay.place import NoPlace, place

UNITS: Mapping[Period, Literal["hour", "day", "month"]] = {Period.HOURLY: "hour", Period.DAILY: "day", Period.MONTHLY: "month"}
LOOK_BACK_MS = {Period.HOURLY: DAY_MS, Period.DAILY: 30 * DAY_MS, Period.MONTHLY: 365 * DAY_MS}
_DEFINITIONS = "SELECT name, version, definition, agent_types FROM workflow_registry ORDER BY published_at"


class Costing:
    def __init__(self, application: Application) -> None:
        self._application = application

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Asking]:
        async with self._pool() as pool:
            yield Asking(Costs(pool))

    async def what_if(
        self, period: Period, start: str | None, end: str | None, profiles: Mapping[str, Sequence[str]], prices: str | None
    ) -> Mapping[str, Any]:
        since_ms, until_ms = span(period, start, end)
        catalogue = self._catalogue(prices)
        instead = {name: [_model(catalogue, model) for model in models] for name, models in profiles.items()}
        async with self._pool() as pool:
            needs = needs_of(await pool.fetch(_DEFINITIONS))
            calls = await Costs(pool).calls(since_ms, until_ms)
        recorded = [
            Recorded(each.profile, each.model, _usage(each), each.calls, each.cost_micro_usd, _asked(needs, each))
            for each in calls
        ]
        found = what_if(recorded, catalogue, instead)
        difference = found.would_be_micro_usd - found.was_micro_usd
        return {
            "from": _moment(since_ms).isoformat(),
            "to": _moment(until_ms).isoformat(),
            "lines": [
                {
                    "profile": line.profile,
                    "model": line.model,
                    "instead": line.instead,
                    "calls": line.calls,
                    "was_usd": float(usd(line.was_micro_usd)),
                    "would_be_usd": float(usd(line.would_be_micro_usd)),
                }
                for line in found.lines
            ],
            "calls": sum(line.calls for line in found.lines),
            "was_usd": float(usd(found.was_micro_usd)),
            "would_be_usd": float(usd(found.would_be_micro_usd)),
            "difference_usd": float(usd(difference)),
            "too_long": found.too_long,
            "cannot": found.cannot,
            "unpriced": found.unpriced,
        }

    @asynccontextmanager
    async def _pool(self) -> AsyncIterator[Pool]:
        with in_words():
            async with await open_pool(self._application.database_url()) as pool:
                yield pool

    def _catalogue(self, prices: str | None) -> Catalogue:
        settings = self._application.settings
        path = Path(prices) if prices is not None else settings.catalog
        try:
            return configured(Catalogue.load(path), settings.environment())
        except (CatalogueError, OSError) as error:
            raise CannotGoOn(f"the prices cannot be used: {error}") from error


class Asking:
    """connectors.cli.costs_ports.Ask."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs

    async def report(self, period: Period, by: By | None, start: str | None, end: str | None) -> Report:
        since_ms, until_ms = span(period, start, end)
        rows = await self._costs.rows(UNITS[period], since_ms, until_ms, by=by.value if by is not None else None)
        return Report(_moment(since_ms), _moment(until_ms), [Line(**asdict(row)) for row in rows])

    async def latest(self) -> Sequence[Line]:
        now_ms = clock_ms()
        hour_ms = now_ms - now_ms % HOUR_MS
        return [Line(**asdict(row)) for row in await self._costs.rows("hour", hour_ms, hour_ms + HOUR_MS, by="model")]


def span(period: Period, start: str | None, end: str | None) -> tuple[int, int]:
    """Whole hours around [start, end), in ms; as far back as the period looks where no start is given."""
    now_ms = clock_ms()
    until_ms = _time(end, "--to", now_ms) if end is not None else now_ms
    since_ms = _time(start, "--from", now_ms) if start is not None else until_ms - LOOK_BACK_MS[period]
    if since_ms >= until_ms:
        raise CannotGoOn("--from is not before --to: nothing lies between them")
    return since_ms - since_ms % HOUR_MS, -(-until_ms // HOUR_MS) * HOUR_MS


def _time(text: str, option: str, now_ms: int) -> int:
    try:
        found = place(text, now_ms=now_ms)
    except NoPlace as error:
        raise CannotGoOn(f"{option}: {error}") from error
    match found.kind:
        case "time":
            return found.value
        case "beginning":
            return 0
        case "end":
            return now_ms
        case "offset":
            raise CannotGoOn(f"{option} takes a time here, like 2026-01-31T12:00:00Z or 7d, not the offset {text}")


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _model(catalogue: Catalogue, name: str) -> Model:
    model = catalogue.find(name)
    if model is None:
        unpriced = catalogue.unpriced.get(name)
        why = f"has {unpriced.reason}" if unpriced is not None else "is not in the catalogue: `hil models list` shows them"
        raise CannotGoOn(f"the model {name} {why}")
    return model


def _usage(calls: Calls) -> Usage:
    return Usage(
        input_text_tokens=calls.input_text_tokens,
        cached_text_tokens=calls.cached_text_tokens,
        cache_write_text_tokens=calls.cache_write_text_tokens,
        output_text_tokens=calls.output_text_tokens,
        reasoning_text_tokens=calls.reasoning_text_tokens,
    )


Needs = Mapping[tuple[str, str], frozenset[ModelCapability]]
"""(name@version, node) → what the node asks of its model."""


def _asked(needs: Needs, calls: Calls) -> frozenset[ModelCapability]:
    return needs.get((calls.workflow, calls.node_id), frozenset())


def needs_of(rows: Iterable[Any]) -> Needs:
    """As the published definitions say. What is none was published by somebody else, and no run has used it."""
    found: dict[tuple[str, str], frozenset[ModelCapability]] = {}
    for row in rows:
        try:
            types = json.loads(row["agent_types"])
            definition = WorkflowDefinition.model_validate_json(row["definition"])
        except ValueError:
            continue
        if not isinstance(types, dict):
            continue
        for node in definition.workflow.nodes:
            needs: set[ModelCapability] = set()
            if node.config.tool_specs and types.get(node.agent) in ("reasoning", "supervisor"):
                needs.add("tools")
            if node.config.output_schema:
                needs.add("structured_output")
            for workflow in (f"{row['name']}@{row['version']}", row["name"]):
                found[workflow, node.id] = frozenset(needs)
    return found

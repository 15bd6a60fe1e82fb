"""`hil route`: who would answer, and why, without asking anybody."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, get_args

import typer
from rich.table import Table
from rich.text import Text

from agents.errors import Fatal
from agents.ports import ChatMessage, ChatRequest
from agents.router.catalogue import Catalogue
from agents.router.counting import Counts
from agents.router.explained import explained
from agents.router.models import ModelCapability
from agents.router.ports import Provider
from agents.router.request import CallContext, Constraints, dollars
from agents.router.router import Router
from agents.router.tokens import TokenCounter
from connectors.cli import console
from connectors.cli.ports import CannotGoOn

MOST = 1_000_000
"""Dollars that one call may be given; far more than any costs."""
CAPABILITIES: tuple[ModelCapability, ...] = get_args(ModelCapability)


@dataclass(frozen=True, slots=True)
class Ground:
    """What is decided on."""

    catalogue: Catalogue
    providers: Collection[str]
    """Those that can be asked."""


def build(shipped: Callable[[], Ground], here: Callable[[], Ground]) -> typer.Typer:
    """`shipped`: the catalogue with every provider; `here`: what this installation can ask."""
    group = typer.Typer()

    @group.command()
    def route(
        message: Annotated[str, typer.Option(help="What the customer writes, or the whole prompt; - reads standard input.")],
        profile: Annotated[str, typer.Option(help="fast, balanced, powerful, or one of your own.")] = "balanced",
        max_cost: Annotated[str | None, typer.Option(help="US dollars this call may cost at most, e.g. 0.001.")] = None,
        max_latency: Annotated[int | None, typer.Option(min=1, help="Milliseconds this call may take.")] = None,
        require: Annotated[str, typer.Option(help=f"What the model must be able to do: {','.join(CAPABILITIES)}.")] = "",
        max_tokens: Annotated[int, typer.Option(min=1, help="Text tokens the answer may have.")] = 4096,
        only_here: Annotated[
            bool, typer.Option("--here", help="Ask only what is configured here, with the profiles as they are here.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    ) -> None:
        """Explain one decision: every model with its score or the reason it is left out. Calls nobody."""
        said = sys.stdin.read() if message == "-" else message
        asked = lambda: _decide(  # noqa: E731 - one call, told how to fail
            here() if only_here else shipped(), said, profile, _limits(max_cost, max_latency), _required(require), max_tokens
        )
        found = console.call(asked)
        if as_json:
            console.data(json.dumps(found))
        else:
            _show(found)
        raise typer.Exit(0 if found["chosen"] else 1)

    return group


def _decide(
    ground: Ground,
    message: str,
    profile: str,
    limits: Constraints,
    required: frozenset[ModelCapability],
    max_tokens: int,
) -> dict[str, Any]:
    providers: Mapping[str, Provider] = {name: _Nobody(name) for name in ground.providers}
    counter = TokenCounter()
    router = Router(ground.catalogue, providers, counter)
    request = ChatRequest(profile, (ChatMessage("user", message),), max_tokens=max_tokens)
    try:
        decision = router.decide(request, CallContext(required_capabilities=required, constraints=limits))
    except Fatal as error:
        raise CannotGoOn(str(error)) from error
    counts = Counts(counter, router.models, request.messages, request.tools, request.output_schema)
    return explained(decision, router.models, counts)


class _Nobody:
    """Stands for a provider that could be asked; `hil route` asks none."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def complete(self, model: Any, request: Any) -> Any:
        raise AssertionError("hil route calls nobody")

    def stream(self, model: Any, request: Any) -> Any:
        raise AssertionError("hil route calls nobody")


def _limits(max_cost: str | None, max_latency: int | None) -> Constraints:
    if max_cost is None:
        return Constraints(max_latency_ms=max_latency)
    try:
        amount = Decimal(max_cost)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= MOST:
        raise CannotGoOn(f"--max-cost is {max_cost!r}: write dollars from 0 to {MOST:,}, such as 0.001")
    return Constraints(int(amount * 1_000_000), max_latency)


def _required(written: str) -> frozenset[ModelCapability]:
    names = [name.strip() for name in written.split(",") if name.strip()]
    unknown = [name for name in names if name not in CAPABILITIES]
    if unknown:
        raise CannotGoOn(f"--require: there is no capability {', '.join(unknown)}. There are: {', '.join(CAPABILITIES)}.")
    return frozenset(name for name in CAPABILITIES if name in names)


def _show(found: Mapping[str, Any]) -> None:
    columns = ("", "model", "provider", "score", "quality", "text tokens in", "out", "about", "ms", "left out because")
    table = Table(*columns, box=None)
    for row in found["models"]:
        cost = row["estimated_cost_micro_usd"]
        table.add_row(
            "→" if row["place"] == 1 else str(row["place"] or ""),
            row["model"],
            row["provider"] or "",
            "" if row["score"] is None else f"{row['score']:.3f}",
            "" if row["quality"] is None else f"{row['quality']:g}",
            _number(row["input_text_tokens"]),
            _number(row["expected_output_text_tokens"]),
            "" if cost is None else dollars(cost),
            _number(row["estimated_latency_ms"]),
            Text(row["left_out"] or ""),
        )
    console.out().print(table)
    console.out().print(found["reasoning"])
    console.out().print(f"limit: {dollars(found['max_cost_micro_usd'])} a call")
    if found["fallbacks"]:
        console.out().print(f"then, if it fails: {', '.join(found['fallbacks'])}")


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"

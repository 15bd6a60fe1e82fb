"""One model as the catalogue knows it. Values alone: the catalogue reads them from data, the router chooses among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agents.ports import Usage

ModelCapability = Literal["tools", "vision", "streaming", "structured_output", "reasoning"]
Lack = Literal[
    "json_schema",
    "strict",
    "forced_tool",
    "no_calls",
    "max_tokens",
    "max_completion_tokens",
    "stream_options",
    "temperature",
    "null_content",
    "own_fields",
    "call_ids",
]
"""What an endpoint may not take of a request: a JSON Schema as response format, its strict mode, a tool that must be called,
tools none of which may be; one name of the length limit or the other; being asked to count streams; a temperature; a message
without content beside its calls; fields of its own coming back; ids of calls that are not nine letters and digits."""


class Rates(Protocol):
    """What a model's tokens cost, compiled from a price row."""

    @property
    def row(self) -> Mapping[str, Any]:
        """The price row used, JSON-able: for events and for people."""
        ...

    def micro_usd(self, usage: Usage) -> int:
        """The cost of one call in micro-dollars, rounded half up."""
        ...

    def cost(self, given: int, made: int, cached: int = 0) -> int:
        """`micro_usd` of text tokens in and out, and how many of the first are cached: for estimates of many models."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    """As in the catalogue, or as the environment named it."""
    provider: str
    """openai | anthropic | local | rehearsal."""
    wire: str
    """What its endpoint calls it."""
    context: int
    """Text tokens of the window, input and output together."""
    capabilities: frozenset[ModelCapability]
    latency_ms: int
    """To expect before anything was learned."""
    quality: float
    """0..10."""
    rates: Rates
    quality_source: str = ""
    max_output: int | None = None
    encoding: str | None = None
    """Name of a tiktoken encoding; None: counted by a learned ratio."""
    token_ratio: float = 1.0
    """Without an encoding: its text tokens for one of o200k_base, before anything was learned."""
    region: str | None = None
    fixed_temperature: bool = False
    """The provider refuses a temperature for it."""
    schema_by_tool: bool = False
    """It knows no JSON Schema as a response format: structured output is the arguments of a forced tool call."""
    responses_api: bool = False
    """OpenAI offers its tool calls on the Responses API alone, not on chat completions."""
    lacks: frozenset[Lack] = frozenset()
    """What its endpoint is known not to take; what else it refuses is found out when it does."""
    as_if: str | None = None
    """A stand-in that costs nothing, booked at the price of this model."""

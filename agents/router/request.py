"""What is asked of the router, as values: whose call it is, what it needs, and what it may cost and take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agents.ports import ChatRequest
from agents.router.models import ModelCapability
from agents.router.profiles import Profile


@dataclass(frozen=True, slots=True)
class Constraints:
    """Tighter than the profile's own limits, never looser."""

    max_cost_micro_usd: int | None = None
    """For one call. Always binds."""
    max_latency_ms: int | None = None
    """Binds the primaries, ranks the fallbacks."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """Whose calls these are: one attempt of one node."""

    conversation_id: str = ""
    workflow: str = ""
    node_id: str = ""
    agent: str = ""
    execution_id: str = ""
    attempt: int = 1
    supported_models: tuple[str, ...] = ()
    """By name or wire name; empty: any."""
    required_capabilities: frozenset[ModelCapability] = frozenset()
    constraints: Constraints = Constraints()
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    """The workflow's own profiles; they go before the router's of the same name."""
    patience_s: float = 0.0
    """How long after the attempt began its calls may still wait for a model that may not be asked just now."""
    sticky: bool = True
    """Whether the conversation may stay on its model for the sake of the provider's prompt cache."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A request as routing sees it."""

    needs: frozenset[ModelCapability]
    expected_output: int
    """Text tokens the answer is expected to have."""
    reserved_output: int
    """Text tokens the answer may have at most."""
    supported_models: tuple[str, ...] = ()


def needs_of(request: ChatRequest, required: frozenset[ModelCapability]) -> frozenset[ModelCapability]:
    """What a model must be able to do to take this request."""
    if request.tools or request.output_schema is not None:
        asked: set[ModelCapability] = set(required)
        if request.tools:
            asked.add("tools")
        if request.output_schema is not None:
            asked.add("structured_output")
        return frozenset(asked)
    return required


def dollars(micro_usd: int) -> str:
    """For people: `$0.0031`. Exact."""
    whole, part = divmod(abs(micro_usd), 1_000_000)
    digits = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micro_usd < 0 else ''}${whole}.{digits}"

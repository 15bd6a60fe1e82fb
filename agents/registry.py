"""Which agents there are: what each can do, what it costs, how it is made. Agents from outside come in by entry point."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import InitVar, dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Literal

from agents.errors import Fatal
from agents.ports import Agent
from agents.sandbox import Sandbox
from schemas.bounds import MOST_TEXT_TOKENS, YEAR_MS, YEAR_S

GROUP = "hil.agents"
"""Entry-point group. Each entry loads to a Registration, or to an iterable of them."""

AgentType = Literal["simple", "reasoning", "code", "supervisor"]
CostTier = Literal["low", "medium", "high"]
Capability = Literal["structured_output", "tool_calling", "reasoning", "planning", "memory", "vision", "code_execution"]

log = logging.getLogger(__name__)

MOST: Mapping[str, int] = {
    "max_tokens": MOST_TEXT_TOKENS,
    "avg_latency_ms": YEAR_MS,
    "max_tools": 1_000,
    "max_iterations": 1_000,
    "timeout_seconds": YEAR_S,
}


@dataclass(frozen=True, slots=True)
class AgentMetadata:
    """What is known of an agent without running it."""

    name: str
    type: AgentType
    description: str
    capabilities: frozenset[Capability] = frozenset()
    supported_models: tuple[str, ...] = ()
    """Limits what may be picked; empty: any model."""
    default_model: InitVar[str | None] = None
    """Refused: which model answers is said by profiles. Say `supported_models` to limit them."""
    max_tokens: int = 4096
    """Text tokens of an answer, for nodes that do not say."""
    supports_streaming: InitVar[bool] = False
    """Refused: agents hand back whole answers."""
    cost_tier: CostTier = "low"
    avg_latency_ms: int = 1000
    """Of agents that could stand in for an unhealthy one and cost the same, the quickest does."""
    requires_tools: bool = False
    max_tools: int | None = None
    """A node with more of them fails before it begins."""
    max_iterations: int = 10
    """Turns with the model, for nodes that do not say."""
    timeout_seconds: float = 300.0
    is_healthy: bool = True
    last_health_check_ms: int | None = None
    error_rate: float = 0.0
    """Share of failed executions over 24 h, 0..1."""

    def __post_init__(self, default_model: str | None, supports_streaming: bool) -> None:
        """Raises ValueError for what nothing would act upon, and for numbers that are none."""
        if default_model is not None:
            raise ValueError(f"the agent {self.name}: default_model is not acted upon: say supported_models={(default_model,)!r}")
        if supports_streaming:
            raise ValueError(
                f"the agent {self.name}: supports_streaming is not acted upon, agents hand back whole answers: drop it"
            )
        for field, most in MOST.items():
            number = getattr(self, field)
            if number is not None and not (isinstance(number, (int, float)) and 0 < number <= most):
                raise ValueError(f"the agent {self.name}: {field} is {str(number)[:40]}: write a number up to {most:,}")


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What a factory may build an agent from. Models and tools come with each piece of work."""

    sandbox: Sandbox


Factory = Callable[[Collaborators], Agent]


@dataclass(frozen=True, slots=True)
class Registration:
    metadata: AgentMetadata
    factory: Factory


class Registry:
    """Agents by name. A later registration of the same name replaces the earlier one."""

    def __init__(self, registrations: Iterable[Registration] = ()) -> None:
        self._registrations = {each.metadata.name: each for each in registrations}
        self._broken: dict[str, str] = {}

    def register(self, registration: Registration) -> None:
        self._registrations[registration.metadata.name] = registration

    def get(self, name: str) -> AgentMetadata:
        """Raises Fatal with the nearest names for one that is not registered."""
        return self._find(name).metadata

    def create(self, name: str, collaborators: Collaborators) -> Agent:
        """Raises Fatal when the name is unknown or its factory fails."""
        registration = self._find(name)
        try:
            return registration.factory(collaborators)
        except Exception as error:
            raise Fatal(
                f"agent {name!r} could not be created: {error!r}. Mend or remove the package that registers it."
            ) from error

    def agents(
        self, *, capability: str | None = None, cost_tier: str | None = None, healthy: bool | None = None
    ) -> list[AgentMetadata]:
        """All agents that fit, by name."""
        return [
            agent
            for agent in sorted((each.metadata for each in self._registrations.values()), key=lambda agent: agent.name)
            if (capability is None or capability in agent.capabilities)
            and (cost_tier is None or cost_tier == agent.cost_tier)
            and (healthy is None or healthy == agent.is_healthy)
        ]

    def agent_types(self) -> dict[str, str]:
        """Agent name → type: which worker an agent's tasks go to."""
        return {name: each.metadata.type for name, each in self._registrations.items()}

    def note_health(self, name: str, *, is_healthy: bool, error_rate: float, checked_ms: int) -> None:
        """Record a health check. Raises Fatal for an unknown name."""
        found = self._find(name)
        self._registrations[name] = replace(
            found,
            metadata=replace(found.metadata, is_healthy=is_healthy, error_rate=error_rate, last_health_check_ms=checked_ms),
        )

    def load_entry_points(self, found: Iterable[EntryPoint] | None = None) -> None:
        """Register agents of other packages. One that cannot be loaded is logged and named when its agent is asked for."""
        for entry in entry_points(group=GROUP) if found is None else found:
            try:
                for registration in _registrations(entry.load()):
                    self.register(registration)
            except Exception as error:  # noqa: BLE001 - a stranger's package must not keep ours from starting
                self._broken[entry.name] = f"{entry.value}: {error!r}"
                log.warning("agent entry point %s (%s) could not be loaded: %r", entry.name, entry.value, error)

    def _find(self, name: str) -> Registration:
        if name in self._registrations:
            return self._registrations[name]
        near = difflib.get_close_matches(name, self._registrations, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(sorted(self._registrations))}."
        broken = f" Its entry point failed to load: {self._broken[name]}." if name in self._broken else ""
        raise Fatal(f"no agent is registered as {name!r}.{broken} {hint}")

    def __contains__(self, name: str) -> bool:
        return name in self._registrations

    def __iter__(self) -> Iterator[str]:
        return iter(self._registrations)


def _registrations(loaded: object) -> list[Registration]:
    if isinstance(loaded, Registration):
        return [loaded]
    if isinstance(loaded, Iterable) and not isinstance(loaded, (str, bytes, Mapping)):
        each = list(loaded)
        if all(isinstance(one, Registration) for one in each):
            return each
    raise TypeError(f"expected an agents.registry.Registration or several, got {type(loaded).__name__}")

"""A profile: which models may answer, which stand behind them, what a call may cost and take, and what matters most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each counts in a model's score; they add up to 1."""

    latency: float
    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    primary: tuple[str, ...]
    """Model names. One may stand in both lists: it is asked in second place when it is too slow for the first."""
    fallback: tuple[str, ...]
    max_cost_micro_usd: int
    """For one call. Always binds."""
    max_latency_ms: int
    """Binds the primaries, ranks the fallbacks."""
    weights: Weights

"""How good a model is for a call, as one number: quick, cheap and good, by the profile's weights."""

from __future__ import annotations

from agents.router.profiles import Weights

COST_SCALE_MICRO_USD = 100_000
"""A call of 10 cents or more gets nothing for its cost."""
LATENCY_SCALE_MS = 5_000
"""A call of 5 seconds or more gets nothing for its speed."""
QUALITY_SCALE = 10.0


def normalised(weights: Weights) -> Weights:
    """The same ratio, adding up to 1."""
    total = weights.latency + weights.cost + weights.quality
    if total in (0.0, 1.0):
        return weights
    return Weights(weights.latency / total, weights.cost / total, weights.quality / total)


def score(weights: Weights, latency_ms: int, cost_micro_usd: int, quality: float) -> float:
    """0 (worst) to 1 (best), for weights that add up to 1. A number to rank by; no money is computed with it."""
    slow = latency_ms / LATENCY_SCALE_MS
    dear = cost_micro_usd / COST_SCALE_MICRO_USD
    good = quality / QUALITY_SCALE
    return (
        weights.latency * (1.0 - slow if slow < 1.0 else 0.0)
        + weights.cost * (1.0 - dear if dear < 1.0 else 0.0)
        + weights.quality * (good if good < 1.0 else 1.0)
    )

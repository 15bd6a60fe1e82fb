"""How many text tokens a model makes of one of ours, learned from what its provider counted."""

from __future__ import annotations

from agents.router.models import Model
from agents.router.tokens.memory import Memory

LEAST = 32
"""Text tokens below which a call teaches nothing: a few tokens of framing would outweigh the text."""
SLOWEST = 0.05
"""The weight of one more call, once twenty were seen."""
LOW, HIGH = 0.25, 4.0
"""No text differs more than this between two encodings of the same kind of model; beyond it the count is wrong."""


class Ratios:
    """One number a model: a mean at first, then exponentially weighted."""

    def __init__(self, remembered: int = 4096) -> None:
        self._ratios: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._plain: Memory[tuple[str, int], int] = Memory(remembered)

    def of(self, model: Model) -> float:
        return self._ratios.get(model.name, model.token_ratio)

    def estimate(self, model: Model, plain: int) -> int:
        """`plain` text tokens of ours in text tokens of this model. What it was made from is remembered for `learn`."""
        estimated = round(plain * self.of(model))
        if plain >= LEAST:
            self._plain.put((model.name, estimated), plain)
        return estimated

    def learn(self, model: Model, estimated: int, actual: int) -> None:
        """`actual`: all input the provider counted for a request that was estimated at `estimated`.

        Compared with what the estimate was made from, not with the estimate: of fifty calls in flight, estimated alike, the
        fiftieth to return must not correct again what the first forty-nine have corrected.
        """
        plain = self._plain.get((model.name, estimated))
        if plain is None:
            plain = round(estimated / self.of(model))
        if plain < LEAST or actual <= 0:
            return
        observed = min(max(actual / plain, LOW), HIGH)
        seen = self._seen.get(model.name, 0) + 1
        before = self.of(model)
        self._seen[model.name] = seen
        self._ratios[model.name] = before + max(SLOWEST, 1 / (seen + 1)) * (observed - before)

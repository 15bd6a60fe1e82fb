"""What calls teach: how long a model takes, how long a node's answers are, how often a provider's cache holds a prefix."""

from __future__ import annotations

from agents.router.models import Model

WEIGHT = 0.2
"""Of the newest observation in an average."""
FORGET_S = 300.0
"""Half-life of a learned latency: a model left out for being slow gets another chance."""
FIRST_GUESS_TEXT_TOKENS = 256
"""Expected of an answer nothing is known of, if it may be that long: a page of text for a customer."""
MAX_NODES = 10_000


class Learned:
    """Averages of one process, started from the catalogue. Exponentially weighted; the latest counts most."""

    def __init__(self) -> None:
        self._latency: dict[str, tuple[float, float]] = {}
        self._output: dict[tuple[str, str], float] = {}
        self._hits: dict[str, float] = {}

    def latency_ms(self, model: Model, now_s: float) -> int:
        """What a call of this model takes; falls back to the catalogue's figure while nobody calls it."""
        known = self._latency.get(model.name)
        if known is None:
            return model.latency_ms
        value, at_s = known
        age_s = now_s - at_s
        if age_s < 1.0:
            return round(value)
        remembered: float = 0.5 ** (age_s / FORGET_S)
        return round(model.latency_ms + (value - model.latency_ms) * remembered)

    def knows(self, name: str) -> bool:
        """Whether anything was learned of the latency of this model."""
        return name in self._latency

    def expected_output(self, workflow: str, node_id: str, max_tokens: int) -> int:
        """Text tokens this node's next answer is expected to have, at most `max_tokens`."""
        known = self._output.get((workflow, node_id))
        return min(max_tokens, FIRST_GUESS_TEXT_TOKENS if known is None else max(1, round(known)))

    def cache_share(self, model: Model) -> float:
        """How much of a prefix that could be in the provider's cache was, 0..1; 1 before anything was seen."""
        return self._hits.get(model.name, 1.0)

    def answered(self, model: Model, latency_ms: int, now_s: float) -> None:
        before = self.latency_ms(model, now_s)
        self._latency[model.name] = (before + WEIGHT * (latency_ms - before), now_s)

    def wrote(self, workflow: str, node_id: str, output_text_tokens: int) -> None:
        key = (workflow, node_id)
        before = self._output.pop(key, None)
        if before is None and len(self._output) >= MAX_NODES:
            del self._output[next(iter(self._output))]
        self._output[key] = output_text_tokens if before is None else before + WEIGHT * (output_text_tokens - before)

    def cached(self, model: Model, expected: int, found: int) -> None:
        """A request with a prefix of `expected` text tokens seen before; the provider read `found` from its cache."""
        if expected > 0:
            before = self.cache_share(model)
            self._hits[model.name] = before + WEIGHT * (min(1.0, found / expected) - before)

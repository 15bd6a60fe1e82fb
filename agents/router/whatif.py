"""What recorded calls would have cost with other models or other prices. Pure: token counts are taken as they were recorded.

Another model would count and write a little differently, and what the cache would have held is assumed to be what it did hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agents.ports import Usage
from agents.router.catalogue import Catalogue
from agents.router.models import Model, ModelCapability

WINDOW_SHARE = 0.8
"""Of a model's context that the router fills with input and output."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Attempts at one model that were alike."""

    profile: str
    model: str
    usage: Usage
    calls: int
    cost_micro_usd: int
    """Of all of them."""
    needs: frozenset[ModelCapability] = frozenset()
    """What the node asks of its model."""


@dataclass(slots=True)
class Line:
    """Calls of one profile that one model answered, and another would have."""

    profile: str
    model: str
    instead: str
    calls: int = 0
    was_micro_usd: int = 0
    would_be_micro_usd: int = 0


@dataclass(frozen=True, slots=True)
class WhatIf:
    lines: Sequence[Line]
    too_long: int
    """Calls that none of the given models has room for; kept as they were."""
    cannot: int
    """Calls that need something none of the given models can do; kept as they were."""
    unpriced: int
    """Calls of models the catalogue has no price for; kept as they were."""

    @property
    def was_micro_usd(self) -> int:
        return sum(line.was_micro_usd for line in self.lines)

    @property
    def would_be_micro_usd(self) -> int:
        return sum(line.would_be_micro_usd for line in self.lines)


def what_if(recorded: Iterable[Recorded], catalogue: Catalogue, instead: Mapping[str, Sequence[Model]]) -> WhatIf:
    """Every call at the catalogue's prices, as the first model in `instead` of its profile that could take it, else its own."""
    lines: dict[tuple[str, str, str], Line] = {}
    too_long = cannot = unpriced = 0
    for each in recorded:
        own = catalogue.find(each.model)
        model, kept = own, False
        if (given := instead.get(each.profile)) is not None:
            able = [other for other in given if each.needs <= other.capabilities]
            fitting = [other for other in able if _fits(other, each.usage)]
            model, kept = (fitting[0], False) if fitting else (None, True)
            cannot += each.calls if not able else 0
            too_long += each.calls if able and not fitting else 0
        unpriced += each.calls if model is None and not kept else 0
        name = model.name if model is not None else each.model
        line = lines.setdefault((each.profile, each.model, name), Line(each.profile, each.model, name))
        line.calls += each.calls
        line.was_micro_usd += each.cost_micro_usd
        line.would_be_micro_usd += each.cost_micro_usd if model is None else model.rates.micro_usd(each.usage) * each.calls
    return WhatIf(
        sorted(lines.values(), key=lambda line: (line.profile, -line.was_micro_usd, line.model)), too_long, cannot, unpriced
    )


def _fits(model: Model, usage: Usage) -> bool:
    return usage.input_text_tokens + usage.output_text_tokens <= model.context * WINDOW_SHARE

"""What routing saves, beside what sending the same mix of calls to models at random would save. Exact: integers and fractions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from agents.ports import Usage
from agents.router.models import Model

STRONGEST = "powerful"


@dataclass(frozen=True, slots=True)
class Share:
    """One profile's part of the blueprint's mix."""

    profile: str
    percent: int
    micro_usd: int
    """What a conversation on it costs, as the blueprint gives it."""
    usage: Usage
    """Text tokens that come to this cost at the blueprint's prices; it gives none itself."""


MIX = (
    Share("fast", 60, 1_000, Usage(800, 0, 0, 400)),
    Share("balanced", 30, 30_000, Usage(1_500, 0, 0, 500)),
    Share("powerful", 10, 150_000, Usage(2_000, 0, 0, 1_500)),
)
CONVERSATIONS = 1_000
UNROUTED_MICRO_USD = 56_200
"""What a conversation costs without routing, as the blueprint gives it; how it comes to that it does not say."""


class UnusableTraffic(ValueError):
    """The message names the line and what to write."""


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call: what was asked for, and how much text it took."""

    profile: str
    usage: Usage
    recorded_micro_usd: int | None = None


def as_given() -> dict[str, Any]:
    """The blueprint's own sum for a day, in micro-dollars. Costs are flat here, so random routing of the mix costs the same."""
    routed = sum(CONVERSATIONS * share.percent * share.micro_usd // 100 for share in MIX)
    unrouted = CONVERSATIONS * UNROUTED_MICRO_USD
    return {
        "conversations": CONVERSATIONS,
        "routed_micro_usd": routed,
        "unrouted_micro_usd": unrouted,
        "random_same_mix_micro_usd": routed,
        "saving_percent": _saving(routed, unrouted),
        "random_saving_percent": _saving(routed, unrouted),
    }


def typical() -> list[Call]:
    """A day of the blueprint's mix, as calls."""
    return [Call(share.profile, share.usage) for share in MIX for _ in range(CONVERSATIONS * share.percent // 100)]


def read_traffic(lines: Iterable[str]) -> list[Call]:
    """Calls from events of `llm.routing-decisions`, one JSON object a line, bare or as `hil watch --json` prints them.

    Raises UnusableTraffic.
    """
    calls: list[Call] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.removeprefix("\ufeff"))
            row = row["value"] if isinstance(row, dict) and isinstance(row.get("value"), dict) else row
            usage = Usage(
                *(_count(row, f"{kind}_text_tokens") for kind in ("input", "cached", "cache_write", "output", "reasoning"))
            )
            recorded = row.get("cost_micro_usd")
            calls.append(Call(str(row["profile"]), usage, recorded if isinstance(recorded, int) else None))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UnusableTraffic(
                f"line {number} is no routing event ({error!r}): it needs profile, input_text_tokens and output_text_tokens. "
                "`hil replay llm.routing-decisions --format json` prints them."
            ) from error
    if not calls:
        raise UnusableTraffic("there is no call in it: print recorded ones with `hil replay llm.routing-decisions --format json`")
    return calls


def compared(calls: Sequence[Call], models: Mapping[str, Model]) -> dict[str, Any]:
    """The calls priced with one model a profile: routed, all on the strongest, all on the cheapest, and the mix at random.

    `models`: by profile. A call of a profile that is not among them counts as one of the strongest. Quality is the mean of the
    models' own figures (0..10): what the answers were worth, only outcomes can say.
    """
    strongest = models[STRONGEST]
    cheapest = min(models.values(), key=lambda model: sum(model.rates.micro_usd(call.usage) for call in calls))
    chosen = [models.get(call.profile, strongest) for call in calls]
    mix = Counter(model.name for model in chosen)
    by_name = {model.name: model for model in [*models.values(), strongest]}
    random = sum(
        Fraction(count * by_name[name].rates.micro_usd(call.usage), len(calls)) for call in calls for name, count in mix.items()
    )
    strong = sum(strongest.rates.micro_usd(call.usage) for call in calls)
    recorded = [call.recorded_micro_usd for call in calls]
    rows = {
        "always_strong": (strong, [strongest]),
        "routed": (sum(m.rates.micro_usd(call.usage) for m, call in zip(chosen, calls, strict=True)), chosen),
        "random_same_mix": (round(random), chosen),
        "always_weak": (sum(cheapest.rates.micro_usd(call.usage) for call in calls), [cheapest]),
    }
    return {
        "models": {profile: model.name for profile, model in models.items()},
        "calls": len(calls),
        "recorded_micro_usd": None if None in recorded else sum(each or 0 for each in recorded),
        "policies": {
            name: {
                "micro_usd": cost,
                "saving_percent": _saving(cost, strong),
                "mean_quality": round(sum(model.quality for model in used) / len(used), 3),
                "lowest_quality": min(model.quality for model in used),
            }
            for name, (cost, used) in rows.items()
        },
    }


def _saving(cost: int, of: int) -> float:
    return round(float(100 - Fraction(100 * cost, of)), 2) if of else 0.0


def _count(row: Mapping[str, Any], key: str) -> int:
    value = row[key] if key in ("input_text_tokens", "output_text_tokens") else row.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{key} is {value!r}")
    return value

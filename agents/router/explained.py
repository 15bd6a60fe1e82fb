"""One decision laid open, for people and programs: every model of the catalogue, chosen, in reserve or left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.router.models import Model
from agents.router.routing import Choice, Decision
from schemas.base import usd


def explained(decision: Decision, models: Mapping[str, Model], counts: Mapping[str, int]) -> dict[str, Any]:
    """JSON-able. `counts`: the request's text tokens by model name. Models outside of the profile are listed last."""
    chosen, runner_up = decision.chosen, decision.runner_up
    listed = {each.model.name for each in decision.chain} | {each.model for each in decision.left_out}
    rows = [_asked(place, each) for place, each in enumerate(decision.chain, 1)]
    rows += [_passed(models.get(each.model), each.model, counts, each.reason) for each in decision.left_out]
    others = (model for name, model in models.items() if name not in listed)
    rows += [_passed(model, model.name, counts, f"not in the profile {decision.profile}") for model in others]
    return {
        "profile": decision.profile,
        "chosen": _brief(chosen),
        "runner_up": runner_up.model.name if runner_up else None,
        "fallbacks": [each.model.name for each in decision.chain[1:]],
        "reasoning": decision.reasoning,
        "max_cost_micro_usd": decision.max_cost_micro_usd,
        "models": rows,
    }


def _brief(choice: Choice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    return {
        "provider": choice.model.provider,
        "model": choice.model.name,
        "estimated_cost_micro_usd": choice.cost_micro_usd,
        "estimated_cost_usd": float(usd(choice.cost_micro_usd)),  # shortest form, exact: for the reader alone
        "estimated_latency_ms": choice.latency_ms,
        "input_text_tokens": choice.estimated.input_text_tokens,
        "expected_output_text_tokens": choice.estimated.output_text_tokens,
    }


def _asked(place: int, choice: Choice) -> dict[str, Any]:
    return {
        "model": choice.model.name,
        "provider": choice.model.provider,
        "place": place,
        "role": choice.role,
        "score": round(choice.score, 4),
        "quality": choice.model.quality,
        "input_text_tokens": choice.estimated.input_text_tokens,
        "expected_output_text_tokens": choice.estimated.output_text_tokens,
        "estimated_cost_micro_usd": choice.cost_micro_usd,
        "estimated_latency_ms": choice.latency_ms,
        "left_out": None,
    }


def _passed(model: Model | None, name: str, counts: Mapping[str, int], reason: str) -> dict[str, Any]:
    return {
        "model": name,
        "provider": model.provider if model else None,
        "place": None,
        "role": None,
        "score": None,
        "quality": model.quality if model else None,
        "input_text_tokens": counts[name] if model else None,
        "expected_output_text_tokens": None,
        "estimated_cost_micro_usd": None,
        "estimated_latency_ms": None,
        "left_out": reason,
    }

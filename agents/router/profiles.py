"""What a node asks for instead of a model: lists of models, limits of one call, and what matters how much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agents.router.faults import CatalogueError, sentences
from schemas.bounds import Dollars, Milliseconds, Number

MILLION = 1_000_000
DEFAULT_BASE = "balanced"
"""Whose limits and weights a new profile has where it gives none."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What a score is made of. Their ratio counts, not their sum."""

    latency: float
    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    primary: tuple[str, ...]
    """Names of models, as in the catalogue."""
    fallback: tuple[str, ...]
    """Tried when no primary can answer."""
    max_cost_micro_usd: int
    """Of one call. Binds every model."""
    max_latency_ms: int
    """Binds the primaries; ranks the fallbacks."""
    weights: Weights


_FIRST = Profile("", (), (), max_cost_micro_usd=MILLION, max_latency_ms=5_000, weights=Weights(0.33, 0.33, 0.34))
"""Where a catalogue without any profile starts from."""


Weight = Annotated[float, Number, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class WeightsRow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    latency: Weight
    cost: Weight
    quality: Weight


Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
"""One model, or a list of them."""


class ProfileRow(BaseModel):
    """A profile as it is written, in catalog.yaml or in a workflow's `llm_profiles`. What it leaves out is its base's."""

    model_config = ConfigDict(extra="forbid")

    profile: str | None = None
    """The profile that this one starts from."""
    primary: Names | None = None
    fallback: Names | None = None
    max_cost_usd: Annotated[Dollars, Field(gt=0)] | None = None
    max_latency_ms: Milliseconds | None = None
    weights: WeightsRow | None = None


_OTHER_NAMES = {
    "base": "profile",
    "model": "primary",
    "models": "primary",
    "primary_models": "primary",
    "fallback_models": "fallback",
    "max_cost": "max_cost_usd",
    "max_latency": "max_latency_ms",
}

Known = Callable[[str], str | None]
"""A model's name in the catalogue, from its name or wire name; None for one it does not have."""


def merge_profiles(profiles: Mapping[str, Profile], custom: Mapping[str, Any], known: Known) -> dict[str, Profile]:
    """`profiles` with those that `custom` changes or adds: label → a profile's name, or a mapping (ProfileRow).

    A label may mean another label, above or below it. Raises CatalogueError with every fault at once.
    """
    merged, faults = draft_profiles(profiles, custom, known)
    if faults:
        raise CatalogueError([sentence for sentences in faults.values() for sentence in sentences])
    return {label: merged[label] for label in (*profiles, *custom) if label in merged}


def draft_profiles(
    profiles: Mapping[str, Profile], custom: Mapping[str, Any], known: Known
) -> tuple[dict[str, Profile], dict[str, tuple[str, ...]]]:
    """As `merge_profiles`: the profiles without those that have faults, and the faults by label."""
    merged = dict(profiles)
    faults: dict[str, tuple[str, ...]] = {}
    waiting = {label: written for label, written in custom.items() if written is not None and written != label}
    while waiting:
        ready = {label: row for label, row in waiting.items() if _base(label, row, merged) not in waiting.keys() - {label}}
        if not ready:
            names = sorted(waiting)
            faults[names[0]] = (f"the profiles {', '.join(names)} start from one another: let one of them name its models",)
            break
        for label, written in ready.items():
            del waiting[label]
            try:
                merged[label] = _made(label, written, merged, known)
            except CatalogueError as error:
                faults[label] = error.faults
    return merged, faults


def _base(label: str, written: Any, profiles: Mapping[str, Profile]) -> str:
    if isinstance(written, str):
        return written
    named = (written.get("profile") or written.get("base")) if isinstance(written, Mapping) else None
    return str(named) if named else label if label in profiles else DEFAULT_BASE


def _made(label: str, written: Any, profiles: Mapping[str, Profile], known: Known) -> Profile:
    if not isinstance(written, (str, Mapping)):
        raise CatalogueError([f"the profile {label} is neither a profile's name nor a mapping: write `{label}: balanced`"])
    base = profiles.get(_base(label, written, profiles), None if profiles else _FIRST)
    if base is None:
        missing = _base(label, written, profiles)
        raise CatalogueError([f"the profile {label} starts from {missing!r}, which is none: use {', '.join(profiles)}"])
    if isinstance(written, str):
        return replace(base, name=label)
    try:
        row = ProfileRow.model_validate({_OTHER_NAMES.get(str(key), key): value for key, value in written.items()})
    except ValidationError as error:
        raise CatalogueError(sentences(f"the profile {label}", error)) from None
    own_lists = row.primary is not None and label not in profiles
    made = replace(
        base,
        name=label,
        primary=base.primary if row.primary is None else _names(label, row.primary, known),
        # A new profile that lists its models falls back to no others.
        fallback=(() if own_lists else base.fallback) if row.fallback is None else _names(label, row.fallback, known),
        max_cost_micro_usd=base.max_cost_micro_usd if row.max_cost_usd is None else int(row.max_cost_usd * MILLION),
        max_latency_ms=row.max_latency_ms or base.max_latency_ms,
        weights=base.weights if row.weights is None else Weights(row.weights.latency, row.weights.cost, row.weights.quality),
    )
    if not made.primary and not made.fallback:
        raise CatalogueError([f"the profile {label} has no model: list some below `primary:`"])
    if not any((made.weights.latency, made.weights.cost, made.weights.quality)):
        raise CatalogueError([f"the profile {label} has weights that are all 0: give one of them a value"])
    return made


def _names(label: str, written: Iterable[str], known: Known) -> tuple[str, ...]:
    found = {name: known(name) for name in written}
    unknown = [name for name, model in found.items() if model is None]
    if unknown:
        models = ", ".join(repr(name) for name in unknown)
        raise CatalogueError(
            [f"the profile {label} names {models}, not in the catalogue: `hil models list` shows it, catalog.yaml adds to it"]
        )
    return tuple(dict.fromkeys(model for model in found.values() if model is not None))

"""The catalogue as one installation has it: which endpoints it can reach, and which models it names for a profile."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

from agents.router.catalogue import Catalogue, Unpriced
from agents.router.models import Model
from agents.router.pricelist import NoPrice, listed, window
from agents.router.rates import PriceError, TokenRates, compile_rates
from agents.router.tokens.encodings import encoding_name

LOCAL, REHEARSAL = "local", "rehearsal"
CLOUDS = ("openai", "anthropic")
NAMED = ("fast", "balanced", "powerful")
"""Profiles whose model an environment may name: HIL_MODEL_FAST, HIL_MODEL_BALANCED, HIL_MODEL_POWERFUL."""

UNKNOWN_CONTEXT = 32_768
UNKNOWN_LATENCY_MS = 1_500
UNKNOWN_QUALITY = 7.0
"""What is expected of a model that only the environment names. Say better in catalog.yaml."""
_SPEECHLESS = re.compile(r"embed|rerank|whisper|\btts|speech|moderation|dall-e|image|guard|\bbge\b|\bvae\b|diffusion", re.I)
"""Names of models that an endpoint lists beside those that chat."""
NO_LIMIT_MS = 600_000
"""Who names the one model there is has accepted how fast it is."""


def configured(catalogue: Catalogue, environ: Mapping[str, str]) -> Catalogue:
    """`installed` by the environment: whose keys or endpoint it has, and HIL_MODEL_FAST, _BALANCED, _POWERFUL."""
    named = {profile: environ.get(f"HIL_MODEL_{profile.upper()}", "").strip() for profile in NAMED}
    return installed(catalogue, providers=reachable(catalogue, environ), named=named)


def reachable(catalogue: Catalogue, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The providers that can be asked. An endpoint of one's own may be the rehearsal's; without any there is the rehearsal."""
    there = tuple(provider for provider, key in catalogue.keys.items() if key is not None and environ.get(key, "").strip())
    return there if there and LOCAL not in there else (*there, REHEARSAL)


def installed(catalogue: Catalogue, *, providers: Collection[str], named: Mapping[str, str] | None = None) -> Catalogue:
    """`catalogue` with the profiles that this installation's endpoints can serve.

    `providers`: those that can be asked. `named`: profile → a model's name or wire name; it becomes the primary, with no limit
    on its latency, and the profile's other models its fallbacks. At an endpoint of one's own (`local`) one name serves all
    profiles, and every model named is asked there, whoever made it. A model nobody knows is free there; elsewhere it has no
    price, and is left out for it.
    """
    chosen = {profile: model for profile, model in (named or {}).items() if model}
    if LOCAL in providers:
        fitting = _at_own_endpoint(catalogue, chosen)
    else:
        fitting = _at_known_endpoints(catalogue, providers, chosen)
    limitless = {*chosen} if LOCAL not in providers and REHEARSAL not in providers else {*fitting}
    return _with_primaries(catalogue, fitting, limitless)


def chosen_of(names: Sequence[str], catalogue: Catalogue) -> dict[str, str]:
    """Profile → one of the `names` that an endpoint says it has. Empty when none of them answers in words.

    Of those the catalogue knows the quickest is fast and the best powerful; where it knows none, the first serves all.
    """
    speaking = [name for name in names if not _SPEECHLESS.search(name)]
    known = {name: model for name in speaking if (model := catalogue.find(name)) is not None}
    if not known:
        return dict.fromkeys(NAMED, speaking[0]) if speaking else {}
    by_quality = sorted(known, key=lambda name: known[name].quality)
    return {
        "fast": min(known, key=lambda name: known[name].latency_ms),
        "balanced": by_quality[len(by_quality) // 2],
        "powerful": by_quality[-1],
    }


def _at_own_endpoint(catalogue: Catalogue, chosen: Mapping[str, str]) -> dict[str, tuple[Model | Unpriced, ...]]:
    some = next((chosen[profile] for profile in reversed(NAMED) if profile in chosen), None)
    defaults = dict.fromkeys(NAMED, some) if some else catalogue.installs.get(REHEARSAL, {})
    names = {**defaults, **chosen}
    return {profile: (_local(catalogue, name),) for profile, name in names.items() if name}


def _at_known_endpoints(
    catalogue: Catalogue, providers: Collection[str], chosen: Mapping[str, str]
) -> dict[str, tuple[Model | Unpriced, ...]]:
    there = [provider for provider in (*CLOUDS, REHEARSAL) if provider in providers]
    default = there[0] if there else CLOUDS[0]
    made: dict[str, tuple[Model | Unpriced, ...]] = {}
    for provider in there:
        if provider == REHEARSAL and len(there) > 1:
            continue  # a stand-in answers only where nothing real can
        for profile, name in catalogue.installs.get(provider, {}).items():
            model = catalogue.find(name)
            made[profile] = (*made.get(profile, ()), *((model,) if model else ()))
    for profile, name in chosen.items():
        made[profile] = (catalogue.find(name) or _named(name, default, catalogue.priced_on),)
    return made


def _local(catalogue: Catalogue, name: str) -> Model:
    """Asked at the endpoint of one's own, at the price the catalogue has for it, or none."""
    known = catalogue.find(name)
    if known is None:
        return unlisted(name)
    return known if known.provider == REHEARSAL else replace(known, provider=LOCAL)


def _named(name: str, provider: str, on: date) -> Model | Unpriced:
    """A model that the catalogue does not have, at an endpoint whose prices are listed."""
    if provider == REHEARSAL:
        return unlisted(name, provider)
    try:
        return _unknown(name, provider, listed(provider, name, on=on), window(provider, name))
    except (NoPrice, PriceError) as reason:
        return Unpriced(name, provider, name, UNKNOWN_CONTEXT, f"no price: {reason}. Add it to catalog.yaml with `usd_per_1m`")


def _unknown(name: str, provider: str, rates: TokenRates, context: int | None = None) -> Model:
    return Model(
        name=name,
        provider=provider,
        wire=name,
        context=context or UNKNOWN_CONTEXT,
        capabilities=frozenset({"tools", "streaming", "structured_output"}),
        latency_ms=UNKNOWN_LATENCY_MS,
        quality=UNKNOWN_QUALITY,
        rates=rates,
        quality_source="not known: named by the environment",
        encoding=encoding_name(name),
    )


def unlisted(name: str, provider: str = LOCAL) -> Model:
    """A model of which nothing but the name is known, and which costs nothing."""
    return _unknown(name, provider, _free())


def _free() -> TokenRates:
    return compile_rates("free: an endpoint of one's own", {"input": Decimal(0), "output": Decimal(0)})


def _with_primaries(
    catalogue: Catalogue, fitting: Mapping[str, tuple[Model | Unpriced, ...]], limitless: Collection[str]
) -> Catalogue:
    made = catalogue.with_models(*(model for models in fitting.values() for model in models))
    profiles = dict(made.profiles)
    for name, models in fitting.items():
        before = profiles[name]
        primary = tuple(dict.fromkeys(model.name for model in models)) or before.primary
        fallback = tuple(each for each in dict.fromkeys((*before.primary, *before.fallback)) if each not in primary)
        limit = NO_LIMIT_MS if name in limitless else before.max_latency_ms
        profiles[name] = replace(before, primary=primary, fallback=fallback, max_latency_ms=limit)
    return replace(made, profiles=profiles)

"""Every model that may answer, with its price, and the profiles that choose among them. Made once, then only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from agents.router import cataloguefile
from agents.router.cataloguefile import ModelRow, ProviderRow
from agents.router.faults import CatalogueError
from agents.router.models import Model
from agents.router.pricelist import NoPrice, listed
from agents.router.profiles import Profile, draft_profiles, merge_profiles
from agents.router.rates import PriceError, TokenRates, compile_rates
from agents.router.tokens.encodings import SHIPPED


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A model that is known but never routed to."""

    name: str
    provider: str
    wire: str
    context: int
    reason: str
    """Why it has no price, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    models: Mapping[str, Model]
    """By name. Each has a price."""
    unpriced: Mapping[str, Unpriced]
    """By name. The router leaves them out, with the reason."""
    profiles: Mapping[str, Profile]
    keys: Mapping[str, str | None] = field(default_factory=dict)
    """Provider → the environment variable without which none of its models can be asked."""
    installs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Provider → profile → the model that serves it where nobody names one."""
    priced_on: date = date.min
    """The day (UTC) whose list prices are used."""
    _wires: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, overrides: Path | None = None, *, on: date | None = None) -> Catalogue:
        """The shipped catalogue with the file of one's own over it. `on`: the day of the prices; today when not given.

        Raises CatalogueError with every fault at once.
        """
        day = on or datetime.now(UTC).date()
        own = cataloguefile.read(overrides) if overrides else None
        base = cataloguefile.shipped()
        file = cataloguefile.merged(base, own) if own else base
        rows = cataloguefile.rows(file)
        models: dict[str, Model] = {}
        unpriced: dict[str, Unpriced] = {}
        faults: list[str] = []
        for name, row in rows.items():
            if row.removed:
                continue
            try:
                models[name] = _model(name, row, _rates(row.as_if or name, rows[row.as_if] if row.as_if else row, day))
            except NoPrice as reason:
                why = f"no price: {reason}. Give it `usd_per_1m` in catalog.yaml"
                unpriced[name] = Unpriced(name, row.provider, row.wire, row.context, why)
            except PriceError as error:
                faults.append(f"the model {name}: {error}")
            if row.encoding is not None and row.encoding not in SHIPPED:
                faults.append(f"the model {name} has the encoding {row.encoding!r}: use {', '.join(SHIPPED)}, or `token_ratio`")
        if faults:
            raise CatalogueError(faults)
        keys = {provider: ProviderRow.model_validate(row).key for provider, row in file.providers.items()}
        wires = _wires_of(models, unpriced)
        made = cls(models, unpriced, {}, keys, file.installs, day, wires)
        made = made.with_profiles(_without(base.profiles, [name for name, row in rows.items() if row.removed]))
        return made.with_profiles(own.profiles) if own else made

    def find(self, name: str) -> Model | None:
        """A model by its name or what its endpoint calls it."""
        return self.models.get(name) or self.models.get(self._wires.get(name, ""))

    def known(self, name: str) -> str | None:
        """The name of a model, priced or not, from its name or wire name; None when there is none."""
        return name if name in self.models or name in self.unpriced else self._wires.get(name)

    def with_profiles(self, custom: Mapping[str, Any]) -> Catalogue:
        """This catalogue with profiles changed or added, as in catalog.yaml or a workflow's `llm_profiles`.

        Raises CatalogueError.
        """
        return replace(self, profiles=merge_profiles(self.profiles, custom, self.known))

    def profile_faults(self, custom: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        """What `with_profiles` would refuse, by label, one sentence a fault."""
        return draft_profiles(self.profiles, custom, self.known)[1]

    def with_models(self, *added: Model | Unpriced) -> Catalogue:
        """This catalogue with models added, or put in the place of those with the same names."""
        models = {**self.models, **{each.name: each for each in added if isinstance(each, Model)}}
        unpriced = {**self.unpriced, **{each.name: each for each in added if isinstance(each, Unpriced)}}
        return replace(self, models=models, unpriced=unpriced, _wires=_wires_of(models, unpriced))


def _wires_of(models: Mapping[str, Model], unpriced: Mapping[str, Unpriced]) -> dict[str, str]:
    every: list[Model | Unpriced] = [*models.values(), *unpriced.values()]
    return {each.wire: each.name for each in reversed(every)}


def _without(profiles: Mapping[str, Any], removed: Sequence[str]) -> dict[str, Any]:
    """The shipped profiles without the models that a file of one's own has removed."""
    lists = ("primary", "fallback")
    return {
        label: {key: [name for name in value if name not in removed] if key in lists else value for key, value in row.items()}
        for label, row in profiles.items()
    }


def _rates(name: str, row: ModelRow, on: date) -> TokenRates:
    """Raises NoPrice, or PriceError for a price that is none."""
    if row.usd_per_1k and row.usd_per_1m:
        raise PriceError("it has both `usd_per_1k` and `usd_per_1m`: keep one")
    for prices, factor in ((row.usd_per_1k, 1000), (row.usd_per_1m, 1)):
        if prices is not None:
            tiers = [tier.tier(factor) for tier in row.tiers]
            return compile_rates(f"catalogue: {name}", prices.per_1m(factor), tiers)
    if row.tiers:
        raise PriceError("it has `tiers` without `usd_per_1k` or `usd_per_1m`")
    return listed(row.provider, row.wire, on=on)


def _model(name: str, row: ModelRow, rates: TokenRates) -> Model:
    return Model(
        name=name,
        provider=row.provider,
        wire=row.wire,
        context=row.context,
        capabilities=row.capabilities,
        latency_ms=row.latency_ms,
        quality=row.quality,
        rates=rates,
        quality_source=row.quality_source,
        max_output=row.max_output,
        encoding=row.encoding,
        token_ratio=row.token_ratio,
        region=row.region,
        fixed_temperature=row.fixed_temperature,
        schema_by_tool=row.schema_by_tool,
        responses_api=row.responses_api,
        as_if=row.as_if,
    )

"""Which model answers for which profile, at which endpoint, at which price. Reads models.yaml and the environment it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from agents.errors import Fatal
from connectors.llm.endpoint import NO_KEY, OPENAI_URL, Endpoint

PROFILES = ("fast", "balanced", "powerful")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for 1,000 text tokens."""

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    cached: Decimal | None = None
    """Input read from the provider's prompt cache; None: it costs what other input costs."""

    def micro_usd(self, *, input_text_tokens: int, output_text_tokens: int, cached_text_tokens: int = 0) -> int:
        """The cost of one call in micro-dollars, rounded half up. Cached tokens are among the input tokens."""
        cached = min(cached_text_tokens, input_text_tokens)
        cached_price = self.input if self.cached is None else self.cached
        thousandths = (input_text_tokens - cached) * self.input + cached * cached_price + output_text_tokens * self.output
        return int((thousandths * 1000).quantize(Decimal(1), rounding=ROUND_HALF_UP))


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    """As in models.yaml, or as the environment named it."""
    provider: str
    wire: str
    """What its endpoint calls it."""
    price: Price = Price()
    context: int | None = None
    latency_ms: int | None = None
    quality: float | None = None
    fixed_temperature: bool = False
    as_if: str | None = None
    """Costs nothing, booked at the price of this model."""


@dataclass(frozen=True, slots=True)
class LlmSettings:
    endpoint: Endpoint
    models: Mapping[str, Model]
    """By profile."""

    def model(self, profile: str) -> Model:
        """Raises Fatal for a profile that has no model."""
        if profile not in self.models:
            raise Fatal(f"no model is configured for the profile {profile!r}. Profiles: {', '.join(self.models)}.")
        return self.models[profile]


@cache
def catalogue() -> Mapping[str, Model]:
    """models.yaml by name."""
    rows: dict[str, dict[str, Any]] = _data()["models"]
    return {name: _model(name, row, rows) for name, row in rows.items()}


def configure(environ: Mapping[str, str], *, rehearsal_url: str | None = None) -> LlmSettings:
    """The endpoint and its models: HIL_LLM_BASE_URL, else OPENAI_API_KEY, else the rehearsal endpoint.

    HIL_MODEL_FAST, HIL_MODEL_BALANCED and HIL_MODEL_POWERFUL name the models; at an endpoint of your own one of them is enough.
    Raises Fatal when no endpoint is known.
    """
    named = {profile: environ.get(f"HIL_MODEL_{profile.upper()}", "").strip() for profile in PROFILES}
    own = environ.get("HIL_LLM_BASE_URL", "").strip()
    key = environ.get("OPENAI_API_KEY", "").strip()
    if own:
        endpoint = Endpoint("local", own, environ.get("HIL_LLM_API_KEY", "").strip() or NO_KEY)
        some = next((name for name in reversed(named.values()) if name), None)
        defaults = dict.fromkeys(PROFILES, some) if some else _data()["profiles"]["rehearsal"]
    elif key:
        url = environ.get("HIL_OPENAI_BASE_URL", "").strip() or OPENAI_URL
        endpoint = Endpoint("openai", url, key, key_variable="OPENAI_API_KEY", url_variable="HIL_OPENAI_BASE_URL")
        defaults = _data()["profiles"]["openai"]
    elif rehearsal_url:
        endpoint = Endpoint("rehearsal", rehearsal_url)
        defaults = _data()["profiles"]["rehearsal"]
    else:
        raise Fatal(
            "no model endpoint is configured. Set OPENAI_API_KEY, or HIL_LLM_BASE_URL (any OpenAI-compatible endpoint) with "
            "HIL_MODEL_BALANCED, or start with `hil up`, which brings a stand-in."
        )
    return LlmSettings(endpoint, {profile: _chosen(named[profile] or defaults[profile], endpoint) for profile in PROFILES})


def _chosen(name: str, endpoint: Endpoint) -> Model:
    """The catalogue's model of that name or wire name; one nobody knows is taken to cost nothing, as a local one does."""
    known = catalogue()
    found = known.get(name) or next((model for model in known.values() if model.wire == name), None)
    return found or Model(name=name, provider=endpoint.provider, wire=name)


def _model(name: str, row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> Model:
    priced = rows[row["as_if"]] if "as_if" in row else row
    price = priced["usd_per_1k"]
    return Model(
        name=name,
        provider=row["provider"],
        wire=row["wire"],
        price=Price(Decimal(price["input"]), Decimal(price["output"]), Decimal(price["cached"]) if "cached" in price else None),
        context=row.get("context"),
        latency_ms=row.get("latency_ms"),
        quality=row.get("quality"),
        fixed_temperature=row.get("fixed_temperature", False),
        as_if=row.get("as_if"),
    )


@cache
def _data() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(files("connectors.llm").joinpath("models.yaml").read_text("utf-8"))
    return loaded

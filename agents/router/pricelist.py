"""Price rows from genai-prices, out of the data it brings along. It is never asked to fetch newer data."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from agents.router.rates import Tier, TokenRates, compile_rates

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, TieredPrices

_KINDS = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
}
_NOT_OURS = ("audio", "image", "video", "searches", "_1h_", "_5m_")
"""Prices of what our calls never use: other media, the provider's own searches, cache entries with a lifetime of their own."""


class NoPrice(LookupError):
    """genai-prices cannot price a model. The message is a reason, for people."""


def listed(provider: str, wire: str, *, on: date) -> TokenRates:
    """The rates in force on a day (UTC). Raises NoPrice for a model it does not know, or prices by more than text tokens."""
    found = _found(provider, wire)
    prices = found.get_prices(datetime.combine(on, time(12), UTC))
    given: dict[str, Decimal | TieredPrices] = {}
    for key, price in vars(prices).items():
        if price is None or any(mark in key for mark in _NOT_OURS):
            continue
        if key not in _KINDS:
            raise NoPrice(f"genai-prices bills {wire!r} by {key}, which we do not count")
        given[_KINDS[key]] = price
    if not {"input", "output"} <= given.keys():
        raise NoPrice(f"genai-prices has no price for text in and out of {wire!r}")
    base, tiers = _tiers(given)
    return compile_rates(f"genai-prices {version('genai-prices')}: {provider}/{found.id}", base, tiers)


def window(provider: str, wire: str) -> int | None:
    """Text tokens of a model's context, where genai-prices says. Raises NoPrice for a model it does not know."""
    return _found(provider, wire).context_window


def _found(provider: str, wire: str) -> ModelInfo:
    try:
        return _snapshot().find_provider_model(wire, None, provider, None)[1]
    except LookupError:
        raise NoPrice(f"genai-prices has no model {wire!r} of {provider}") from None


def _tiers(given: dict[str, Decimal | TieredPrices]) -> tuple[dict[str, Decimal], list[Tier]]:
    """Prices with borders of their own, as whole rows: one for each border that any of them has."""
    borders = sorted({tier.start for price in given.values() if not isinstance(price, Decimal) for tier in price.tiers})
    rows = [{kind: _at(price, border) for kind, price in given.items()} for border in (-1, *borders)]
    return rows[0], [Tier(border, row) for border, row in zip(borders, rows[1:], strict=True)]


def _at(price: Decimal | TieredPrices, border: int) -> Decimal:
    """The price just above a border."""
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if tier.start <= border]
    return reached[-1] if reached else price.base


@cache
def _snapshot() -> DataSnapshot:
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers=providers, from_auto_update=False)

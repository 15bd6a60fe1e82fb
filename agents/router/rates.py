"""What a call costs: a price row, compiled once into integers. Micro-dollars, never a float.

A price row is JSON: {"source": "…", "usd_per_1m": {"input": "2.5", "cached": "0.25", "output": "15"},
"tiers": [{"above": 272000, "input": "5", …}]}. A dollar for a million text tokens is a micro-dollar for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from agents.ports import Usage
from schemas.bounds import MOST_TEXT_TOKENS, MOST_USD_PER_1M, USD_DECIMALS

KINDS = ("input", "cached", "cache_write", "output", "reasoning")
"""What may have a price of its own. `input` and `output` must; else the cache is priced as input, reasoning as output."""
_ELSE = {"cached": "input", "cache_write": "input", "reasoning": "output"}

_MOST_DIGITS = USD_DECIMALS + 3
"""Decimals of a price: one for a thousand has three less."""

Prices = Mapping[str, Decimal]
"""Kind → US dollars for a million text tokens."""


class PriceError(ValueError):
    """A price row cannot be used. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Tier:
    """The prices of a whole call whose input has more than `above` text tokens."""

    above: int
    prices: Prices


@dataclass(frozen=True, slots=True)
class TokenRates:
    """agents.router.models.Rates. Build with `compile_rates` or `from_row`."""

    row: Mapping[str, Any]
    _scale: int = field(repr=False)
    """Parts of a micro-dollar that the prices below are counted in; even, so that half of it is exact."""
    _bands: tuple[tuple[int, int, int, int, int, int], ...] = field(repr=False)
    """(above, then the price of one text token for each of KINDS), the highest first."""

    def micro_usd(self, usage: Usage) -> int:
        """The cost of one call, rounded half up. More cached than input, or more reasoning than output, is cut to it."""
        return self.cost(
            usage.input_text_tokens,
            usage.output_text_tokens,
            usage.cached_text_tokens,
            usage.cache_write_text_tokens,
            usage.reasoning_text_tokens,
        )

    def cost(self, given: int, made: int, cached: int = 0, written: int = 0, thought: int = 0) -> int:
        """`micro_usd` of input, output, and of these what is cached, written to the cache, and reasoning."""
        if cached < 0 or written < 0 or cached + written > given or thought < 0 or thought > made:
            given, made = max(given, 0), max(made, 0)
            cached = min(max(cached, 0), given)
            written, thought = min(max(written, 0), given - cached), min(max(thought, 0), made)
        for band in self._bands:
            if given > band[0]:
                break
        _, fresh_price, cached_price, written_price, made_price, thought_price = band
        parts = (given - cached - written) * fresh_price + cached * cached_price + written * written_price
        parts += (made - thought) * made_price + thought * thought_price
        return (parts + self._scale // 2) // self._scale


def compile_rates(source: str, prices: Prices, tiers: Sequence[Tier] = ()) -> TokenRates:
    """Rates from dollars for a million text tokens. Raises PriceError when one is missing, negative or of an unknown kind."""
    ordered = sorted(tiers, key=lambda tier: tier.above)
    if any(one.above == two.above for one, two in pairwise(ordered)) or any(
        not 1 <= tier.above <= MOST_TEXT_TOKENS for tier in ordered
    ):
        raise PriceError(f"{source}: every tier needs its own border, of 1 text token or more")
    bands = [(-1, _complete(source, prices)), *((tier.above, _complete(source, tier.prices)) for tier in ordered)]
    digits = max(_digits(price) for _, band in bands for price in band)
    scale = 2 * 10**digits
    row: dict[str, Any] = {"source": source, "usd_per_1m": _written(prices)}
    if ordered:
        row["tiers"] = [{"above": tier.above, **_written(tier.prices)} for tier in ordered]
    compiled = [(above, *(int(price * scale) for price in band)) for above, band in reversed(bands)]
    return TokenRates(row, scale, tuple((a, b, c, d, e, f) for a, b, c, d, e, f in compiled))


def from_row(row: Mapping[str, Any]) -> TokenRates:
    """The rates that a price row, as in an event, was made of. Raises PriceError."""
    try:
        source, prices, tiers = str(row["source"]), dict(row["usd_per_1m"]), [dict(tier) for tier in row.get("tiers", ())]
        made = [Tier(int(tier.pop("above")), _read(tier)) for tier in tiers]
        return compile_rates(source, _read(prices), made)
    except PriceError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise PriceError(f"no price row: {error!r} in {str(row)[:200]}") from error


def _complete(source: str, prices: Prices) -> tuple[Decimal, ...]:
    """One price for each of KINDS."""
    for kind, price in prices.items():
        if kind not in KINDS:
            raise PriceError(f"{source}: there is no price for `{kind}`; known are {', '.join(KINDS)}")
        if not price.is_finite() or price < 0:
            raise PriceError(f"{source}: the price of `{kind}` is {str(price)[:40]}: write dollars, 0 or more")
        if price > MOST_USD_PER_1M or _digits(price) > _MOST_DIGITS:  # compared before anything is calculated with it
            raise PriceError(
                f"{source}: the price of `{kind}` is {str(price)[:40]}: write at most {MOST_USD_PER_1M:,} dollars for a million "
                f"text tokens, with at most {_MOST_DIGITS} decimals"
            )
    try:
        return tuple(prices[kind] if kind in prices else prices[_ELSE[kind]] for kind in KINDS)
    except KeyError as missing:
        raise PriceError(f"{source}: it needs a price for `input` and one for `output`") from missing


def _digits(price: Decimal) -> int:
    """Decimal places that are not zero at the end."""
    exponent = price.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _written(prices: Prices) -> dict[str, str]:
    return {kind: f"{prices[kind].normalize():f}" for kind in KINDS if kind in prices}


def _read(prices: Mapping[str, Any]) -> dict[str, Decimal]:
    try:
        return {kind: Decimal(str(price)) for kind, price in prices.items()}
    except InvalidOperation as error:
        raise PriceError(f"a price is no number: {dict(prices)}") from error

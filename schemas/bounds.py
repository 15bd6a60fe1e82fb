"""What a number of ours may be at most, and why: checked where a number enters, so that nothing behind it need fear one.

A number beyond its bound is a mistake, and is refused in words; none is cut to its bound in silence.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator, Field

YEAR_S: Final = 366 * 86_400
"""Nothing here waits longer. In milliseconds it is far within 64 bits, and added to any time it still is."""
YEAR_MS: Final = YEAR_S * 1_000
END_OF_TIME_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: what dates can say. A later one is nobody's clock."""
MOST_USD: Final = 10**9
"""A billion dollars: a limit beyond it is as good as none."""
USD_DECIMALS: Final = 18
USD_DIGITS: Final = 28
"""As many as a decimal has in a calculation."""
MOST_USD_PER_1M: Final = 1_000_000
"""A dollar for one text token."""
MOST_TEXT_TOKENS: Final = 1_000_000_000
"""In one call."""
SMALLEST_INT, LARGEST_INT = -(2**63), 2**63 - 1
"""Integers that every reader of ours keeps, whatever it is written in."""


def no_truth_value(value: Any) -> Any:
    """`true` is no number, though Python counts with it."""
    if isinstance(value, bool):
        raise ValueError(f"a number stands here, not {str(value).lower()}")
    return value


def _as_written(value: Any) -> Any:
    """A decimal of the digits that were written, not of the nearest double."""
    return str(value) if isinstance(value, float) else value


Number = BeforeValidator(no_truth_value)
Seconds = Annotated[float, Number, Field(gt=0, le=YEAR_S, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Number, Field(ge=0, le=YEAR_S, allow_inf_nan=False)]
"""0: at once."""
Milliseconds = Annotated[int, Number, Gt(0), Le(YEAR_MS)]
Share = Annotated[float, Number, Field(ge=0, le=1, allow_inf_nan=False)]
Dollars = Annotated[
    Decimal,
    BeforeValidator(_as_written),
    Number,
    Field(ge=0, le=MOST_USD, max_digits=USD_DIGITS, decimal_places=USD_DECIMALS, allow_inf_nan=False),
]
TextTokens = Annotated[int, Number, Ge(1), Le(MOST_TEXT_TOKENS)]

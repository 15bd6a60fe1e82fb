"""The catalogue as it is written: the file that is shipped, and the one that changes it. Reads; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.router.faults import CatalogueError, sentences
from agents.router.models import Lack, ModelCapability
from agents.router.rates import Tier
from schemas.bounds import MOST_TEXT_TOKENS, MOST_USD_PER_1M, USD_DECIMALS, Milliseconds, Number
from schemas.workflow.document import MAX_BYTES, read_document
from schemas.workflow.faults import Fault, InvalidWorkflow

Price = Annotated[Decimal, Number, Field(ge=0, le=MOST_USD_PER_1M, decimal_places=USD_DECIMALS, allow_inf_nan=False)]
"""Dollars; bounded so that its digits can be counted in."""
Tokens = Annotated[int, Number, Field(gt=0, le=MOST_TEXT_TOKENS)]


class Prices(BaseModel):
    """Dollars for text tokens."""

    model_config = ConfigDict(extra="forbid")

    input: Price
    output: Price
    cached: Price | None = None
    cache_write: Price | None = None
    reasoning: Price | None = None

    def per_1m(self, factor: int) -> dict[str, Decimal]:
        """Dollars for a million, from dollars for a million divided by `factor`."""
        written = {kind: getattr(self, kind) for kind in Prices.model_fields}
        return {kind: price * factor for kind, price in written.items() if price is not None}


class TierPrices(Prices):
    above: Tokens

    def tier(self, factor: int) -> Tier:
        return Tier(self.above, self.per_1m(factor))


class ModelRow(BaseModel):
    """One model of the file, complete."""

    model_config = ConfigDict(extra="forbid")

    provider: str = Field(min_length=1)
    wire: str = Field(min_length=1)
    context: Tokens
    latency_ms: Milliseconds
    quality: Annotated[float, Number] = Field(ge=0, le=10, allow_inf_nan=False)
    quality_source: str = ""
    capabilities: frozenset[ModelCapability] = frozenset()
    max_output: Tokens | None = None
    usd_per_1k: Prices | None = None
    usd_per_1m: Prices | None = None
    tiers: list[TierPrices] = Field(default_factory=list)
    encoding: str | None = None
    token_ratio: Annotated[float, Number] = Field(1.0, ge=0.25, le=4, allow_inf_nan=False)
    region: str | None = None
    fixed_temperature: bool = False
    schema_by_tool: bool = False
    lacks: frozenset[Lack] = frozenset()
    responses_api: bool = False
    as_if: str | None = None
    removed: bool = False
    """Not offered any more; stand-ins may still stand for it."""


class ProviderRow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str | None = None
    """The environment variable without which there is no such provider."""


class File(BaseModel):
    """A catalogue file. Rows are checked one by one later, so that every fault is told."""

    model_config = ConfigDict(extra="forbid")

    providers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    models: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    profiles: dict[str, Any] = Field(default_factory=dict)
    installs: dict[str, dict[str, str]] = Field(default_factory=dict)


def shipped() -> File:
    return _parsed("catalogue.yaml", files("agents.router").joinpath("data", "catalogue.yaml").read_text("utf-8"))


def read(path: Path) -> File:
    """A file of one's own. Raises CatalogueError."""
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        return _parsed(str(path), data.decode("utf-8-sig"))
    except OSError as error:
        raise CatalogueError(
            [f"the catalogue file {path} cannot be read: {error.strerror}. Set HIL_CATALOG to a file, or unset it."]
        ) from error
    except UnicodeDecodeError as error:
        raise CatalogueError([f"the catalogue file {path} is not UTF-8: save it as that."]) from error


def merged(base: File, own: File) -> File:
    """`base` with what `own` says instead: setting by setting for a model; a model that is null is removed.

    A price replaces the former one whole, tiers included: half of one price list and half of another is none.
    """
    models = dict(base.models)
    for name, row in own.models.items():
        before = dict(models.get(name) or {})
        if row is not None and {"usd_per_1k", "usd_per_1m"} & row.keys():
            before = {key: value for key, value in before.items() if key not in ("usd_per_1k", "usd_per_1m", "tiers")}
        models[name] = {**before, **({"removed": True} if row is None else row)}
    providers = {**base.providers, **own.providers}
    return File(providers=providers, models=models, profiles=base.profiles, installs={**base.installs, **own.installs})


OWN_ALONE = ("provider", "wire", "removed")
"""What a stand-in does not take over from the model it stands for."""


def rows(file: File) -> Mapping[str, ModelRow]:
    """Every model, checked, stand-ins filled in from the model they stand for. Raises CatalogueError."""
    faults: list[str] = []
    checked: dict[str, ModelRow] = {}
    written = {name: row for name, row in file.models.items() if row is not None}
    for name, row in written.items():
        if row.keys() == {"removed"}:
            faults.append(f"the model {name} is removed, but the catalogue has none of that name: `hil models list` shows them")
            continue
        stands_for = row.get("as_if")
        if stands_for is not None and str(stands_for) not in written:
            faults.append(f"the model {name} stands for {stands_for!r}, which the catalogue does not have")
            continue
        if stands_for is not None and row.keys() & {"usd_per_1k", "usd_per_1m", "tiers"}:
            faults.append(f"the model {name} has a price and stands for {stands_for!r}, whose price it has: drop one of them")
            continue
        copied = {key: value for key, value in written.get(str(stands_for), {}).items() if key not in OWN_ALONE}
        try:
            checked[name] = ModelRow.model_validate({**copied, **row})
        except ValidationError as error:
            faults.extend(sentences(f"the model {name}", error))
    if faults:
        raise CatalogueError(faults)
    return checked


def _parsed(name: str, text: str) -> File:
    if not any(line.partition("#")[0].strip() for line in text.splitlines()):
        return File()  # a file that says nothing changes nothing
    try:
        written, _, faults = read_document(text, file=name, begin="begin it with `models:` or `profiles:`")
    except InvalidWorkflow as unreadable:
        raise CatalogueError(_said(name, unreadable.faults)) from None
    if faults:
        raise CatalogueError(_said(name, faults))
    try:
        return File.model_validate(written)
    except ValidationError as error:
        raise CatalogueError(sentences(f"the catalogue file {name}", error)) from None


def _said(name: str, faults: Sequence[Fault]) -> list[str]:
    return [f"the catalogue file {name}, line {fault.line}: {fault.message}: {fault.remedy}" for fault in faults]

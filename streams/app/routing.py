"""The router of this installation: its catalogue and what it can ask."""

from __future__ import annotations

from typing import Any

from agents.router.catalogue import Catalogue
from agents.router.installs import configured, reachable
from connectors.cli.ports import CannotGoOn
from connectors.cli.routing import Ground
from connectors.embeddings import EmbeddingsError, load_wordllama
from connectors.settings import Settings


def everything(settings: Settings) -> Ground:
    """The catalogue as it is written, as if every provider could be asked."""
    catalogue = Catalogue.load(settings.catalog)
    return Ground(catalogue, {model.provider for model in catalogue.models.values()})


def here(settings: Settings) -> Ground:
    """The catalogue with the profiles of this installation, and the providers its environment names."""
    catalogue, environ = Catalogue.load(settings.catalog), settings.environment()
    return Ground(configured(catalogue, environ), reachable(catalogue, environ))


def word_vectors(texts: list[str]) -> Any:
    """One vector a text, made without a network. Raises CannotGoOn when the extra `embedded` is not installed."""
    try:
        vectors, _ = load_wordllama()
    except EmbeddingsError as error:
        raise CannotGoOn(str(error)) from error
    return vectors.embed(texts)

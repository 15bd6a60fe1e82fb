"""Finds out which models an endpoint of one's own (HIL_LLM_BASE_URL) has, where nobody names them or the names may be wrong."""

from __future__ import annotations

from dataclasses import replace

from agents.router.catalogue import Catalogue
from agents.router.installs import NAMED, chosen_of
from connectors.llm.discovery import NotListed, models_at
from connectors.llm.endpoint import NO_KEY, Endpoint
from connectors.settings import Settings

FEW = 8
STAND_IN = "rehearsal-"
ANY = "default"
"""Asked for where nothing is known: servers with one model take any name."""


async def with_named_models(settings: Settings, catalogue: Catalogue) -> tuple[Settings, list[str]]:
    """`settings` with a model for each profile, and what to tell whoever starts. Asks the endpoint once. Never raises for it."""
    if not settings.llm_base_url:
        return settings, []
    url = settings.llm_base_url
    try:
        there = await models_at(Endpoint("local", url, settings.llm_api_key or NO_KEY))
    except NotListed as why:
        return _in_the_dark(settings, str(why))
    if any(name.startswith(STAND_IN) for name in there):
        return settings, []
    shown = ", ".join(there[:FEW]) + (f" and {len(there) - FEW} more" if len(there) > FEW else "")
    missing = {profile: name for profile, name in settings.models.items() if there and name not in there}
    words = [
        f"the endpoint {url} has no model {name}, which HIL_MODEL_{profile.upper()} names: it has {shown}"
        for profile, name in missing.items()
    ]
    if settings.models:
        return settings, words
    chosen = chosen_of(there, catalogue)
    if not chosen:
        return _in_the_dark(settings, "it lists no model that answers in words")
    told = "; ".join(f"{profile}: {name}" for profile, name in chosen.items())
    one = f"model {next(iter(chosen.values()))} serves every profile" if len(set(chosen.values())) == 1 else told
    note = f"{url}: {one}. To choose others, set {', '.join(f'HIL_MODEL_{profile.upper()}' for profile in NAMED)} ({shown})"
    return replace(settings, models=chosen), [note]


def _in_the_dark(settings: Settings, why: str) -> tuple[Settings, list[str]]:
    words = f"the endpoint {settings.llm_base_url} does not say which models it has ({why})"
    if settings.models:
        return settings, [f"{words}: calls ask for {', '.join(dict.fromkeys(settings.models.values()))}"]
    note = f"{words}: calls ask for `{ANY}`. Set HIL_MODEL_FAST to the name of a model it has"
    return replace(settings, models=dict.fromkeys(NAMED, ANY)), [note]

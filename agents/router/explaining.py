"""What the router says when nobody can answer: every model with its reason, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from agents.router.routing import LeftOut


def nothing_fits(profile: str, left_out: Sequence[LeftOut], waits: Sequence[float]) -> str:
    """Nobody was asked. `waits`: seconds until a model may be asked again, if any may."""
    reasons = _listed(left_out)
    if waits:
        return f"no model of the profile {profile} may be asked just now: {reasons}. Try again in {max(1, round(min(waits)))} s."
    return (
        f"no model of the profile {profile} can take this call: {reasons}. "
        "Say less, raise the limit, choose another model_profile, or configure a provider for one of them."
    )


def all_failed(profile: str, failed: Sequence[tuple[str, str]], left_out: Sequence[LeftOut]) -> str:
    """Everybody who could be asked has failed."""
    said = "; ".join(f"{model}: {message}" for model, message in failed)
    if len(failed) == 1 and not left_out:
        return failed[0][1]
    rest = f" Not asked: {_listed(left_out)}." if left_out else ""
    return f"no model of the profile {profile} has answered: {said}.{rest}"


def unknown_profile(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(dict.fromkeys(known))}."
    return f"there is no model profile {name!r}. {hint}"


def _listed(left_out: Sequence[LeftOut]) -> str:
    return "; ".join(f"{each.model}: {each.reason}" for each in left_out) or "it lists none"

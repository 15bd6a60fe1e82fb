"""Everything that is wrong with a catalogue or its profiles, told at once."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError


class CatalogueError(ValueError):
    """The catalogue cannot be used. One sentence a fault, each with the way out."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def sentences(what: str, error: ValidationError) -> list[str]:
    """The faults that pydantic found in `what`, one sentence each."""
    made: list[str] = []
    for fault in error.errors(include_url=False, include_context=False, include_input=True):
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            made.append(f"{what} has no setting `{where}`: see docs/guides/router.md for those there are")
        elif fault["type"] == "missing":
            made.append(f"{what} needs `{where}`")
        else:
            shown = str(fault["input"])[:80]
            made.append(f"{what}: `{where}` is {shown!r}: {fault['msg'][:1].lower()}{fault['msg'][1:]}")
    return made

"""Ids that come from their cause: the same parts always give the same id."""

from __future__ import annotations

from uuid import UUID, uuid5

NAMESPACE = UUID("6f1c1f8e-53b6-5d0a-9d6e-4a7b4c0c7a11")


def derive(*parts: str | int) -> str:
    """uuid5 (RFC 9562) over the parts, in order. A part that contains the separator cannot imitate two parts."""
    return str(uuid5(NAMESPACE, "\x1f".join(str(part).replace("\x1f", "\x1f\x1f") for part in parts)))

"""Ids derived from their causes."""

from __future__ import annotations

from uuid import uuid5

from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import NAMESPACE, derive

PARTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.integers(), max_size=4)


@given(PARTS)
def test_an_id_is_the_standard_librarys_uuid5(parts: list[str | int]) -> None:
    name = "\x1f".join(str(part).replace("\x1f", "\x1f\x1f") for part in parts)
    assert derive(*parts) == str(uuid5(NAMESPACE, name))


def test_a_part_cannot_imitate_two() -> None:
    assert derive("a", "b") != derive("a\x1fb")

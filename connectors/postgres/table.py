"""A projected table: its columns, and how a later word about a row meets an earlier one.

Every merge rule is associative and the batch is folded by the same rules before it is written, so that the rows do not
depend on where batches begin and end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from connectors.postgres.values import clean_text, json_text, moment

Merge = Literal["last", "first", "least", "greatest"]
Row = Mapping[str, Any]
"""Column → value. Times are milliseconds, JSON values are Python values; a column that is absent or None says nothing."""

_TO_SQL: dict[str, Callable[[Any], Any]] = {"text": clean_text, "jsonb": json_text, "timestamptz": moment}
_SENT_AS = {"jsonb": "text"}
_MERGED: dict[Merge, Callable[[Any, Any], Any]] = {
    "last": lambda old, new: new,
    "first": lambda old, new: old,
    "least": min,
    "greatest": max,
}
_MERGED_SQL: dict[Merge, str] = {
    "last": "coalesce(excluded.{0}, t.{0})",
    "first": "coalesce(t.{0}, excluded.{0})",
    "least": "least(t.{0}, excluded.{0})",
    "greatest": "greatest(t.{0}, excluded.{0})",
}


@dataclass(frozen=True)
class Table:
    """A table and the one statement that writes any number of its rows."""

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    """Name → Postgres type, key columns first."""
    append_only: bool = False
    """A row is said once; a repeat of it changes nothing."""
    merges: Mapping[str, Merge] = field(default_factory=dict)
    """Columns that do not keep what was said last."""

    def key_of(self, row: Row) -> tuple[Any, ...]:
        return tuple(clean_text(row[name]) if self.columns[name] == "text" else row[name] for name in self.key)

    def merge(self, old: Row, new: Row) -> Row:
        """What both rows say together, in the order in which they were said."""
        if self.append_only:
            return old
        merged = dict(old)
        for name, value in new.items():
            if value is not None:
                before = merged.get(name)
                merged[name] = value if before is None else _MERGED[self.merges.get(name, "last")](before, value)
        return merged

    def arrays(self, rows: Iterable[Row]) -> list[list[Any]]:
        """One list a column, as the statement takes them."""
        kept = list(rows)
        return [_converted([row.get(name) for row in kept], _TO_SQL.get(kind)) for name, kind in self.columns.items()]

    @cached_property
    def statement(self) -> str:
        names = ", ".join(f'"{name}"' for name in self.columns)
        arrays = ", ".join(f"${at}::{_SENT_AS.get(kind, kind)}[]" for at, kind in enumerate(self.columns.values(), start=1))
        values = ", ".join(f'r."{name}"' + (f"::{kind}" if kind in _SENT_AS else "") for name, kind in self.columns.items())
        insert = f"INSERT INTO {self.name} AS t ({names}) SELECT {values} FROM unnest({arrays}) AS r ({names})"  # noqa: S608  # names are ours
        key = ", ".join(f'"{name}"' for name in self.key)
        if self.append_only:
            return f"{insert} ON CONFLICT ({key}) DO NOTHING"
        sets = ", ".join(
            f'"{name}" = ' + _MERGED_SQL[self.merges.get(name, "last")].format(f'"{name}"')
            for name in self.columns
            if name not in self.key
        )
        return f"{insert} ON CONFLICT ({key}) DO UPDATE SET {sets}"


def _converted(values: Sequence[Any], convert: Callable[[Any], Any] | None) -> list[Any]:
    if convert is None:
        return list(values)
    return [None if value is None else convert(value) for value in values]


def columns(**names_of: str) -> dict[str, str]:
    """type="a b c" → {a: type, b: type, c: type}, in order."""
    return {name: kind for kind, names in names_of.items() for name in names.split()}

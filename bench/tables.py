"""What the cases of the bench share: rows of figures, printed as tables and kept as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Table:
    """One case: what it is, its rows, and what to say about them."""

    case: str
    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, **row: Any) -> None:
        self.rows.append(row)

    def say(self, line: str) -> None:
        self.notes.append(line)

    def show(self) -> None:
        print(f"\n({self.case}) {self.title}")
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        cells = [[_shown(row.get(name)) for name in columns] for row in self.rows]
        widths = [max(len(name), *(len(line[at]) for line in cells)) for at, name in enumerate(columns)]
        for line in [columns, *cells]:
            first, *rest = (text.ljust(widths[0]) if at == 0 else text.rjust(widths[at]) for at, text in enumerate(line))
            print("   " + "  ".join([first, *rest]))
        for note in self.notes:
            print(f"   → {note}")

    def keep(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        body = {"case": self.case, "title": self.title, "rows": self.rows, "notes": self.notes, "machine": machine()}
        (RESULTS / f"{self.case}.json").write_text(json.dumps(body, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Enough to know whether two results may be compared. Load tells how much else was going on."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def best(rows: Sequence[dict[str, Any]], column: str) -> dict[str, Any]:
    """Of repetitions the fastest: what else the machine does only takes away."""
    return max(rows, key=lambda row: row[column])


def lowest(rows: Sequence[dict[str, Any]], column: str) -> dict[str, Any]:
    """Of repetitions the one with the lowest latency, for the same reason."""
    return min(rows, key=lambda row: row[column])


def ranges(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> dict[str, str]:
    """What the repetitions had, from the lowest to the highest: how far the one that is shown can be trusted."""
    return {
        f"{column} of rounds": f"{_shown(min(row[column] for row in rows))} to {_shown(max(row[column] for row in rows))}"
        for column in columns
    }


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

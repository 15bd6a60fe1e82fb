"""What many schedules came to; and the file that says it, from which a run that was interrupted goes on."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulation.schedule import Result

FORMAT = "hil-simulation"


class OfAnotherRun(Exception):
    """The file is not a summary that this run could go on with. In words."""


@dataclass
class Summary:
    schedules: int = 0
    answers: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    """By kind, that really happened."""
    with_faults: int = 0
    failures: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.schedules += 1
        self.answers += result.answers
        self.steps += result.steps
        self.virtual_s += result.seconds
        self.faults += result.faults
        self.with_faults += bool(result.faults)
        if result.failure is not None:
            self.failures.append(result)

    def merge(self, other: Summary) -> None:
        self.schedules += other.schedules
        self.answers += other.answers
        self.steps += other.steps
        self.virtual_s += other.virtual_s
        self.cpu_s += other.cpu_s
        self.faults += other.faults
        self.with_faults += other.with_faults
        self.failures += other.failures

    def text(self) -> str:
        """For people: one line, and one for each kind of fault."""
        first = (
            f"{self.answers:,} messages answered, {self.steps:,} steps, {self.virtual_s / 3600:,.1f} virtual hours, "
            f"{self.faults.total():,} faults in {self.with_faults:,} schedules, {len(self.failures)} failures"
        )
        return "\n".join([first, *(f"  {count:9,} {name}" for name, count in sorted(self.faults.items()))])


@dataclass
class Sweep:
    """A summary of the seeds [first, following), and how long it took by the clock on the wall, over all slices."""

    first: int
    following: int
    jobs: int = 1
    seconds: float = 0.0
    summary: Summary = field(default_factory=Summary)

    @classmethod
    def at(cls, path: Path | None, first: int, jobs: int) -> Sweep:
        """What there is already of a sweep from `first` on. Raises OfAnotherRun."""
        if path is None or not path.exists():
            return cls(first, first, jobs)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']!r}")
            if found["from"] != first:
                raise OfAnotherRun(
                    f"{path} summarises the seeds from {found['from']} on, and this run begins at {first}: "
                    f"say --from {found['from']} to go on with it, or name another file."
                )
            summary = Summary(
                found["schedules"],
                found["messages_answered"],
                found["steps"],
                found["virtual_hours"] * 3600,
                found["cpu_seconds"],
                Counter(found["faults"]),
                found["schedules_with_faults"],
                [Result(each["seed"], each["failure"], 0, 0.0, 0, Counter()) for each in found["failures"]],
            )
            return cls(first, found["to"], jobs, found["seconds"], summary)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OfAnotherRun(f"{path} is no summary of a simulation ({error!r}): name another file, or delete it.") from error

    def write(self, path: Path) -> None:
        """Replaces the file as a whole, so that one that was written stays readable."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".part")
        beside.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        beside.replace(path)

    def to_json(self) -> dict[str, Any]:
        summary = self.summary
        broken = len(summary.failures)
        return {
            "format": FORMAT,
            "from": self.first,
            "to": self.following,
            "schedules": summary.schedules,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(summary.cpu_s, 1),
            "jobs": self.jobs,
            "schedules_per_s": round(summary.schedules / self.seconds, 1) if self.seconds else None,
            "schedules_per_cpu_s": round(summary.schedules / summary.cpu_s, 1) if summary.cpu_s else None,
            "messages_answered": summary.answers,
            "steps": summary.steps,
            "virtual_hours": round(summary.virtual_s / 3600, 3),
            "schedules_with_faults": summary.with_faults,
            "faults": dict(sorted(summary.faults.items())),
            "verdicts": {"held": summary.schedules - broken, "broken": broken},
            "failures": [{"seed": each.seed, "failure": each.failure} for each in summary.failures],
        }

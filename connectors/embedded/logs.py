"""What a program that ended says in its log, turned into what to do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from connectors.embedded.errors import EmbeddedError, put_aside

TAIL_BYTES = 16_384
TELLING = ("FATAL", "PANIC", "ERROR", "Exception", "error:", "cannot", "could not")


def tail(log: Path) -> str:
    """The end of a log; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def mentions(phrases: Iterable[str], *logs: Path) -> bool:
    """Whether one of the phrases is in the end of one of the logs."""
    texts = [tail(log) for log in logs]
    return any(phrase in text for phrase in phrases for text in texts)


def describe_end(what: str, code: int, home: Path, data: Path, *logs: Path) -> EmbeddedError:
    """Why `what`, whose files lie in `home`, ended with `code`, as far as its logs tell, and what to do."""
    if mentions(["No space left on device"], *logs):
        return EmbeddedError(
            f"{what} ended: the disk that holds {data} is full. Free some space, or set HIL_DATA to another folder."
        )
    if mentions(["Permission denied", "AccessDeniedException"], *logs):
        return EmbeddedError(
            f"{what} ended: something in {home} belongs to another user ({_telling(logs)}). Give yourself access to it, or set "
            f"HIL_DATA to a folder of your own."
        )
    if mentions(["cannot act as user"], *logs):
        return EmbeddedError(f"{what}: {_telling(logs)}")
    if mentions(["Address already in use", "BindException"], *logs):
        return EmbeddedError(f"{what} ended: another program took its port meanwhile. Start again.")
    if code in (-9, 137):
        return EmbeddedError(
            f"{what} was killed, most likely because memory ran out: free some (about 700 MB are needed), start again."
        )
    return EmbeddedError(
        f"{what} ended with code {code}: {_telling(logs) or 'without a word'}\nMore is in {', '.join(map(str, logs))}. If "
        f"its data is damaged, {put_aside(home)}."
    )


def _telling(logs: Iterable[Path]) -> str:
    """The last line of the logs that names a fault, else the last line."""
    lines = [
        line.strip() for log in logs for line in tail(log).splitlines() if line.strip() and not line.startswith(("\tat", " "))
    ]
    faults = [line for line in lines if any(word in line for word in TELLING)]
    return (faults or lines or [""])[-1][:400]

"""How a command speaks: data on standard output, everything else on standard error, and errors that say what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import typer
from rich.console import Console

from connectors.cli.ports import CannotGoOn

T = TypeVar("T")

INTERRUPTED = 130


def out() -> Console:
    """For what was asked for. Wide when nobody watches, so that tables are not cut in a file."""
    return Console(width=None if sys.stdout.isatty() else 180, highlight=False)


def err() -> Console:
    """For progress and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def report(line: str) -> None:
    err().print(line, markup=False)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end. Ends the process with 1 and one sentence when it cannot go on, 130 after Ctrl-C."""
    return call(lambda: asyncio.run(work))


def call(work: Callable[[], T]) -> T:
    """`run`, for work that waits for nothing."""
    try:
        return work()
    except CannotGoOn as error:
        err().print(f"[bold red]error:[/] {_escape(str(error))}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err().print("stopped")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        raise typer.Exit(0) from None


def _escape(text: str) -> str:
    return text.replace("[", "\\[")

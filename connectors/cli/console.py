"""How a command speaks: data on standard output, everything else on standard error, and errors that say what to do.

All that a command says goes through here, and what others wrote (customers, models, tools, brokers) does nothing to the terminal:
control characters are shown, markup is text, passwords in addresses are hidden.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from connectors.cli.ports import CannotGoOn
from schemas.shown import masked, visible

T = TypeVar("T")

INTERRUPTED = 130


class _Careful(Console):
    """Shows the characters that would act, in whatever is printed: a style is no character. Text is no markup."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(visible(text, lines=True), **how)  # before anything is laid out by its width

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text, lines=True), segment.style)


def out() -> Console:
    """For what was asked for. Wide when nobody watches, so that tables are not cut in a file."""
    return _Careful(width=None if sys.stdout.isatty() else 180, highlight=False, markup=False, emoji=False)


def err() -> Console:
    """For progress and errors."""
    return _Careful(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def report(line: str) -> None:
    """One remark. Lines after its first are indented, so that none can pass for a remark of its own."""
    err().print(remark(line))


def remark(text: str) -> str:
    return masked(text).replace("\n", "\n  ")


def data(text: str, *, lines: bool = False) -> None:
    """To standard output, for other programs to read: JSON stays the same JSON, other text shows what would act.

    `lines`: it has several.
    """
    sys.stdout.write(visible(text, lines=lines) + "\n")
    sys.stdout.flush()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end. Ends the process with 1 and one sentence when it cannot go on, 130 after Ctrl-C."""
    return call(lambda: asyncio.run(work))


def call(work: Callable[[], T]) -> T:
    """`run`, for work that waits for nothing."""
    try:
        return work()
    except CannotGoOn as error:
        err().print(Text.assemble(("error:", "bold red"), " ", remark(str(error))))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err().print("stopped")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        raise typer.Exit(0) from None

"""How a process logs: one entry begins one line, whatever strangers wrote in it, and no password is in it."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from schemas.shown import masked, visible

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
CONTINUED = "\n  "


class CarefulFormatter(logging.Formatter):
    """Shows what would act on a terminal. What follows the first line of an entry, a traceback, is indented."""

    def format(self, record: logging.LogRecord) -> str:
        return careful(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        return visible(super().formatMessage(record))


def careful(text: str) -> str:
    """Text of several lines as one entry of a log."""
    return visible(masked(text), lines=True).rstrip("\n").replace("\n", CONTINUED)


def configure() -> None:
    """Warnings of ours go to standard error. aiokafka logs what it then retries, or raises where we put it into words."""
    handler = logging.StreamHandler()
    handler.setFormatter(CarefulFormatter(FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    sys.excepthook = unexpected


def unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A defect ends the process with its traceback, written as carefully as a log."""
    import traceback

    sys.stderr.write(careful("".join(traceback.format_exception(kind, error, trace))) + "\n")

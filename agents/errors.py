"""How a node fails. Each says what happens next; the message names the thing, the cause and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from agents.ports import ModelAttempt


class NodeFailure(Exception):
    """Raised by agents and ports. Never raised bare: choose one of the three below."""

    provider: str = ""
    model: str = ""
    """Who failed, for the books, when it was a model call. Set by `at`."""

    reached: bool = True
    """False when the failure came before anything outside was asked."""

    fault: str = ""
    """What the failure speaks of, when it says nothing about the agent: see schemas.events.NodeCompleted.fault."""

    attempts: tuple[ModelAttempt, ...] = ()
    """Every try at a model behind a failed model call, for the books. Read them with `attempts_of`."""

    def at(self, provider: str, model: str) -> Self:
        """Name the provider and model that failed."""
        self.provider, self.model = provider, model
        return self


class Retryable(NodeFailure):
    """May succeed later. The node is attempted again, a bounded number of times."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Park(NodeFailure):
    """Only a person can go on: becomes a human task."""

    def __init__(self, message: str, *, details: object = None) -> None:
        super().__init__(message)
        self.details = details


class Fatal(NodeFailure):
    """Would fail again in the same way: the node has failed."""


def note_attempts(error: BaseException, attempts: tuple[ModelAttempt, ...]) -> None:
    """Let an error carry the tries that were made before it: also a cancellation, which is not ours to replace."""
    error.attempts = attempts  # type: ignore[attr-defined]  # an exception takes any attribute


def attempts_of(error: BaseException) -> tuple[ModelAttempt, ...]:
    """What `note_attempts` noted; empty when nothing was."""
    found: tuple[ModelAttempt, ...] = getattr(error, "attempts", ())
    return found

"""The least that each process must be allowed on a cluster that denies by default, and the commands that allow it. No I/O."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from schemas import topics
from schemas.topics import LEDGER_STATE, TASK_TOPICS, TOPICS, journal_of

TASKS = tuple(dict.fromkeys(TASK_TOPICS.values()))
JOURNALS = tuple(map(journal_of, TASKS))
SUMS = (topics.COSTS_ROLLUPS, topics.AGENT_HEALTH, topics.ALERTS)


@dataclass(frozen=True, slots=True)
class Rights:
    """What one kind of process reads and writes, beside what all of them do."""

    who: str
    read: tuple[str, ...]
    write: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Consumer groups."""
    transactions: str | None = None
    """Prefix of its transactional ids."""


RIGHTS = (
    Rights(
        "intake",
        (topics.CUSTOMER_MESSAGES, topics.INTAKE_POSITIONS),
        (topics.CONVERSATION_EVENTS, topics.INTAKE_POSITIONS),
        ("hil.intake",),
    ),
    Rights(
        "conversations",
        (topics.CONVERSATION_EVENTS, topics.CONVERSATION_STATE),
        (
            topics.CONVERSATION_EVENTS,
            topics.CONVERSATION_STATE,
            topics.WORKFLOW_EVENTS,
            topics.CUSTOMER_RESPONSES,
            topics.HUMAN_TASKS,
            *TASKS,
        ),
        ("hil.conversations",),
        "hil.conversations-",
    ),
    Rights(
        "nodes",
        (*TASKS, *JOURNALS, topics.AGENT_HEALTH),
        (
            *JOURNALS,
            topics.CONVERSATION_EVENTS,
            topics.ROUTING_DECISIONS,
            topics.ACTION_USAGE,
            topics.ALERTS,
            topics.BUDGET_NOTICES,
        ),
        tuple(f"hil.{topic}" for topic in TASKS),
        "hil.node.tasks.",
    ),
    Rights(
        "ledger",
        (*topics.LEDGER_SOURCES, *LEDGER_STATE, topics.BUDGET_NOTICES, *SUMS),
        (*LEDGER_STATE, *SUMS),
        ("hil.ledger",),
        "hil.ledger-",
    ),
    Rights(
        "projector",
        (
            topics.WORKFLOW_EVENTS,
            topics.ROUTING_DECISIONS,
            topics.ACTION_USAGE,
            topics.HUMAN_TASKS,
            topics.DEAD_LETTERS,
            *SUMS,
        ),
        groups=("hil.projector",),
    ),
)
"""One for each processor. What people and customers' programs need is in docs/trust.md."""


def commands(rights: Rights, *, principal: str, bootstrap: str) -> Iterator[str]:
    """The kafka-acls commands that allow `principal` to be this processor."""
    begin = ("kafka-acls", "--bootstrap-server", bootstrap, "--add", "--allow-principal", principal)

    def allow(operations: tuple[str, ...], *resource: str) -> str:
        asked = [part for operation in operations for part in ("--operation", operation)]
        return shlex.join((*begin, *asked, *resource))

    yield allow(("Describe", "DescribeConfigs"), *_each("--topic", tuple(TOPICS)))
    yield allow(("Read",), *_each("--topic", (*rights.read, topics.WORKFLOW_DEFINITIONS)))
    yield allow(("Write",), *_each("--topic", (*rights.write, topics.DEAD_LETTERS)))
    if rights.groups:
        yield allow(("Read",), *_each("--group", rights.groups))
    if rights.transactions is not None:
        prefix = ("--transactional-id", rights.transactions, "--resource-pattern-type", "prefixed")
        yield allow(("Write", "Describe"), *prefix)


def _each(option: str, names: tuple[str, ...]) -> list[str]:
    return [part for name in dict.fromkeys(names) for part in (option, name)]

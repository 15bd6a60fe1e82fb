"""The rights that are printed are those of docs/trust.md, and leave no topic without a writer."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from connectors.kafka.rights import RIGHTS, Rights, commands
from schemas.topics import TOPICS
from streams.app.processors import ALL

TRUST = Path(__file__).parents[3] / "docs" / "trust.md"
BY_OTHERS = {"customer.messages", "workflow.definitions", "dead-letters"}
"""Customers write it; operators; everybody, so that it is in nobody's list."""


def test_every_processor_has_its_rights_and_every_topic_a_writer():
    assert tuple(rights.who for rights in RIGHTS) == ALL
    assert {topic for rights in RIGHTS for topic in rights.write} == TOPICS.keys() - BY_OTHERS


@pytest.mark.parametrize("rights", RIGHTS, ids=lambda rights: rights.who)
def test_the_table_says_the_same(rights: Rights):
    [row] = [line for line in TRUST.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {rights.who} | `")]
    _, _, read, write, groups, ids, _ = (cell.strip() for cell in row.split("|"))
    assert named(read) == set(rights.read)
    assert named(write) | (set(rights.read[:2]) if write.startswith("both") else set()) == set(rights.write)
    assert {group.replace("hil.", "", 1) for group in rights.groups} <= named(groups.replace("hil.", "")) | {rights.who}
    assert ids.strip("`") == (rights.transactions or "")


def named(cell: str) -> set[str]:
    """The topics a cell names, `*` at the end of a name for all that begin so."""
    found = set()
    for name in re.findall(r"`([^`]+)`", cell):
        found |= {topic for topic in TOPICS if topic.startswith(name[:-1])} if name.endswith("*") else {name}
    return found


def test_each_command_is_one_that_a_shell_takes_apart_again():
    [first, *rest] = commands(RIGHTS[1], principal="User:CN=conversations, O=Shop", bootstrap="kafka:9092")
    assert shlex.split(first)[:6] == [
        "kafka-acls",
        "--bootstrap-server",
        "kafka:9092",
        "--add",
        "--allow-principal",
        "User:CN=conversations, O=Shop",
    ]
    assert len(rest) == 4
    assert shlex.split(rest[-1])[-4:] == ["--transactional-id", "hil.conversations-", "--resource-pattern-type", "prefixed"]

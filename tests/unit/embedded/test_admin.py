"""What `hil topics check` finds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.kafka.admin import CHANGELOGS, Described, KafkaUnreachableError, create_topics, mismatches
from schemas.topics import (
    ACTION_USAGE,
    CONVERSATION_EVENTS,
    CONVERSATION_STATE,
    INTAKE_POSITIONS,
    LEDGER_ACTIONS,
    MAX_MESSAGE_BYTES,
    TOPICS,
    WORKFLOW_DEFINITIONS,
)


def as_made() -> dict[str, Described]:
    """All topics as create_topics makes them, with 4 partitions."""
    return {
        topic.name: Described(
            1 if topic.single_partition else 4, {"cleanup.policy": topic.cleanup, "max.message.bytes": str(MAX_MESSAGE_BYTES)}
        )
        for topic in TOPICS.values()
    }


def test_topics_as_made_have_no_faults() -> None:
    """Or nobody would read the list."""
    assert mismatches(TOPICS, as_made()) == []


def test_a_missing_topic_is_told_with_the_command_that_makes_it() -> None:
    """There is no auto-creation."""
    there = as_made()
    del there[CONVERSATION_EVENTS]
    assert mismatches(TOPICS, there) == [f"topic {CONVERSATION_EVENTS} is missing: type `hil topics create`"]


@pytest.mark.parametrize("changelog", CHANGELOGS)
def test_a_changelog_must_follow_its_topic_partition_by_partition(changelog: str) -> None:
    """State is restored from the partition with the same number."""
    there = as_made()
    there[changelog] = replace(there[changelog], partitions=3)
    (fault,) = mismatches(TOPICS, there)
    assert fault.startswith(f"topic {changelog} has 3 partitions and {CHANGELOGS[changelog]}, which it follows, has 4")


def test_the_ledgers_sources_must_have_as_many_partitions_as_each_other() -> None:
    """Partition n of all three goes to one worker."""
    there = as_made()
    for name in (ACTION_USAGE, LEDGER_ACTIONS):
        there[name] = replace(there[name], partitions=6)
    (fault,) = mismatches(TOPICS, there)
    assert f"{ACTION_USAGE} has 6" in fault
    assert "the ledger needs as many of each" in fault


def test_every_state_topic_has_a_topic_it_follows() -> None:
    """A new changelog must be added to the check."""
    assert {name for name, topic in TOPICS.items() if topic.encoding == "state"} == {*CHANGELOGS, INTAKE_POSITIONS}


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        (CONVERSATION_STATE, {"cleanup.policy": "delete"}, "has cleanup.policy delete, needs compact"),
        (CONVERSATION_EVENTS, {"cleanup.policy": "compact"}, "has cleanup.policy compact, needs delete"),
        (CONVERSATION_EVENTS, {"max.message.bytes": "1048588"}, "takes messages of up to 1048588 bytes"),
    ],
)
def test_a_setting_that_breaks_a_promise_is_told(name: str, config: dict[str, str], words: str) -> None:
    """State that is deleted by age is state that is lost."""
    there = as_made()
    there[name] = replace(there[name], config={**there[name].config, **config})
    (fault,) = mismatches(TOPICS, there)
    assert words in fault


def test_the_operators_retention_is_not_a_fault() -> None:
    """How long to keep records is theirs to say."""
    there = as_made()
    there[CONVERSATION_EVENTS] = replace(
        there[CONVERSATION_EVENTS], config={**there[CONVERSATION_EVENTS].config, "retention.ms": "1"}
    )
    assert mismatches(TOPICS, there) == []


def test_a_topic_that_is_read_in_one_order_has_one_partition() -> None:
    """Definitions are read by everyone from beginning to end."""
    there = as_made()
    there[WORKFLOW_DEFINITIONS] = replace(there[WORKFLOW_DEFINITIONS], partitions=4)
    (fault,) = mismatches(TOPICS, there)
    assert "needs exactly 1" in fault


async def test_a_broker_that_is_not_there_is_told_with_the_ways_out() -> None:
    """Not as a stack trace."""
    with pytest.raises(KafkaUnreachableError, match=r"No Kafka answers at 127.0.0.1:9: start it, .*HIL_KAFKA_BOOTSTRAP"):
        await create_topics("127.0.0.1:9", partitions=1)

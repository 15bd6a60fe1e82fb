"""Whatever lies on a processor's topic: it is handled, or refused in words that become a dead letter. Nothing else is raised."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ports import AgentResult
from schemas import topics
from schemas.codec import decode, decode_inbound
from schemas.codec.registry import current, event_types
from schemas.events import DeadLetter
from streams.app.gateway import seen
from streams.conversations import Conversations
from streams.deadletters import dead_letter
from streams.intake import Admission, Intake
from streams.ledger.alerting import alerts
from streams.ledger.overseer import Watch
from streams.ledger.standing import Limits, health
from streams.nodes import Nodes
from streams.runtime import Outgoing, Record, SetAside, Undecodable
from tests.support.garbage import kinds
from tests.support.steps import FakeStep, FakeView
from tests.unit.ledger.test_counter import Desk
from tests.unit.processors import test_conversations, test_nodes

NOW_MS = 1_800_000_000_000
HEADS = [b"\xc3\x01" + current(model).fingerprint for model in event_types().values()]
NAMES = ["ce_type", "ce_id", "content-type", "CE_TYPE", "x-original-topic", "x-original-offset"]
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["ce_type", "ce_id", "content-type", "CE_TYPE", "x-original-topic", "x-original-offset"])
        | st.text(max_size=8),
        st.none() | st.binary(max_size=30) | st.sampled_from([name.encode() for name in event_types()]),
    ),
    max_size=6,
)
VALUES = (
    st.none()
    | st.binary(max_size=300)
    | st.builds(lambda head, rest: head + rest, st.sampled_from(HEADS), st.binary(max_size=200))
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)


def records(topic: str) -> list[Record]:
    return [
        Record(
            topic,
            0,
            at,
            NOW_MS if piece.timestamp_ms is None else piece.timestamp_ms,
            piece.key,
            piece.value,
            tuple((str(name), value) for name, value in piece.headers),  # type: ignore[misc]  # aiokafka has None for no value
        )
        for at, piece in enumerate(kinds(b"c"))
    ]


async def handled(processor: Any, given: Sequence[Record]) -> int:
    """How many were; every other one was refused."""
    count, refusals = 0, list[tuple[str, str]]()
    for record in given:
        try:
            await processor.handle(record, FakeStep())
            count += 1
        except SetAside:
            count += 1  # it waits for a definition, with nobody waiting for it
        except Undecodable as refused:
            refusals.append((refused.code, refused.reason))
    assert all(code and reason for code, reason in refusals)
    return count


async def test_intake_handles_or_refuses_whatever_customers_send():
    intake = Intake(test_conversations.definitions(), Admission("w"), clock_ms=lambda: NOW_MS)
    await handled(intake, records(topics.CUSTOMER_MESSAGES))


async def test_the_reducer_is_asked_only_about_events():
    """Events with numbers and texts at the ends of their types are decided about, or they have no room in what is decided."""
    processor = Conversations(test_conversations.definitions(), clock_ms=lambda: NOW_MS)
    processor.opened(FakeView({}))
    given = [record for record in records(topics.CONVERSATION_EVENTS) if not _extreme(record)]
    await handled(processor, given)
    processor.closed(0)


def _extreme(record: Record) -> bool:
    return b"9223372036854775807" in (record.value or b"")


async def test_an_agent_is_asked_only_about_tasks():
    async def never(work: Any, model: Any, tools: Any) -> AgentResult:
        raise AssertionError("the agent was asked")

    nodes = Nodes(test_nodes.definitions(), test_nodes.Workshop(never), clock_ms=lambda: NOW_MS)
    for topic in topics.TASK_TOPICS.values():
        await handled(nodes, records(topic))


@pytest.mark.parametrize("topic", topics.LEDGER_SOURCES)
def test_the_ledger_counts_or_writes_a_letter(topic: str):
    desk = Desk()
    given = records(topic)
    for record in given:
        desk.counter.count(record)
    assert desk.counter.open[0].due[topic] == len(given)
    assert len(desk.letters()) > len(given) // 2


async def test_the_overseer_takes_in_whatever_can_be_read():
    watch = Watch("nobody.invalid:1", [topics.COSTS_ROLLUPS])
    await watch.stop()
    for record in records(topics.COSTS_ROLLUPS):
        with suppress(ValueError):  # as `read` does
            watch._take(decode(record.value, record.headers), record.key)
    watch.forget(NOW_MS)
    list(health(watch.standing, watch.health, NOW_MS))
    list(alerts(watch.standing, [Limits("w", 1, 1)], watch.health.values(), watch.alerts, NOW_MS, watch.notices))


@given(VALUES, HEADERS, st.none() | st.binary(max_size=40), st.integers(-1, 2**62))
def test_any_record_is_read_or_refused_and_its_letter_can_be_written_and_read(
    value: bytes | None, headers: list[tuple[str, bytes | None]], key: bytes | None, timestamp_ms: int
):
    record = Record(topics.CUSTOMER_MESSAGES, 0, 0, timestamp_ms, key, value, tuple(headers))  # type: ignore[arg-type]
    letters: list[tuple[str, DeadLetter]] = []
    for read in (decode, decode_inbound):
        try:
            read(value, headers)
        except Undecodable as refused:
            letters.append((refused.code, letter_of(dead_letter(record, "hil.intake", refused.code, refused.reason, 1))))
    assert all((letter.code, letter.payload_bytes) == (code, len(value or b"")) for code, letter in letters)
    for topic in (topics.CUSTOMER_MESSAGES, topics.WORKFLOW_EVENTS):
        assert seen(Record(topic, 0, 0, timestamp_ms, key, value, tuple(headers))).offset == 0  # type: ignore[arg-type]


def letter_of(out: Outgoing) -> DeadLetter:
    event = decode(out.value, out.headers)
    assert isinstance(event, DeadLetter)
    return event

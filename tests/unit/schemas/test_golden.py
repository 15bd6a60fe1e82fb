"""One fixed instance of each event, and the bytes it was first written as. The wire only grows: these files never change.

After a schema grew, `python tests/unit/schemas/test_golden.py` adds the files of the new version; the old ones stay.
"""

from __future__ import annotations

import json
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from avro.io import BinaryDecoder, DatumReader
from avro.schema import parse

from schemas import events
from schemas.base import Event
from schemas.codec import Encoding, decode, decode_inbound, encode
from schemas.codec.registry import by_fingerprint, current, event_types

FOLDER = Path(__file__).parent / "golden"
COMMON = {"id": "7d1c1a52-93a5-5a53-9e5f-0d6c8f1b2a34", "time_ms": 1_795_449_600_123, "conversation_id": "conv-ü-1"}
RUN = {"run_id": "5a0f3b86-1c1e-5d55-8a0a-6a1d8f0c9b77", "node_id": "classify_intent"}
EXECUTION = {**RUN, "execution_id": "0e3a1f66-8a43-5f0b-9f0c-4d1b7f9e2c11"}
CAUSE = {"cause_id": "c2f0a0de-51c1-5f9c-b7e8-2f3d4a5b6c7d"}
PINNED = {"workflow": "customer_support_advanced", "version": "2.0.0", "digest": "ab" * 32}
ANSWER = {"intent": "order_status", "confidence": 0.92, "entities": {"order_id": "1001"}}

INSTANCES: tuple[Event | events.InboundMessage, ...] = (
    events.InboundMessage(
        text="Where is order 1001? 🙂\u0000",
        conversation_id="conv-ü-1",
        message_id="m-1",
        customer_id="c-9",
        context={"vip": True, "tags": [1, None]},
    ),
    events.MessageReceived(
        **COMMON,
        **PINNED,
        message_id="m-1",
        text="Where is order 1001?",
        customer_email="a@example.com",
        origin="customer.messages-0-7",
        produced_ms=1_795_449_599_000,
        rules=1,
    ),
    events.NodeCompleted(
        **COMMON,
        **EXECUTION,
        attempt=1,
        epoch=0,
        outcome=events.Outcome.OK,
        output=ANSWER,
        cost_micro_usd=1_234,
        models=["small"],
        steps=[{"thought": "…"}],
    ),
    events.NodeBegun(**COMMON, **EXECUTION, attempt=2, epoch=0, waited_ms=1_500),
    events.TimerFired(**COMMON, timer_id="retry-1", due_ms=1_795_449_601_000),
    events.CancelRequested(**COMMON, run_id=RUN["run_id"], reason="asked for twice", requested_by="ann"),
    events.RerunRequested(
        **COMMON,
        **PINNED,
        rerun_of="r-1",
        from_node="assemble_response",
        message_id="m-1",
        ordinal=1,
        text="Where is order 1001?",
        nodes=[events.ReusedNode(node_id="classify_intent", status="executed", output=ANSWER)],
        rules=1,
    ),
    events.RunStarted(
        **COMMON,
        **CAUSE,
        **PINNED,
        run_id="r-1",
        message_id="m-1",
        ordinal=1,
        text="Where is order 1001?",
        context={"locale": "de"},
    ),
    events.NodeRequested(**COMMON, **CAUSE, **EXECUTION, agent="simple_intent_classifier", attempt=2),
    events.NodeFinished(
        **COMMON, **CAUSE, **RUN, status=events.NodeStatus.EXECUTED, output=ANSWER, tools=["shopify.get_order"], duration_ms=12
    ),
    events.RunFinished(
        **COMMON,
        **CAUSE,
        run_id="r-1",
        message_id="m-1",
        ordinal=2,
        workflow="w",
        version="1.0.0",
        status="completed",
        text="On its way.",
        executed=["a"],
        state_digest="1:0123456789abcdef",
    ),
    events.MessageSetAside(**COMMON, **CAUSE, run_id="", reason="queued", message_id="m-2"),
    events.ConversationExpired(**COMMON, **CAUSE, run_id="-", idle_ms=1_795_449_600_000, ordinal=1_795_449_590_004),
    events.CustomerResponse(
        **COMMON,
        message_id="m-1",
        run_id="r-1",
        status="completed",
        text="On its way.",
        outputs={"classify_intent": ANSWER},
        cost_usd=Decimal("0.012345"),
        duration_ms=1_500,
        trace=[
            events.TraceEntry(
                node="classify_intent", agent="simple_intent_classifier", status="executed", cost_usd=Decimal("0.000001")
            )
        ],
        metadata={"agents": []},
    ),
    events.HumanTask(**COMMON, **RUN, reason="The refund is larger than the policy allows.", details={"amount": "99.00"}),
    events.NodeTask(
        **COMMON,
        **EXECUTION,
        attempt=1,
        epoch=3,
        agent="a",
        workflow="w",
        digest="d",
        ordinal=1,
        input={"text": "x"},
        context={},
        outputs={},
        announce=True,
    ),
    events.ModelCalled(
        **COMMON,
        **EXECUTION,
        attempt=1,
        workflow="w",
        agent="a",
        profile="fast",
        provider="local",
        model="small",
        success=True,
        cost_micro_usd=7,
    ),
    events.ActionUsed(
        **COMMON,
        **EXECUTION,
        attempt=1,
        workflow="w",
        app="shopify",
        action="get_order",
        success=False,
        error="order 1001 is unknown",
        latency_ms=3,
    ),
    events.WorkflowPublished(
        id="p-1",
        time_ms=0,
        name="w",
        version="1.0.0",
        digest="d",
        source="name: w\n",
        definition={"name": "w"},
        agent_types={"a": "simple"},
    ),
    events.DeadLetter(
        **COMMON,
        processor="intake",
        topic="customer.messages",
        partition=3,
        offset=2**40,
        code="invalid_json",
        reason="…",
        headers={"h": "v"},
    ),
    events.DeadLetterSettled(**COMMON, letter_id="l-1", action="retried", record_key="conv-ü-1", by="ann"),
    events.RollupChanged(
        **{**COMMON, "conversation_id": ""},
        kind="calls",
        source_partition=3,
        last_offset=2**40,
        hour_ms=1_795_449_600_000,
        model="small",
        workflow="w@1.0.0",
        count=2,
        errors=1,
        cost_micro_usd=2**41,
        latency={"12": 2},
    ),
    events.AgentHealth(
        **{**COMMON, "conversation_id": ""},
        agent="a-ü",
        healthy=False,
        executions=20,
        failures=11,
        window_ms=86_400_000,
        since_ms=1_795_449_600_000,
        reason="11 of 20 failed",
    ),
    events.Alert(
        **{**COMMON, "conversation_id": ""},
        name="budget.daily.w",
        kind="budget",
        state="warning",
        message="$80.00 of $100.00",
        workflow="w",
        period="daily",
        spent_micro_usd=80_000_000,
        limit_micro_usd=100_000_000,
        threshold_permille=800,
        breaker="cooling",
        until_ms=1_795_449_600_000,
    ),
    events.BudgetNoticed(
        **{**COMMON, "conversation_id": ""},
        workflow="w",
        period="monthly",
        period_start_ms=1_795_449_600_000,
        level="exhausted",
        spent_micro_usd=2**41,
        limit_micro_usd=2**42,
    ),
)
CASES = [pytest.param(event, encoding, id=f"{event.TYPE}-{encoding}") for event in INSTANCES for encoding in ("avro", "json")]


def golden(event: Event | events.InboundMessage, encoding: Encoding) -> Path:
    return FOLDER / f"{event.TYPE}.{current(type(event)).fingerprint.hex()}.{encoding}"


def read(value: bytes, headers: Any) -> Event | events.InboundMessage:
    return decode_inbound(value, headers) if dict(headers)["ce_type"] == b"hil.customer.message" else decode(value, headers)


def test_every_event_type_has_a_golden_instance() -> None:
    assert [event.TYPE for event in INSTANCES] == list(event_types())


@pytest.mark.parametrize(("event", "encoding"), CASES)
def test_an_event_is_written_as_the_bytes_it_was_first_written_as(event: Event, encoding: Encoding) -> None:
    assert encode(event, encoding=encoding)[0] == golden(event, encoding).read_bytes()


@pytest.mark.parametrize(("event", "encoding"), CASES)
def test_golden_bytes_are_read_as_the_event_they_were_written_from(event: Event, encoding: Encoding) -> None:
    headers = encode(event, encoding=encoding)[1]
    assert read(golden(event, encoding).read_bytes(), headers) == event


@pytest.mark.parametrize("file", sorted(FOLDER.glob("hil.*")), ids=lambda file: file.name)
def test_bytes_of_every_version_stay_readable(file: Path) -> None:
    """Also the files whose fingerprint is no longer the current one."""
    kind, fingerprint, _ = file.name.rsplit(".", 2)
    original = next(event for event in INSTANCES if kind == event.TYPE)
    read_again = read(file.read_bytes(), [("ce_type", kind.encode())])
    assert by_fingerprint(bytes.fromhex(fingerprint)) is not None
    assert read_again.conversation_id == original.conversation_id


@pytest.mark.parametrize("event", INSTANCES, ids=lambda event: event.TYPE)
def test_another_avro_library_reads_the_same_values(event: Event) -> None:
    """Apache's own `avro`, given the checked-in schema, agrees on every plain field."""
    schema = (Path(__file__).parents[3] / "schemas" / "avro" / f"{event.TYPE}.avsc").read_text(encoding="utf-8")
    record = DatumReader(parse(schema)).read(BinaryDecoder(BytesIO(encode(event, encoding="avro")[0][10:])))
    for field in json.loads(schema)["fields"]:
        value, read_there = getattr(event, field["name"]), record[field["name"]]
        as_json = isinstance(field["type"], dict) and field["type"].get("hil.json")
        if field["name"] not in ("trace", "nodes"):
            assert (json.loads(read_there) if as_json else read_there) == value, field["name"]


if __name__ == "__main__":
    for instance in INSTANCES:
        for chosen in ("avro", "json"):
            if not golden(instance, chosen).exists():
                golden(instance, chosen).write_bytes(encode(instance, encoding=chosen)[0])

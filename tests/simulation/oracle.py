"""What has to hold of every schedule: promises that are checked at each commit, and the outcome beside a sequential run."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from agents.prompts import prepare
from schemas.base import Event
from schemas.codec import decode
from schemas.events import (
    CustomerResponse,
    MessageReceived,
    MessageSetAside,
    ModelCalled,
    NodeCompleted,
    NodeTask,
    Outcome,
    RunFinished,
    TimerFired,
)
from schemas.ids import derive
from schemas.topics import journal_of
from streams.core.reducer import decide
from streams.core.state import Conversation, ConversationCodec, TimerKind
from streams.deadletters import dead_letter
from streams.definitions import Definitions
from streams.journal import ExecutionCodec
from streams.runtime import Record
from streams.runtime.noted import KEY as NOTE
from streams.runtime.noted import read
from streams.wire import outgoing
from tests.simulation.broker.broker import Broker
from tests.simulation.broker.log import Entry
from tests.simulation.desk import ACTS, NoMemory, Script, Shop, receipt
from tests.simulation.plan import Plan, Sending

IN_DOUBT = "it is unknown whether"
DECISIONS = ("workflow.events", "customer.responses", "human.tasks")
"""Topics that the conversations alone write to; with the tasks, all of their outputs."""


class Broken(AssertionError):
    """A promise that was not kept."""


@dataclass(slots=True)
class Fold:
    """A partition of conversation.events, folded in order by nobody but the oracle."""

    position: int = 0
    states: dict[str, Conversation] = field(default_factory=dict)
    encoded: dict[bytes, bytes] = field(default_factory=dict)
    """What the changelog has to say of each; `changed` is not in it yet."""
    changed: set[str] = field(default_factory=set)
    expected: dict[tuple[str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """(topic, id) → contents."""


class Oracle:
    def __init__(self, plan: Plan, broker: Broker, definitions: Definitions, shop: Shop) -> None:
        self._plan, self._broker, self._definitions, self._shop = plan, broker, definitions, shop
        self._history: dict[TopicPartition, list[Entry]] = defaultdict(list)
        """Every record ever written, whatever compaction does."""
        self._written: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        """(topic, id) → contents that were written."""
        self._folds: dict[int, Fold] = defaultdict(Fold)
        self._positions: dict[tuple[str, TopicPartition], int] = {}
        self._codec, self._executions = ConversationCodec(), ExecutionCodec()
        self._completed: dict[tuple[str, int], NodeCompleted] = {}
        self.outstanding = {(each.conversation, each.message) for each in plan.sendings if each.message is not None}
        self.broken: Broken | None = None
        self.parked_in_doubt: set[str] = set()
        self.cancelled: set[str] = set()
        """Runs that somebody asked to cancel. How they end depends on when."""
        self.answers = 0
        self._booked: dict[str, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        """Execution → attempt → id of a model call → its cost, as the log has it."""
        self._answered_calls: set[str] = set()

    # watching

    def appended(self, tp: TopicPartition, entry: Entry) -> None:
        self._history[tp].append(entry)
        if tp.topic in journal_topics or tp.topic == "customer.messages":
            return
        headers = dict(entry.headers)
        name = headers.get("ce_id", b"").decode()
        contents = self._written[tp.topic, name]
        new = not contents
        contents.add(entry.value or b"")
        if tp.topic == "customer.responses" and new:
            response = _read(entry)
            assert isinstance(response, CustomerResponse)
            self.outstanding.discard((response.conversation_id, response.message_id))
            self.answers += 1
        elif tp.topic == "llm.routing-decisions":
            self._book(_read(entry))
        elif tp.topic == "conversation.events" and new and headers.get("ce_type") == NodeCompleted.TYPE.encode():
            self._need_booked(_read(entry))

    def _book(self, call: Any) -> None:
        assert isinstance(call, ModelCalled)
        self._booked[call.execution_id][call.attempt][call.id] = call.cost_micro_usd
        if call.success:
            self._answered_calls.add(call.id)

    def _need_booked(self, completed: Any) -> None:
        """Whoever reads a completion finds the calls it has paid for in the log: its own, or those of the attempt it repeats."""
        attempts = self._booked[completed.execution_id]
        known = max((sum(calls.values()) for number, calls in attempts.items() if number <= completed.attempt), default=0)
        if known < completed.cost_micro_usd and self.broken is None:
            self.broken = Broken(
                f"{completed.node_id} says that it cost {completed.cost_micro_usd}, and the log has calls for {known}"
            )

    def committed(self, group: str, tp: TopicPartition, offset: int) -> None:
        """A position has become visible: everything before it must be finished, and durable."""
        try:
            self._committed(group, tp, offset)
        except Broken as broken:
            self.broken = self.broken or broken

    def _committed(self, group: str, tp: TopicPartition, offset: int) -> None:
        before = self._positions.get((group, tp), 0)
        _hold(offset >= before, f"{group} went back from {before} to {offset} on {tp}")
        self._positions[group, tp] = offset
        history = self._history[tp]
        _hold(offset <= len(history), f"{group} committed {offset} on {tp}, which ends at {len(history)}")
        passed = history[before:offset]
        if tp.topic == "customer.messages":
            for entry in passed:
                self._need_admitted(group, tp, entry)
        elif tp.topic == "conversation.events":
            self._need_decided(group, tp, offset)
        else:
            for entry in passed:
                self._need_completed(group, tp, entry)

    def transaction_ended(self, source: TopicPartition) -> None:
        """State and position of a partition have become visible together."""
        try:
            self._need_state(source)
        except Broken as broken:
            self.broken = self.broken or broken

    def _need_admitted(self, group: str, tp: TopicPartition, entry: Entry) -> None:
        sending = next((each for each in self._plan.sendings if each.value == entry.value), None)
        if sending is not None and sending.message is not None:
            name, topic = derive(sending.conversation, sending.message), "conversation.events"
        else:
            name, topic = derive(group, tp.topic, tp.partition, entry.offset), "dead-letters"
        _hold((topic, name) in self._written, f"{group} passed {tp} offset {entry.offset} and it is not in {topic}")

    def _need_decided(self, group: str, tp: TopicPartition, offset: int) -> None:
        for (topic, name), contents in self._fold(tp, offset).items():
            written = self._written.get((topic, name), set())
            _hold(
                bool(contents <= written),
                f"{group} committed {tp} up to {offset}, and {topic} has not got {name} "
                + ("as it was decided" if written else "at all"),
            )

    def _need_completed(self, group: str, tp: TopicPartition, entry: Entry) -> None:
        task = _read(entry)
        assert isinstance(task, NodeTask)
        name = derive(task.execution_id, task.attempt, "completed")
        later = any(
            ("conversation.events", derive(task.execution_id, attempt, "completed")) in self._written
            for attempt in range(task.attempt, task.attempt + 5)
        )
        _hold(later, f"{group} passed {tp} offset {entry.offset} ({task.node_id}) and its completion {name} is nowhere")

    def _need_state(self, source: TopicPartition) -> None:
        if source.topic == "conversation.events":
            position = self._positions.get(("hil.conversations", source), 0)
            self._fold(source, position)
            fold = self._folds[source.partition]
            found = dict(self._broker.log(TopicPartition("conversation-state", source.partition)).state)
            noted = read(found.pop(NOTE, None))
            at = 0 if noted is None else noted.position
            _hold(at == position, f"{source} is committed up to {position} and its changelog says {at}")
            for name in fold.changed:
                state = fold.states.get(name)
                if state is None:
                    fold.encoded.pop(name.encode(), None)
                else:
                    fold.encoded[name.encode()] = self._codec.encode(state)
            fold.changed.clear()
            if fold.position == position and found != fold.encoded:
                wrong = [key for key in fold.encoded.keys() | found.keys() if found.get(key) != fold.encoded.get(key)]
                for key in wrong:
                    state = found.get(key)
                    same = state is not None and self._codec.decode(state) == fold.states.get(key.decode())
                    _hold(same, f"the state of {key!r} is not what {source} up to {position} comes to")
            return
        position = self._positions.get((f"hil.{source.topic}", source), 0)
        if position:
            entry = self._history[source][position - 1]
            task = _read(entry)
            assert isinstance(task, NodeTask)
            log = self._broker.log(TopicPartition(journal_of(source.topic), source.partition))
            data = log.state.get(task.execution_id.encode())
            finished = data is not None and self._executions.decode(data).finished_attempt >= task.attempt
            finished = finished or self._attempted_again(source, position, task)  # whose journal has taken its place
            _hold(finished, f"{source} is committed up to {position} and the journal of {task.node_id} does not say so")

    def _attempted_again(self, source: TopicPartition, position: int, task: NodeTask) -> bool:
        key = task.execution_id.encode()
        return any(entry.key == key for entry in self._history[source][position:])

    # folding

    def _fold(self, tp: TopicPartition, offset: int) -> dict[tuple[str, str], set[bytes]]:
        """Advance the fold to an offset; returns what had to be put out on the way."""
        fold = self._folds[tp.partition]
        fresh: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        history = self._history[tp]
        while fold.position < offset:
            entry = history[fold.position]
            fold.position += 1
            event = _read(entry)
            if isinstance(event, NodeCompleted):
                self._completed.setdefault((event.execution_id, event.attempt), event)
                if event.outcome is Outcome.PARK and IN_DOUBT in (event.error or ""):
                    self.parked_in_doubt.add(event.execution_id)
            if isinstance(event, TimerFired):
                _need_begun(event, fold.states.get(event.conversation_id))
            decision = decide(fold.states.get(event.conversation_id), event, self._definitions.graphs)
            if decision.conversation is None:
                fold.states.pop(event.conversation_id, None)
            else:
                fold.states[event.conversation_id] = decision.conversation
            fold.changed.add(event.conversation_id)
            for output in decision.outputs:
                out = outgoing(output)
                fresh[out.topic, output.id].add(out.value or b"")
                if not isinstance(output, MessageSetAside):
                    known = fold.expected.get((out.topic, output.id))
                    _hold(
                        not known or out.value in known, f"{output.TYPE} {output.id} was decided twice, with different contents"
                    )
                fold.expected[out.topic, output.id].add(out.value or b"")
        return fresh

    # the end

    def at_rest(self) -> bool:
        """Everything is answered and every input is worked off."""
        if self.outstanding:
            return False
        broker = self._broker
        if broker.transactions.any_ending():
            return False
        for name, topic in broker.topics.items():
            group = GROUPS.get(name)
            if group is not None:
                for log in topic.logs:
                    if log.end and broker.groups.group(group).offsets.get(log.tp, 0) != log.end:
                        return False
        return not any(
            fold.position == len(self._history[TopicPartition("conversation.events", partition)])
            and any(state.timers or state.run or self._plan.ttl_s for state in fold.states.values())
            for partition, fold in self._folds.items()
        )

    def verdict(self) -> None:
        """Raises Broken. For a schedule that has come to rest."""
        if self.broken is not None:
            raise self.broken
        expected: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        for log in self._broker.topics["conversation.events"].logs:
            self._fold(log.tp, log.end)
            for where, contents in self._folds[log.tp.partition].expected.items():
                expected[where] |= contents
        task_topics = tuple(name for name in self._broker.topics if name.startswith("node.tasks."))
        for where in sorted({where for where in self._written if where[0] in (*DECISIONS, *task_topics)} | expected.keys()):
            written, decided = self._written.get(where, set()), expected.get(where, set())
            _hold(written == decided, f"{where[0]} {where[1]}: {_differs(written, decided)}")
        for log in self._broker.topics["conversation.events"].logs:
            self._need_state(log.tp)
            restored = self._broker.log(TopicPartition("conversation-state", log.tp.partition)).table()
            states = {key.decode(): self._codec.decode(data) for key, data in restored.items() if key != NOTE}
            _hold(
                states == self._folds[log.tp.partition].states, f"what a restore of {log.tp} finds is not what its log comes to"
            )
        self._check_letters()
        self._check_order()
        self._check_actions()
        self._check_calls()
        self._check_runs()

    def _check_calls(self) -> None:
        """No answer of a model is in the log under two names, whoever told it and however often."""
        found, made = len(self._answered_calls), self._shop.models["calls"]
        _hold(found <= made, f"the log has {found} answers of models, and {made} were given")
        if not self._plan.faults and len(self._plan.slots) == 1:
            _hold(found == made, f"nothing has gone wrong, and of {made} answers of models the log has {found}")

    def _check_letters(self) -> None:
        found = {where[1] for where in self._written if where[0] == "dead-letters"}
        allowed = {
            outgoing_id(log.tp, entry)
            for log in self._broker.topics["customer.messages"].logs
            for entry in self._history[log.tp]
            if not any(each.value == entry.value and each.message for each in self._plan.sendings)
        }
        _hold(
            found == allowed,
            f"dead letters {found - allowed or 'are missing'}: nothing but {len(allowed)} unreadable messages may be there",
        )

    def _check_order(self) -> None:
        """Messages of a conversation are admitted in the order in which they were sent."""
        sent: dict[str, list[str | None]] = defaultdict(list)
        for log in self._broker.topics["customer.messages"].logs:
            for entry in self._history[log.tp]:
                sending = next(each for each in self._plan.sendings if each.value == entry.value)
                sent[sending.conversation].append(sending.message)
        admitted: dict[str, list[str | None]] = defaultdict(list)
        for log in self._broker.topics["conversation.events"].logs:
            for entry in self._history[log.tp]:
                event = _read(entry)
                if isinstance(event, MessageReceived):
                    off_ms = event.time_ms - entry.timestamp
                    _hold(
                        abs(off_ms) < 300_000,
                        f"{event.message_id} was admitted {off_ms} ms from when it was: by its record's time",
                    )
                    admitted[event.conversation_id].append(event.message_id)
        for name, messages in admitted.items():
            first, asked = list(dict.fromkeys(messages)), list(dict.fromkeys(sent[name]))
            _hold(first == asked, f"{name} sent {asked} and was heard as {first}")

    def _check_actions(self) -> None:
        for name, times in self._shop.acted.items():
            _hold(times == 1, f"the shop was told {times} times to do {name}")
        for (_, attempt), completed in self._completed.items():
            if completed.outcome is Outcome.OK:
                for done in completed.output["receipts"]:
                    acts = done.rsplit("/", 1)[1] in ACTS
                    _hold(not acts or self._shop.acted[done] == 1, f"{done} is finished in attempt {attempt} and was never done")

    # the sequential run

    def _check_runs(self) -> None:
        ends: dict[tuple[str, str], list[Any]] = defaultdict(list)
        responses: dict[tuple[str, str], list[CustomerResponse]] = defaultdict(list)
        seen: set[str] = set()
        for log in self._broker.topics["workflow.events"].logs:
            for entry in self._history[log.tp]:
                event = _read(entry)
                if isinstance(event, RunFinished) and event.id not in seen:
                    seen.add(event.id)
                    ends[event.conversation_id, event.message_id].append(event)
        for log in self._broker.topics["customer.responses"].logs:
            for entry in self._history[log.tp]:
                event = _read(entry)
                assert isinstance(event, CustomerResponse)
                if event.id not in seen:
                    seen.add(event.id)
                    responses[event.conversation_id, event.message_id].append(event)
        asked = {(each.conversation, each.message): each for each in self._plan.sendings if each.message is not None}
        _hold(responses.keys() == asked.keys(), f"answered were {sorted(responses)}, asked were {sorted(asked, key=str)}")
        for where, sending in asked.items():
            _hold(len(responses[where]) == 1, f"{where} has {len(responses[where])} responses")
            _hold(len(ends[where]) == 1, f"{where} has {len(ends[where])} ends")
            if not self._plan.timed and ends[where][0].run_id not in self.cancelled:
                expected = sequential(sending, self._plan, self._definitions, self.parked_in_doubt, self._completed)
                found = _came_to(ends[where][0], responses[where][0])
                _hold(found == expected, f"{where} {_apart(found, expected)}")


def _read(entry: Entry) -> Event:
    """The event of a record, which is asked for in several places."""
    event: Event | None = entry.event
    if event is None:
        event = entry.event = decode(entry.value, entry.headers)
    return event


def _need_begun(fired: TimerFired, state: Conversation | None) -> None:
    """No attempt is given up on before a worker has begun it, however long its task has waited."""
    for timer in state.timers if state is not None else ():
        if timer.timer_id == fired.timer_id and timer.kind is TimerKind.ATTEMPT:
            assert state is not None
            assert state.run is not None
            node = state.run.nodes[timer.node_id]
            _hold(node.begun, f"attempt {node.attempt} of {timer.node_id} ran out of time, and nobody had begun it")


journal_topics = {"conversation-state", "node-journal.simple", "node-journal.reasoning"}
GROUPS = {
    "customer.messages": "hil.intake",
    "conversation.events": "hil.conversations",
    "node.tasks.simple": "hil.node.tasks.simple",
    "node.tasks.reasoning": "hil.node.tasks.reasoning",
}


def outgoing_id(tp: TopicPartition, entry: Entry) -> str:
    record = Record(tp.topic, tp.partition, entry.offset, entry.timestamp, entry.key, entry.value, tuple(entry.headers))
    return dict(dead_letter(record, "hil.intake", "", "", 1).headers)["ce_id"].decode()


def sequential(
    sending: Sending,
    plan: Plan,
    definitions: Definitions,
    in_doubt: Iterable[str],
    completed: Mapping[tuple[str, int], NodeCompleted],
) -> dict[str, Any]:
    """The same message alone: one event after the other, nothing lost, nothing late. In doubt is what was found in doubt."""
    workflow = definitions.resolve(sending.workflow)
    assert sending.message is not None
    received = MessageReceived(
        id=derive(sending.conversation, sending.message),
        time_ms=1000,
        conversation_id=sending.conversation,
        message_id=sending.message,
        text=sending.text,
        workflow=workflow.published.name,
        version=workflow.published.version,
        digest=workflow.published.digest,
        context={"die": sending.die},
    )
    waiting: deque[Event] = deque([received])
    state: Conversation | None = None
    end: RunFinished | None = None
    for _ in range(2000):
        if not waiting:
            break
        decision = decide(state, waiting.popleft(), definitions.graphs)
        state = decision.conversation
        for output in decision.outputs:
            if isinstance(output, NodeTask):
                waiting.append(_work(output, plan, definitions, in_doubt, completed))
            elif isinstance(output, RunFinished):
                end = output
            elif isinstance(output, CustomerResponse):
                assert end is not None
                return _came_to(end, output)
        if not waiting:
            waiting += [
                TimerFired(
                    id=derive(timer.timer_id, "fired"),
                    time_ms=timer.due_ms,
                    conversation_id=sending.conversation,
                    timer_id=timer.timer_id,
                    due_ms=timer.due_ms,
                )
                for timer in (state.timers if state is not None else ())
            ]
    raise Broken(f"alone, {sending.message} does not come to an end")


def _work(
    task: NodeTask,
    plan: Plan,
    definitions: Definitions,
    in_doubt: Iterable[str],
    completed: Mapping[tuple[str, int], NodeCompleted],
) -> NodeCompleted:
    fields: dict[str, Any] = {
        "id": derive(task.execution_id, task.attempt, "completed"),
        "time_ms": task.time_ms + 1,
        "conversation_id": task.conversation_id,
        "run_id": task.run_id,
        "node_id": task.node_id,
        "execution_id": task.execution_id,
        "attempt": task.attempt,
        "epoch": task.epoch,
    }
    found = completed.get((task.execution_id, task.attempt))
    if task.execution_id in in_doubt and found is not None and found.outcome is Outcome.PARK:
        return NodeCompleted(**fields, outcome=Outcome.PARK, error=found.error)
    workflow = definitions.by_digest(task.digest)
    assert workflow is not None
    node = next(node for node in workflow.definition.workflow.nodes if node.id == task.node_id)
    work = _finish(prepare(task, node, workflow.definition, NoMemory()))
    script = Script.of(str(plan.seed), work.node_id, work.instruction, work.customer_text)
    outcome = script.end_of(task.attempt)
    if outcome is not Outcome.OK:
        errors = {
            Outcome.RETRYABLE: "",
            Outcome.FATAL: "the agent cannot do this",
            Outcome.PARK: "the agent asks for a person",
        }
        return NodeCompleted(**fields, outcome=outcome, error=errors[outcome])
    tools = [(at, step) for at, step in enumerate(script.steps) if step != "model"]
    receipts = [receipt(task.execution_id, at, step) for at, step in tools]
    return NodeCompleted(**fields, outcome=outcome, output=script.output(task.node_id, receipts))


def _finish(coro: Any) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        coro.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def _came_to(end: RunFinished, response: CustomerResponse) -> dict[str, Any]:
    return {
        "status": end.status,
        "executed": sorted(end.executed),
        "skipped": sorted(end.skipped),
        "failed": sorted(end.failed),
        "attempts": {entry.node: entry.attempts for entry in response.trace},
        "outputs": dict(response.outputs),
        "text": sorted(response.text.split("\n\n")),
    }


def _apart(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    parts = [f"{name} is {found[name]}, alone {expected[name]}" for name in found if found[name] != expected[name]]
    return "comes to another end than alone: " + "; ".join(parts)


def _differs(written: set[bytes], decided: set[bytes]) -> str:
    if not decided:
        return "was written and never decided"
    return "was decided and never written" if not written else f"{len(written)} contents written, {len(decided)} decided"


def _hold(kept: bool, otherwise: str) -> None:
    if not kept:
        raise Broken(otherwise)

"""One schedule: the plan is carried out on real processors in simulated processes, then judged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.topics import INTAKE_POSITIONS, TOPICS, journal_of
from schemas.workflow.definition import WorkflowDefinition
from streams.conversations import Conversations
from streams.core.state import ConversationCodec
from streams.deadletters import dead_letter
from streams.definitions import Definitions, published
from streams.intake import Admission, Intake
from streams.journal import ExecutionCodec
from streams.nodes import Nodes
from streams.runtime import Fenced, Publisher, Runtime, RuntimeFailed, RuntimeSettings
from tests.simulation.attention import Attention
from tests.simulation.broker.broker import Broker
from tests.simulation.broker.cluster import Brokers
from tests.simulation.clients.connection import bootstrap_of
from tests.simulation.clients.patching import fetching as make_fetching
from tests.simulation.clients.patching import simulated
from tests.simulation.desk import AGENT_TYPES, Desk, Shop
from tests.simulation.faults import Faults
from tests.simulation.oracle import GROUPS, Broken, Oracle
from tests.simulation.plan import Plan
from tests.simulation.world import EPOCH_MS, OutOfSteps, Process, World

DEADLINE_S = 400.0
"""Virtual seconds within which every schedule must have come to rest."""

SOON_S = 40.0
"""How long after the last fault of a broker has been made good everything may take; the longest of 200 schedules took 16."""
MAX_STEPS = 400_000
TASK_TOPICS = ("node.tasks.simple", "node.tasks.reasoning")


@dataclass(frozen=True, slots=True)
class Result:
    seed: int
    failure: str | None
    """Which promise was broken."""
    steps: int
    seconds: float
    """Virtual."""
    answers: int
    faults: Counter[str]
    """By kind, that really happened."""
    trace: list[str] = field(default_factory=list)


@dataclass
class Slot:
    """A place where a supervisor keeps a process running."""

    number: int
    processors: tuple[str, ...]
    process: Process | None = None
    main: asyncio.Task[None] | None = None
    stop: asyncio.Event | None = None
    starts: int = 0


class Schedule:
    def __init__(self, plan: Plan, *, trace: bool = False) -> None:
        self.plan = plan
        self.world = World(str(plan.seed), max_steps=MAX_STEPS * (1 if plan.cluster is None else 4))
        if trace:
            self.world.trace = []
        self.broker = Broker(self.world)
        self.broker.network.latency_s = plan.latency_s
        self.bootstrap = "broker"
        if plan.cluster is not None:
            cluster = plan.cluster
            self.broker.brokers = Brokers(self.world, cluster.brokers, detect_s=cluster.detect_s, lag_s=cluster.lag_s)
            self.bootstrap = bootstrap_of(self.broker.brokers)
        self.shop = Shop()
        self.definitions = Definitions()
        with simulated():
            for body in plan.definitions:
                definition = WorkflowDefinition.model_validate(body)
                self.definitions.add(published(definition, "", AGENT_TYPES, at_ms=0))
        agents = {node["agent"] for body in plan.definitions for node in body["workflow"]["nodes"]}
        self.task_topics = tuple(
            topic for topic in TASK_TOPICS if topic.rsplit(".", 1)[1] in {AGENT_TYPES[name] for name in agents}
        )
        self._create_topics()
        self.oracle = Oracle(plan, self.broker, self.definitions, self.shop)
        self.broker.appended, self.broker.committed = self.oracle.appended, self.oracle.committed
        self.broker.transaction_ended = self._transaction_ended
        self.slots = [Slot(number, processors) for number, processors in enumerate(plan.slots)]
        self.unexpected: str | None = None
        self.faults = Faults(self)
        self.attention = Attention(self.broker)

    def _create_topics(self) -> None:
        partitions = self.plan.partitions
        for name, topic in TOPICS.items():
            if name.startswith(("node.tasks.", "node-journal.")):
                count = partitions["node.tasks"]
            elif name == "conversation-state":
                count = partitions["conversation.events"]
            else:
                count = partitions.get(name, 1)
            self.broker.create(name, count, compacted=topic.encoding == "state")

    def _transaction_ended(self, transactional_id: str) -> None:
        _, topic, partition = transactional_id.rsplit("-", 2) if transactional_id.count("-") >= 2 else ("", "", "0")
        if topic in TOPICS:
            self.oracle.transaction_ended(TopicPartition(topic, int(partition)))

    # processes

    def start(self, slot: Slot) -> None:
        slot.starts += 1
        process = slot.process = self.world.process(f"p{slot.number}.{slot.starts}")
        process.skew_ms = self.faults.skews.get(slot.number, 0)
        self.world.note(process.name, "starts", *slot.processors)
        slot.main = self.world.start(process, self._main(slot, process))
        slot.main.add_done_callback(lambda task: self._ended(slot, process, task))

    async def _main(self, slot: Slot, process: Process) -> None:
        stop = slot.stop = asyncio.Event()
        fetching = make_fetching(self.bootstrap)
        await fetching.start()
        self.attention.give(process, fetching)
        async with Publisher(self.bootstrap, patience_s=self.plan.settings["broker_patience_s"], fetching=fetching) as publisher:
            shared = {"publisher": publisher, "fetching": fetching}
            runtimes = [runtime for name in slot.processors for runtime in self._runtimes(slot, name, process, shared)]
            running = [asyncio.ensure_future(runtime.run()) for runtime in runtimes]
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
            for ended in running:
                if ended.done():
                    ended.result()
            for runtime in runtimes:
                await runtime.stop()
            await asyncio.gather(*running)
        await fetching.stop()

    def _runtimes(self, slot: Slot, name: str, process: Process, shared: dict[str, Any]) -> Iterator[Runtime[Any]]:
        instance = {"instance": f"slot{slot.number}"} if self.plan.static else {}
        if name == "intake":
            intake = Intake(self.definitions, Admission("w0"), clock_ms=process.clock_ms)
            yield self._runtime("intake", "customer.messages", intake, shared, positions=INTAKE_POSITIONS, **instance)
        elif name == "conversations":
            conversations = Conversations(
                self.definitions, clock_ms=process.clock_ms, ttl_ms=int((self.plan.ttl_s or 10_000) * 1000)
            )
            changelog = {"conversation.events": "conversation-state"}
            codec = ConversationCodec()
            yield self._runtime(name, "conversation.events", conversations, shared, codec, changelogs=changelog, **instance)
        else:
            for topic in self.task_topics:
                nodes = Nodes(self.definitions, Desk(self.shop, str(self.plan.seed)), clock_ms=process.clock_ms)
                more = {"concurrency": self.plan.settings["concurrency"], "early": True, **instance}
                changelog = {topic: journal_of(topic)}
                yield self._runtime(topic, topic, nodes, shared, ExecutionCodec(), changelogs=changelog, **more)

    def _runtime(
        self, name: str, source: str, processor: Any, shared: dict[str, Any], codec: Any = None, **more: Any
    ) -> Runtime[Any]:
        chosen = {key: value for key, value in self.plan.settings.items() if key != "concurrency"}
        chosen["standby"] = chosen["standby"] and codec is not None
        settings = RuntimeSettings(self.bootstrap, f"hil.{name}", (source,), **{**chosen, **more})
        return Runtime(settings, processor, codec, dead_letter, **shared)

    def _ended(self, slot: Slot, process: Process, task: asyncio.Task[None]) -> None:
        """The process has ended by itself: its supervisor starts another."""
        if not process.alive:
            return
        error = None if task.cancelled() else task.exception()
        self.world.note(process.name, "ended:", repr(error))
        alone = self.plan.cluster is not None and self.plan.cluster.alone
        if error is not None and alone:
            self.unexpected = self.unexpected or f"what went wrong with one broker ended {process.name}: {error!r}"
        elif error is not None and not expected_end(error):
            self.unexpected = self.unexpected or f"{process.name} ended with {error!r} because of {error.__cause__!r}"
        if task.cancelled():
            self.unexpected = self.unexpected or f"{process.name} was cancelled"
        self.world.kill(process)
        if slot.process is not process:
            return  # it has a successor already
        self.world.at(0.05 + self.world.random.random(), self.start, slot)

    def send(self) -> None:
        """Producers say what they like of the time: nothing may go by it."""
        stamps = Random(f"stamps-{self.plan.seed}")
        for sending in self.plan.sendings:
            log = self.broker.log(TopicPartition("customer.messages", sending.partition))
            off_ms = stamps.choice((0, 0, -600_000, -100 * 86_400_000, -EPOCH_MS, 3_000_000))
            self.world.at(
                sending.at_s,
                lambda log=log, sending=sending, off_ms=off_ms: log.produce(
                    -1, -1, -1, [(sending.key, sending.value, (), max(0, self.broker.now_ms() + off_ms))]
                ),
            )

    # the whole

    def run(self) -> Result:
        failure: str | None = None
        with simulated():
            try:
                self.send()
                for slot in self.slots:
                    self.world.at(self.world.random.random() * 0.2, self.start, slot)
                self.faults.arm()
                if self.plan.cluster is not None and self.plan.cluster.alone:
                    self.attention.arm()
                failure = self._judge()
            finally:
                self.world.close()
        return Result(
            self.plan.seed,
            failure,
            self.world.steps,
            self.world.now,
            self.oracle.answers,
            self.faults.happened,
            self.world.trace or [],
        )

    def _judge(self) -> str | None:
        oracle = self.oracle
        try:
            rested = self.world.run(
                lambda: (
                    oracle.broken is not None
                    or self.attention.missed is not None
                    or self._stuck()
                    or (not oracle.outstanding and oracle.at_rest())
                ),
                deadline=DEADLINE_S,
            )
        except OutOfSteps as error:
            return f"{error} at {self.world.now:.1f} s: {self._whereabouts()}"
        except Broken as broken:
            return str(broken)
        if self.attention.missed is not None:
            return self.attention.missed
        if self._stuck():
            return f"not at rest {SOON_S:g} s after every partition had its leader again: {self._whereabouts()}"
        if oracle.broken is None and not rested:
            return self.unexpected or f"no rest after {self.world.now:.1f} s: {self._whereabouts()}"
        try:
            oracle.verdict()
        except Broken as broken:
            return str(broken)
        for process in self.world.processes:
            for context in process.errors:
                if context.get("message") == "a callback failed":
                    return f"{process.name}: a callback failed with {context['exception']!r}"
        if oracle.parked_in_doubt and not (self.faults.happened or self.plan.timed or len(self.slots) > 1):
            return "something was parked as in doubt although nothing interrupted it"
        return self.unexpected

    def _stuck(self) -> bool:
        """Only brokers failed, and what they held up is not made good in time."""
        cluster = self.plan.cluster
        return cluster is not None and cluster.alone and self.world.now > self.faults.usable_at + SOON_S

    def _whereabouts(self) -> str:
        lags = {
            str(log.tp.topic) + f"-{log.tp.partition}": f"{self.broker.groups.group(group).offsets.get(log.tp, 0)}/{log.end}"
            for topic, group in GROUPS.items()
            for log in self.broker.topics[topic].logs
            if log.end
        }
        return f"unanswered {sorted(self.oracle.outstanding, key=str)}, committed {lags}"


def expected_end(error: BaseException) -> bool:
    """Infrastructure may end a process; nothing else may."""
    if isinstance(error, Fenced):
        return True
    if not isinstance(error, RuntimeFailed):
        return False
    cause = error.__cause__
    return cause is None or isinstance(cause, KafkaError | TimeoutError | Fenced | RuntimeFailed)


def run(plan: Plan, *, trace: bool = False) -> Result:
    return Schedule(plan, trace=trace).run()

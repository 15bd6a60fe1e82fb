"""What one schedule is made of: everything that is drawn from its seed, and what is left of it after shrinking."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from streams.runtime.patience import BROKER_S
from tests.simulation import graphs

PROCESSORS = ("intake", "conversations", "nodes")
TTL_S = 180.0
"""Longer than any record is late: a repeat of a message that comes after its conversation was forgotten is a new message."""
CLUSTERED = 0.2
"""How many of all schedules have several brokers."""
SETTLED_S = 4.0
"""Faults stop after this many virtual seconds, so that a schedule can come to an end."""

Action = Literal[
    "kill",
    "freeze",
    "lose",
    "slow",
    "refuse",
    "restart",
    "usurp",
    "rebalance",
    "redeliver",
    "cancel",
    "compact",
    "skew",
    "kill_broker",
    "freeze_broker",
    "move_leaders",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, and when."""

    action: Action
    trigger: Literal["step", "request", "answer", "shop"]
    """At a step of the scheduler; when a request is sent or answered; around an action in the shop."""
    kind: str
    """Of request."""
    count: int
    """The how manieth step, request or action."""
    place: int
    """Which process or partition, when the trigger does not say."""
    seconds: float
    """How long a frozen process is frozen, or until a killed one is started again."""

    def __str__(self) -> str:
        at = f"{self.trigger} {self.count}" if self.trigger in ("step", "shop") else f"{self.trigger} {self.count} of {self.kind}"
        return f"{self.action} at {at} ({self.seconds:.2f} s, place {self.place})"


@dataclass(frozen=True, slots=True)
class Sending:
    """One record that a customer puts on customer.messages."""

    at_s: float
    partition: int
    key: bytes | None
    value: bytes
    conversation: str
    message: str | None
    """None: nobody can read it."""
    text: str
    workflow: str
    die: int


@dataclass(frozen=True, slots=True)
class Keep:
    """What shrinking has left; None is everything."""

    messages: frozenset[int] | None = None
    faults: frozenset[int] | None = None
    nodes: frozenset[int] | None = None

    def __str__(self) -> str:
        parts = (("m", self.messages), ("f", self.faults), ("n", self.nodes))
        return ":".join(f"{name}={','.join(map(str, sorted(kept)))}" for name, kept in parts if kept is not None)

    @classmethod
    def parse(cls, text: str) -> Keep:
        kept: dict[str, frozenset[int]] = {}
        for part in filter(None, text.split(":")):
            name, _, numbers = part.partition("=")
            kept[name] = frozenset(int(number) for number in numbers.split(",") if number)
        return cls(kept.get("m"), kept.get("f"), kept.get("n"))


@dataclass(frozen=True, slots=True)
class Cluster:
    """Several brokers, and how soon they notice things."""

    brokers: int
    detect_s: float
    """From a broker's last sign of life to the moves of what it led."""
    lag_s: float
    """At most, until each broker has heard of it."""
    alone: bool
    """Nothing goes wrong but brokers: then no process may end."""


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    partitions: dict[str, int]
    slots: tuple[tuple[str, ...], ...]
    """The processes, and which processors each runs."""
    static: bool
    """Processes have names that their successors take over."""
    settings: dict[str, Any]
    definitions: tuple[dict[str, Any], ...]
    timed: bool
    """Outcomes may depend on time: then only the log itself says what was right."""
    sendings: tuple[Sending, ...]
    faults: tuple[Fault, ...]
    latency_s: float
    ttl_s: float
    """After which idle conversations are forgotten; the schedule then ends when all are. 0: none is."""
    cluster: Cluster | None = None
    """Several brokers; None: one that is always there."""
    keep: Keep = Keep()

    def __str__(self) -> str:
        kept = str(self.keep)
        return f"{self.seed}{':' if kept else ''}{kept}"


def parse(spec: str) -> Plan:
    """A plan from what a failure prints: the seed, and what was kept."""
    seed, _, kept = spec.partition(":")
    return draw(int(seed), Keep.parse(kept))


def draw(seed: int, keep: Keep = Keep()) -> Plan:
    """Each part has dice of its own, so that dropping something from one leaves the others as they were."""
    shape, graph, mail, fate = (Random(f"{part}-{seed}") for part in ("shape", "graph", "mail", "fate"))
    timed = shape.random() < 0.15
    partitions = {name: shape.choice((1, 1, 2, 3)) for name in ("customer.messages", "conversation.events", "node.tasks")}
    definitions = tuple(
        graphs.workflow(graph, name, timed=timed, keep=keep.nodes) for name in ("w0", "w1")[: 1 + (graph.random() < 0.25)]
    )
    slots = shape.choice(
        (
            (PROCESSORS, PROCESSORS),
            (PROCESSORS, PROCESSORS),
            (PROCESSORS, PROCESSORS, PROCESSORS),
            (PROCESSORS,),
            (("intake", "conversations"), ("conversations", "nodes"), ("nodes",)),
        )
    )
    settings = {
        "max_in_flight": shape.choice((1, 3, 20, 1000)),
        "commit_every": shape.choice((1, 5, 1000)),
        "commit_interval_s": shape.choice((0.01, 0.05, 0.05, 0.3)),
        "drain_deadline_s": shape.choice((0.05, 1.0, 5.0)),
        "concurrency": shape.choice((1, 2, 8, 32)),
        "broker_patience_s": shape.choice((8.0, 30.0)),
        "standby": Random(f"standby-{seed}").random() < 0.4,
    }
    cluster, troubles = _cluster(Random(f"brokers-{seed}"))
    if cluster is not None:
        settings["broker_patience_s"] = BROKER_S  # the product's own: it has to do for one broker's fault
    sendings = _sendings(mail, partitions["customer.messages"], [str(each["name"]) for each in definitions])
    faults = [*([] if cluster is not None and cluster.alone else _faults(fate, len(slots))), *troubles]
    return Plan(
        seed,
        partitions,
        slots,
        shape.random() < 0.3,
        settings,
        definitions,
        timed,
        tuple(each for at, each in enumerate(sendings) if keep.messages is None or at in keep.messages),
        tuple(each for at, each in enumerate(faults) if keep.faults is None or at in keep.faults),
        shape.choice((0.0005, 0.002, 0.02)),
        TTL_S if Random(f"ttl-{seed}").random() < 0.15 and cluster is None else 0.0,
        cluster,
        keep,
    )


def _cluster(random: Random) -> tuple[Cluster | None, list[Fault]]:
    """One schedule in so many has several brokers, and things that go wrong with them."""
    if random.random() >= CLUSTERED:
        return None, []
    cluster = Cluster(3, random.choice((1.0, 3.0, 9.0)), random.choice((0.05, 0.5, 2.0)), random.random() < 0.7)
    return cluster, [_trouble(random) for _ in range(random.choice((1, 1, 2, 2, 3)))]


def _trouble(random: Random) -> Fault:
    action: Action = random.choices(("kill_broker", "freeze_broker", "move_leaders"), (4, 4, 3))[0]
    seconds = random.choice((0.5, 2.0, 10.0, 20.0, 45.0, 90.0)) * (0.8 + 0.4 * random.random())
    place = random.randrange(3)
    if random.random() < 0.5:
        return Fault(action, "step", "", int(random.random() ** 2 * 6000), place, seconds)
    kind = random.choice(("metadata", "fetch", "produce", "join", "init_pid", "end_txn", "offset_fetch"))
    trigger: Literal["request", "answer"] = random.choice(("request", "answer"))
    return Fault(action, trigger, kind, 1 + int(random.random() ** 2 * 40), place, seconds)


def _sendings(random: Random, partitions: int, workflows: list[str]) -> list[Sending]:
    conversations = [f"c{number}" for number in range(random.choice((1, 1, 2, 3, 4)))]
    home = {name: random.randrange(partitions) for name in conversations}
    sendings: list[Sending] = []
    for number in range(random.choice((1, 1, 2, 3, 4, 6))):
        at_s = random.choice((0.0, random.random(), 2 * random.random()))
        if random.random() < 0.04:
            nonsense = Sending(at_s, random.randrange(partitions), None, b"{" + str(number).encode(), "", None, "", "", 0)
            sendings.append(nonsense)
            continue
        name = random.choice(conversations)
        text, die, chosen = f"message {number}", random.randint(1, 6), random.choice(workflows)
        body = {
            "text": text,
            "conversation_id": name,
            "message_id": f"m{number}",
            "workflow": chosen,
            "context": {"die": die},
        }
        sending = Sending(at_s, home[name], b"k", json.dumps(body).encode(), name, f"m{number}", text, chosen, die)
        sendings.append(sending)
        if random.random() < 0.15:  # the customer's producer repeats itself
            sendings.append(replace(sending, at_s=at_s + random.choice((0.0, 0.3, 2.0))))
    return sendings


REQUESTS = {
    "produce": (40, 3),
    "fetch": (30, 1),
    "end_txn": (12, 2),
    "txn_offset_commit": (10, 2),
    "add_offsets": (5, 1),
    "add_partitions": (8, 1),
    "init_pid": (5, 2),
    "offset_commit": (6, 1),
    "offset_fetch": (6, 4),
    "offsets": (8, 4),
    "join": (4, 1),
    "sync": (4, 1),
    "metadata": (4, 1),
}
"""Kinds of requests: about how many of each a schedule has, and how often one is chosen for something to go wrong."""


def _faults(random: Random, slots: int) -> list[Fault]:
    return [_fault(random, slots) for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4, 6)))]


def _fault(random: Random, slots: int) -> Fault:
    seconds = random.choice((0.2, 1.0, 8.0, 8.0, 15.0)) * (0.5 + random.random())
    place = random.randrange(slots)
    chance = random.random()
    if chance < 0.45:
        kind = random.choices(tuple(REQUESTS), [weight for _, weight in REQUESTS.values()])[0]
        count = 1 + int(random.random() ** 2 * REQUESTS[kind][0] * 1.5)
        action: Action = random.choices(("kill", "freeze", "usurp", "lose", "slow", "refuse"), (28, 24, 8, 25, 10, 5))[0]
        if action == "refuse" and kind != "produce":
            action = "lose"
        trigger: Literal["request", "answer"] = "request" if action == "refuse" else random.choice(("request", "answer"))
        return Fault(action, trigger, kind, count, place, seconds)
    if chance < 0.6:
        return Fault(random.choice(("kill", "freeze", "usurp")), "shop", "", random.randint(1, 8), place, seconds)
    choices: tuple[Action, ...] = ("kill", "freeze", "restart", "usurp", "rebalance", "redeliver", "cancel", "compact", "skew")
    action = random.choices(choices, (18, 16, 10, 10, 12, 12, 12, 6, 8))[0]
    return Fault(action, "step", "", int(random.random() ** 2 * 3000), place, seconds)

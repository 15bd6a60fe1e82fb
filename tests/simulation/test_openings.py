"""Two owners of one partition on the in-memory broker, one way of going wrong at a time: states and position stay of one moment.

The schedules that are drawn hardly ever come by these moments, which take a request at one place and a marker at another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.runtime.commits import TransactionalCommits, restore
from streams.runtime.effects import EffectsLog
from streams.runtime.model import Fenced, RuntimeSettings
from streams.runtime.opening import Opening
from streams.runtime.stopwatch import Stopwatch
from streams.runtime.store import StateStore
from tests.simulation.broker.broker import Broker
from tests.simulation.clients.consumer import Consumer
from tests.simulation.clients.patching import simulated
from tests.simulation.mutants import Mutant, begin_without_holding_the_fence, states_read_before_fencing
from tests.simulation.world import Process, World

SOURCE, CHANGELOG, GROUP = "events", "events-state", "group"
PARTITION = TopicPartition(SOURCE, 0)
SETTINGS = RuntimeSettings("broker", GROUP, (SOURCE,), changelogs={SOURCE: CHANGELOG})
MARKER_S = 5.0
"""How long the changelog's marker takes in `between_two_markers`; the group has its own at once."""


Case = Callable[[], tuple[int, int | None] | None]


class Numbers:
    def encode(self, state: int) -> bytes:
        return str(state).encode()

    def decode(self, data: bytes) -> int:
        return int(data)


class Source:
    """What an opening asks a member of the group for."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker = broker
        self._consumer = Consumer(broker, process, group_id=GROUP)

    async def committed(self, partition: TopicPartition) -> int | None:
        return await self._consumer.committed(partition)

    async def bounds(self, partitions: Any) -> dict[TopicPartition, tuple[int, int]]:
        return {each: (self._broker.log(each).start, self._broker.log(each).end) for each in partitions}

    def seek(self, partition: TopicPartition, offset: int) -> None: ...


class Owner:
    """Opens the partition; its one state is the number of records that went into it, which is the position."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self.commits = TransactionalCommits(SETTINGS, PARTITION)
        self.store: StateStore[int] = StateStore(Numbers())
        around: Any = SimpleNamespace(source=Source(broker, process), settings=SETTINGS)
        self._opening = Opening(PARTITION, around, self.commits, EffectsLog(self.store), self._restore)

    async def _restore(self, store: StateStore[Any]) -> int:
        return await restore(SETTINGS, PARTITION, store.next_offset, store.load, lambda done, of: None)

    async def open(self) -> int:
        return await self._opening.run(Stopwatch(asyncio.get_running_loop().time))

    async def move_to(self, position: int) -> None:
        await self.commits.commit(position, [(b"records", str(position).encode())])


class Stage:
    """Processes by name, and requests that are lost until somebody lets them through."""

    def __init__(self) -> None:
        self.world = World("openings")
        self.broker = Broker(self.world)
        self.broker.create(SOURCE, 1)
        self.broker.create(CHANGELOG, 1, compacted=True)
        self.broker.log(PARTITION).produce(-1, -1, -1, [(b"k", b"v", (), 0)] * 10)
        self.broker.network.meddle = self._meddle
        self._held: tuple[str, str] | None = None
        self.asked = False
        """Whether what is held has been asked for."""

    def hold(self, name: str, kind: str) -> None:
        self._held = name, kind

    def let_through(self) -> None:
        self._held = None

    def _meddle(self, process: Process, kind: str, answered: bool) -> str | None:
        if answered or self._held != (process.name, kind):
            return None
        self.asked = True
        return "lose"

    def committed(self) -> int | None:
        return self.broker.groups.group(GROUP).offsets.get(PARTITION)

    def is_quiet(self) -> bool:
        """Every marker is written."""
        return not self.broker.transactions.any_ending()

    def slow_changelog(self) -> None:
        """The markers of the next transaction: its states' comes late, its position's at once."""
        transactions, usual = self.broker.transactions, self.broker.transactions._later
        delays = [MARKER_S, 0.0]  # in the order in which the coordinator writes them

        def later(then: Callable[[], None]) -> None:
            self.world.at(delays.pop(0), then)
            if not delays:
                transactions._later = usual

        transactions._later = later

    def play(self, **roles: Callable[[Owner], Awaitable[Any]]) -> dict[str, asyncio.Task[Any]]:
        """Each in a process of its own, to the end."""

        async def main(role: Callable[[Owner], Awaitable[Any]], process: Process) -> Any:
            return await role(Owner(self.broker, process))

        with simulated():
            tasks = {}
            for name, role in roles.items():
                process = self.world.process(name)
                tasks[name] = self.world.start(process, main(role, process))
            try:
                assert self.world.run(lambda: all(task.done() for task in tasks.values()), deadline=300.0), "it waits for ever"
                return tasks
            finally:
                self.world.close()


async def until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.01)


async def opened(owner: Owner) -> tuple[int, int | None] | None:
    """(position, what the states have of it); None: it is another's."""
    try:
        return await owner.open(), owner.store.get("records")
    except Fenced:
        return None


def taken_from_one_that_commits() -> tuple[int, int | None] | None:
    """The old owner commits at the last moment: when the new one is about to fence it."""
    stage = Stage()
    stage.hold("new", "init_pid")

    async def old(owner: Owner) -> None:
        await owner.open()
        await owner.move_to(1)
        await until(lambda: stage.asked)
        await owner.move_to(2)
        await until(lambda: stage.committed() == 2)
        stage.let_through()

    async def new(owner: Owner) -> tuple[int, int | None] | None:
        await until(lambda: stage.committed() == 1)
        return await opened(owner)

    found: tuple[int, int | None] | None = stage.play(old=old, new=new)["new"].result()
    return found


def begun_by_another(
    held: str, before_it_commits: Callable[[Stage], None], afterwards: Callable[[Stage], None] = lambda stage: None
) -> tuple[int, int | None] | None:
    """One has fenced and is held up before its request of this kind; another opens and commits meanwhile."""
    stage = Stage()
    stage.hold("first", held)
    ready = False

    async def before(owner: Owner) -> None:
        nonlocal ready
        await owner.open()
        await owner.move_to(1)
        await until(stage.is_quiet)
        ready = True

    async def first(owner: Owner) -> tuple[int, int | None] | None:
        await until(lambda: ready)
        return await opened(owner)

    async def another(owner: Owner) -> None:
        await until(lambda: stage.asked)
        assert await opened(owner) == (1, 1)
        await until(stage.is_quiet)
        before_it_commits(stage)
        await owner.move_to(2)
        await until(lambda: stage.committed() == 2)
        afterwards(stage)
        stage.let_through()

    played = stage.play(before=before, first=first, another=another)
    for name in ("before", "another"):
        played[name].result()
    found: tuple[int, int | None] | None = played["first"].result()
    return found


def between_two_markers() -> tuple[int, int | None] | None:
    """It finds the other's position, and the states from before it: their marker is not written yet."""

    def unfinished(stage: Stage) -> None:
        assert not stage.is_quiet()

    return begun_by_another("offset_fetch", Stage.slow_changelog, unfinished)


def within_a_transaction() -> tuple[int, int | None] | None:
    """What it reads last ends between the other's states and the position that is noted behind them."""

    def cut(stage: Stage) -> None:
        whole, records = stage.broker.fetch, stage.broker.log(TopicPartition(CHANGELOG, 0)).records()
        stage.broker.fetch = lambda *place, **more: whole(*place, **{**more, "limit": len(records) + 1})  # type: ignore[method-assign]

    return begun_by_another("fetch", cut)


def test_what_the_old_owner_commits_at_the_last_moment_is_in_the_states_and_in_the_position() -> None:
    assert taken_from_one_that_commits() == (2, 2)


@pytest.mark.parametrize("overtaken", [between_two_markers, within_a_transaction])
def test_who_was_overtaken_while_opening_does_not_begin(overtaken: Case) -> None:
    assert overtaken() is None


@pytest.mark.parametrize(
    ("mutant", "case", "begun"),
    [
        pytest.param(states_read_before_fencing, taken_from_one_that_commits, (2, 1), id="states_read_before_fencing"),
        pytest.param(begin_without_holding_the_fence, between_two_markers, (2, 1), id="begin_without_holding_the_fence"),
        pytest.param(begin_without_holding_the_fence, within_a_transaction, (1, 2), id="begin_with_half_of_a_transaction"),
    ],
)
def test_without_the_order_of_an_opening_it_begins_with_states_of_another_position(
    mutant: Mutant, case: Case, begun: tuple[int, int]
) -> None:
    """A wrong (position, position of the states): records are passed over, or decided with states that have them already."""
    with mutant():
        assert case() == begun

"""Group coordinators: members and generations of the classic protocol, and committed offsets.

Heartbeats are not sent one by one. A member whose process is dead or frozen for a session timeout is removed; one that lives
learns of a rebalance, or that it is not known any more, within its heartbeat interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors

Told = Callable[[type[Exception]], None]
"""A member's heartbeat was answered with an error."""


@dataclass(slots=True)
class Member:
    id: str
    instance: str | None
    topics: tuple[str, ...]
    session_timeout_ms: int
    rebalance_timeout_ms: int
    heartbeat_ms: int
    told: Told
    joined: Callable[[Any], None] | None = None
    """Answers its JoinGroup, once all have joined."""
    synced: Callable[[Any], None] | None = None
    assignment: tuple[TopicPartition, ...] = ()


@dataclass(slots=True)
class Group:
    name: str
    state: Literal["empty", "joining", "syncing", "stable"] = "empty"
    generation: int = 0
    round: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    leader: str = ""
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    pending: dict[int, dict[TopicPartition, int]] = field(default_factory=dict)
    """By producer id: offsets in a transaction that has not ended."""


class Groups:
    def __init__(
        self,
        partitions_of: Callable[[str], int],
        after_ms: Callable[[float, Callable[[], None]], None],
        random: Random,
        committed: Callable[[str, TopicPartition, int], None] | None = None,
    ) -> None:
        self._partitions_of = partitions_of
        self._after_ms = after_ms
        self._random = random
        self._committed = committed
        self._groups: dict[str, Group] = {}
        self._ids = 0
        self.rebalances = 0

    def group(self, name: str) -> Group:
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = Group(name)
        return found

    # membership

    def new_member_id(self) -> str:
        """What the broker gives to a member that asks to join for the first time (KIP-394)."""
        self._ids += 1
        return f"member-{self._ids}"

    def join(
        self,
        name: str,
        member_id: str,
        fresh: bool,
        instance: str | None,
        topics: Sequence[str],
        session_timeout_ms: int,
        rebalance_timeout_ms: int,
        heartbeat_ms: int,
        told: Told,
        answer: Callable[[Any], None],
    ) -> None:
        """`answer` gets (generation, is leader) when everybody has joined, or an error class. `fresh`: not joined yet."""
        group = self.group(name)
        if not fresh and member_id not in group.members:
            answer(kafka_errors.UnknownMemberIdError)
            return
        known = group.members.get(member_id) or self._predecessor(group, instance)
        member = Member(member_id, instance, tuple(topics), session_timeout_ms, rebalance_timeout_ms, heartbeat_ms, told, answer)
        if known is not None:
            member.assignment = known.assignment
        if known is not None and known.id != member_id:
            self._replace(group, known, member)
            return
        group.members[member_id] = member
        if group.state != "joining":
            self._prepare(group)
        self._join_if_all(group)

    @staticmethod
    def _predecessor(group: Group, instance: str | None) -> Member | None:
        """Who had this static member's name before (KIP-345)."""
        if instance is None:
            return None
        return next((member for member in group.members.values() if member.instance == instance), None)

    def _replace(self, group: Group, old: Member, new: Member) -> None:
        """A static member has come back: it takes its place with all that was assigned, and a stable group stays as it is."""
        group.members = {
            new.id if name == old.id else name: new if name == old.id else kept for name, kept in group.members.items()
        }
        was_leader = group.leader == old.id
        if was_leader:
            group.leader = new.id
        if group.state == "stable":
            joined, new.joined = new.joined, None
            assert joined is not None
            joined((group.generation, was_leader))
        else:
            if group.state != "joining":
                self._prepare(group)
            self._join_if_all(group)

    def sync(self, name: str, member_id: str, generation: int, answer: Callable[[Any], None]) -> None:
        """`answer` gets the member's partitions once the leader has assigned them, or an error class."""
        group = self.group(name)
        member = group.members.get(member_id)
        if member is None:
            answer(kafka_errors.UnknownMemberIdError)
        elif generation != group.generation:
            answer(kafka_errors.IllegalGenerationError)
        elif group.state == "joining":
            answer(kafka_errors.RebalanceInProgressError)
        elif group.state == "stable":
            answer(member.assignment)
        else:
            member.synced = answer
            if member_id == group.leader:
                self._assign(group)

    def leave(self, name: str, member_id: str) -> None:
        group = self.group(name)
        if member_id in group.members:
            self._remove(group, member_id)

    def expire(self, name: str, member_id: str) -> None:
        """The session has timed out."""
        self.leave(name, member_id)

    def heartbeat(self, name: str, member_id: str, generation: int) -> type[Exception] | None:
        group = self.group(name)
        refusal: type[Exception] | None = None
        if member_id not in group.members:
            refusal = kafka_errors.UnknownMemberIdError
        elif generation != group.generation:
            refusal = kafka_errors.IllegalGenerationError
        elif group.state == "joining":
            refusal = kafka_errors.RebalanceInProgressError
        return refusal

    def rebalance(self, name: str) -> None:
        """Somebody gives cause for one."""
        group = self.group(name)
        if group.members and group.state in ("stable", "syncing"):
            self._prepare(group)

    def _prepare(self, group: Group) -> None:
        group.state = "joining"
        group.round += 1
        self.rebalances += 1
        for member in group.members.values():
            if member.synced is not None:
                synced, member.synced = member.synced, None
                synced(kafka_errors.RebalanceInProgressError)
            if member.joined is None:
                self._tell(member, kafka_errors.RebalanceInProgressError)
        this = group.round
        patience = max(member.rebalance_timeout_ms for member in group.members.values())
        self._after_ms(patience, lambda: self._give_up(group, this))

    def _tell(self, member: Member, error: type[Exception]) -> None:
        self._after_ms(self._random.random() * member.heartbeat_ms, lambda: member.told(error))

    def _give_up(self, group: Group, this: int) -> None:
        """Those who have not joined by now are out."""
        if group.state == "joining" and group.round == this:
            for member_id in [member.id for member in group.members.values() if member.joined is None]:
                self._tell(group.members.pop(member_id), kafka_errors.UnknownMemberIdError)
            self._join_if_all(group)

    def _join_if_all(self, group: Group) -> None:
        if not group.members:
            group.state = "empty"
            return
        if group.state != "joining" or any(member.joined is None for member in group.members.values()):
            return
        group.generation += 1
        group.state = "syncing"
        if group.leader not in group.members:
            group.leader = next(iter(group.members))
        for member in list(group.members.values()):
            joined, member.joined = member.joined, None
            assert joined is not None
            joined((group.generation, member.id == group.leader))

    def _assign(self, group: Group) -> None:
        """Sticky: what a member had it keeps, as far as that is fair."""
        everything = sorted(
            {
                TopicPartition(topic, number)
                for member in group.members.values()
                for topic in member.topics
                for number in range(self._partitions_of(topic))
            }
        )
        members = sorted(group.members.values(), key=lambda member: member.id)
        share, extra = divmod(len(everything), len(members))
        taken: dict[TopicPartition, str] = {}
        given: dict[str, list[TopicPartition]] = {member.id: [] for member in members}
        for member in members:
            for tp in member.assignment:
                full = share + (1 if extra > 0 else 0)
                if tp in everything and tp not in taken and len(given[member.id]) < full:
                    taken[tp] = member.id
                    given[member.id].append(tp)
            if len(given[member.id]) > share:
                extra -= 1
        for tp in everything:
            if tp not in taken:
                fewest = min(len(mine) for mine in given.values())
                chosen = self._random.choice([member for member in members if len(given[member.id]) == fewest])
                given[chosen.id].append(tp)
        group.state = "stable"
        for member in members:
            member.assignment = tuple(given[member.id])
            if member.synced is not None:
                synced, member.synced = member.synced, None
                synced(member.assignment)

    def _remove(self, group: Group, member_id: str) -> None:
        member = group.members.pop(member_id)
        for answer in (member.joined, member.synced):
            if answer is not None:  # it waits for the others, and would wait for ever
                answer(kafka_errors.UnknownMemberIdError)
        member.joined = member.synced = None
        if not group.members:
            group.state = "empty"
            group.generation += 1
        elif group.state == "joining":
            self._join_if_all(group)
        else:
            self._prepare(group)

    # offsets

    def committed(self, name: str, tp: TopicPartition) -> int | None:
        return self.group(name).offsets.get(tp)

    def commit(self, name: str, member_id: str, generation: int, offsets: Mapping[TopicPartition, int]) -> None:
        """Raises what the coordinator answers to a member that is not of the present generation."""
        group = self.group(name)
        if not (generation < 0 and not group.members):
            if member_id not in group.members:
                raise kafka_errors.UnknownMemberIdError
            if generation != group.generation:
                raise kafka_errors.IllegalGenerationError
            if group.state == "syncing":
                raise kafka_errors.RebalanceInProgressError
        self._store(group, offsets)

    def commit_in_transaction(self, name: str, pid: int, offsets: Mapping[TopicPartition, int]) -> None:
        self.group(name).pending.setdefault(pid, {}).update(offsets)

    def end_transaction(self, name: str, pid: int, commit: bool) -> None:
        group = self.group(name)
        waiting = group.pending.pop(pid, {})
        if commit:
            self._store(group, waiting)

    def _store(self, group: Group, offsets: Mapping[TopicPartition, int]) -> None:
        for tp, offset in offsets.items():
            group.offsets[tp] = offset
            if self._committed is not None:
                self._committed(group.name, tp, offset)

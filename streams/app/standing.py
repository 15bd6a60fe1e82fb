"""`hil positions`, on a running broker."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.cli.ports import CannotGoOn
from connectors.cli.positions import Position, To
from schemas import topics
from streams.app.system import Application
from streams.runtime import RuntimeFailed
from streams.runtime.repairing import Kept, Standing, repair, standings

KEPT = (
    Kept("hil.intake", topics.CUSTOMER_MESSAGES, positions=topics.INTAKE_POSITIONS),
    Kept("hil.conversations", topics.CONVERSATION_EVENTS, changelog=topics.CONVERSATION_STATE),
    *(Kept(f"hil.{name}", name, changelog=topics.journal_of(name)) for name in dict.fromkeys(topics.TASK_TOPICS.values())),
)
"""Of the processors that run on streams.runtime. The ledger and the projector keep theirs among what they write."""


class Standings:
    """connectors.cli.positions.Places."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def positions(self, group: str | None) -> list[Position]:
        wanted = [kept for kept in KEPT if group in (None, kept.group)] or [_known(group, None)]
        async with self._application.attached() as gateway:
            bootstrap = gateway.addresses.kafka_bootstrap
            try:
                return [_shown(kept, each) for kept in wanted for each in await standings(bootstrap, kept)]
            except RuntimeFailed as error:
                raise CannotGoOn(str(error)) from error

    async def repair_positions(self, group: str, topic: str, to: To) -> Sequence[tuple[Position, int]]:
        kept = _known(group, topic)
        async with self._application.attached() as gateway:
            try:
                done = await repair(gateway.addresses.kafka_bootstrap, kept, to.value)
            except RuntimeFailed as error:
                raise CannotGoOn(str(error)) from error
        return [(_shown(kept, before), position) for before, position in done]


def _known(group: str | None, topic: str | None) -> Kept:
    for kept in KEPT:
        if kept.group == group and topic in (None, kept.topic):
            return kept
    there = ", ".join(f"{kept.group} {kept.topic}" for kept in KEPT)
    raise CannotGoOn(f"no processor is {group} {topic or ''}".rstrip() + f": there are {there}")


def _shown(kept: Kept, each: Standing) -> Position:
    return Position(kept.group, kept.topic, each.partition, each.beginning, each.end, each.committed, each.noted, each.change)

"""Where a partition of states stands, kept in its changelog beside them: a group's own offsets expire, or are deleted."""

from __future__ import annotations

import logging
from typing import NamedTuple

import msgspec

log = logging.getLogger(__name__)

KEY = b"\xff\x00hil.position"
"""The record's key in a changelog. It is no UTF-8, so no state has it."""


class Identity(NamedTuple):
    """What must not have changed about a topic for offsets in it, and keys on its partitions, to mean what they meant."""

    partitions: int = 0
    """0: any number will do, or nobody knows."""
    topic_id: bytes = b""
    """Given by the broker when the topic is created; empty where nobody knows it."""


class Noted(msgspec.Struct, frozen=True, array_like=True):
    position: int
    partitions: int = 0
    """As in Identity, like the next."""
    topic_id: bytes = b""

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    def differs(self, now: Identity) -> str | None:
        """What of the topic has changed since, in words."""
        if self.topic_id and now.topic_id and self.topic_id != now.topic_id:
            return (
                f"was created anew (its id was {self.topic_id.hex()} and is {now.topic_id.hex()}): its offsets mean other records"
            )
        if self.partitions and now.partitions and self.partitions != now.partitions:
            return (
                f"had {self.partitions} partitions and has {now.partitions}: its keys lie on other partitions than their states"
            )
        return None


def read(value: bytes | None) -> Noted | None:
    """None, and a word about it, for what is no note: whoever wrote it must not keep everything else from starting."""
    if value is None:
        return None
    try:
        return msgspec.msgpack.decode(value, type=Noted)
    except msgspec.MsgspecError as error:
        log.error("the position in a changelog is not readable and counts as none: %s", error)
        return None


def place(
    who: str,
    topic: str,
    partition: int,
    *,
    committed: int | None,
    noted: Noted | None,
    states: int,
    bounds: tuple[int, int],
    now: Identity,
) -> int:
    """Where to go on. Raises ValueError, in words, where no place is right.

    `bounds`: the first offset there is, and the one after the last.
    """
    (beginning, end), name = bounds, f"{topic}-{partition}"
    repair = f"`hil positions repair {who} {topic} --to changelog|earliest|latest` sets it on purpose"
    if noted is not None and (change := noted.differs(now)):
        raise ValueError(f"{who} knows {topic}, which {change}. See docs/guides/recovery.md, “Positions”; {repair}")
    if committed is None and noted is None:
        if states:
            raise ValueError(
                f"{who} has {states} states of {name} and no position: its offset has expired or was deleted, and from the "
                f"beginning everything would be done again. {repair}"
            )
        return beginning
    known = max(-1 if committed is None else committed, -1 if noted is None else noted.position)
    if known > end:
        raise ValueError(f"{who} has handled {name} up to {known}, it ends at {end}: was the topic created anew? {repair}")
    if committed is None and known > beginning:
        log.warning("%s: the group's offset of %s is gone; going on at %d, as was noted", who, name, known)
    elif committed is not None and committed < known:
        log.warning(
            "%s: the group's offset of %s was put back to %d; going on at %d, as noted. %s", who, name, committed, known, repair
        )
    if known < beginning:
        log.error("%s: retention has deleted %d offsets of %s that were never handled", who, beginning - known, name)
    return max(known, beginning)

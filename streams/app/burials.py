"""Dead letters, for the terminal."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal

from connectors.cli.ports import CannotGoOn, Report
from connectors.cli.replay_ports import LetterFilter, LetterRow, LettersSettled
from schemas.codec import Undecodable, strict_json
from streams.app.processors import clock_ms
from streams.app.system import Application
from streams.replay import letters
from streams.replay.place import NoPlace, place
from streams.runtime import Publisher

PREVIEW_BYTES = 20_000


class Burials:
    def __init__(self, application: Application) -> None:
        self._application = application

    async def letters(self, wanted: LetterFilter, note: Report = lambda line: None) -> list[LetterRow]:
        async with self._application.attached() as gateway:
            found = await letters.find(gateway.addresses.kafka_bootstrap, _filter(wanted), note=note)
        return [_row(letter) for letter in found]

    async def letter(self, letter_id: str) -> tuple[LetterRow, Mapping[str, Any]]:
        async with self._application.attached() as gateway:
            bootstrap = gateway.addresses.kafka_bootstrap
            found = await letters.find(bootstrap, letters.Filter(ids=(letter_id,), settled=None))
            if not found:
                raise CannotGoOn(f"there is no dead letter {letter_id}: `hil dead-letters list --all` shows them")
            if len(found) > 1:
                raise CannotGoOn(f"{len(found)} dead letters begin with {letter_id}: give more of the id")
            event = await letters.payload(bootstrap, found[0])
        body = event.model_dump(mode="json", exclude={"payload_base64"})
        return _row(found[0]), body | {"payload": _payload(event.payload_base64)}

    async def settle_letters(
        self, action: Literal["retry", "discard"], wanted: LetterFilter, *, by: str, note: str, dry_run: bool
    ) -> LettersSettled:
        async with self._application.attached() as gateway, Publisher(gateway.addresses.kafka_bootstrap) as publisher:
            bootstrap = gateway.addresses.kafka_bootstrap
            found = await letters.find(bootstrap, _filter(wanted))
            if action == "retry":
                done = await letters.retry(bootstrap, publisher, found, by=by, note=note, at_ms=clock_ms(), dry_run=dry_run)
            else:
                done = await letters.discard(publisher, found, by=by, note=note, at_ms=clock_ms(), dry_run=dry_run)
        return LettersSettled([_row(one) for one in done.done], [(_row(one), why) for one, why in done.impossible])


def _filter(wanted: LetterFilter) -> letters.Filter:
    return letters.Filter(
        ids=wanted.ids,
        codes=wanted.codes,
        topics=wanted.topics,
        processors=wanted.processors,
        conversation=wanted.conversation,
        since_ms=_time(wanted.start, "--from"),
        until_ms=_time(wanted.end, "--to"),
        settled=wanted.settled,
    )


def _time(text: str | None, option: str) -> int | None:
    """A moment: letters of several partitions are chosen by it, so an offset says nothing."""
    if text is None:
        return None
    try:
        found = place(text, now_ms=clock_ms())
    except NoPlace as error:
        raise CannotGoOn(f"{option}: {error}") from error
    match found.kind:
        case "time":
            return found.value
        case "beginning":
            return 0
        case "end":
            return clock_ms()
        case "offset":
            raise CannotGoOn(f"{option} takes a time here, like 2026-01-31T12:00:00 or 2h, not the offset {text}")


def _row(letter: letters.Letter) -> LetterRow:
    event, settled = letter.event, letter.settled
    return LetterRow(
        id=event.id,
        buried_ms=letter.buried_ms,
        processor=event.processor,
        code=event.code,
        reason=event.reason,
        topic=event.topic,
        partition=event.partition,
        offset=event.offset,
        key=event.record_key,
        conversation=event.conversation_id,
        attempts=event.attempts,
        size=event.payload_bytes,
        retry_of=letter.retry_of,
        settled=settled.model_dump(mode="json", include={"action", "by", "note", "time_ms"}) if settled is not None else None,
    )


def _payload(payload_base64: str) -> Any:
    """JSON, else text, else base64; as it is when it is not even that."""
    try:
        raw = base64.b64decode(payload_base64)
    except ValueError:
        return payload_base64[:PREVIEW_BYTES]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw[:PREVIEW_BYTES]).decode()}
    try:
        return strict_json.parse_text(text)
    except Undecodable:
        return text[:PREVIEW_BYTES]

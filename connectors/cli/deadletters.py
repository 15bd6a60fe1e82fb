"""`hil dead-letters`: records nobody could handle. Exit 0: done, 1: some could not be retried or none was found, 2: usage."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from connectors.cli import console
from connectors.cli.replay import PLACES, clock, user
from connectors.cli.replay_ports import LetterFilter, LetterRow, Replays

SHOWN = 20
"""Letters named by a retry or a discard; the rest are counted."""

Ids = Annotated[list[str] | None, typer.Argument(help="Letters, by id or its beginning.")]
Code = Annotated[list[str] | None, typer.Option(help="Only this code, e.g. unknown_workflow. May be repeated.")]
Topic = Annotated[list[str] | None, typer.Option(help="Only records of this topic. May be repeated.")]
Processor = Annotated[list[str] | None, typer.Option(help="Only letters of this processor, e.g. hil.intake. May be repeated.")]
Conversation = Annotated[str | None, typer.Option(help="Only this conversation.")]
From = Annotated[str | None, typer.Option("--from", help=f"Buried at or after: {PLACES.replace(' an offset,', '')}")]
To = Annotated[str | None, typer.Option("--to", help="Buried before.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")]
By = Annotated[str | None, typer.Option(help="Who does it; your user name when not given.")]
Note = Annotated[str, typer.Option(help="Why, for those who look later.")]
Everything = Annotated[bool, typer.Option("--everything", help="Every open letter: needed when nothing else narrows it down.")]


def build(replays: Replays) -> typer.Typer:
    """The command group `dead-letters`."""
    group = typer.Typer(
        name="dead-letters", help="Records nobody could handle: look at them, retry or discard them.", no_args_is_help=True
    )

    @group.command("list")
    def list_(
        ids: Ids = None,
        code: Code = None,
        topic: Topic = None,
        processor: Processor = None,
        conversation: Conversation = None,
        start: From = None,
        end: To = None,
        all_: Annotated[bool, typer.Option("--all", help="Also those that were retried or discarded.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a letter.")] = False,
    ) -> None:
        """The open letters, oldest first."""
        wanted = _filter(ids, code, topic, processor, conversation, start, end, settled=None if all_ else False)
        rows = console.run(replays.letters(wanted, console.report))
        for row in rows:
            console.data(json.dumps(asdict(row), ensure_ascii=False) if as_json else _line(row))
        if not rows:
            console.report("no dead letter is open" if not all_ else "there is no dead letter")

    @group.command()
    def show(letter: Annotated[str, typer.Argument(help="A letter, by id or its beginning.")]) -> None:
        """A letter with its record, as JSON."""
        row, body = console.run(replays.letter(letter))
        shown = {**body, "buried_ms": row.buried_ms, "settled": row.settled}
        console.data(json.dumps(shown, ensure_ascii=False, indent=2), lines=True)

    @group.command()
    def retry(
        ids: Ids = None,
        code: Code = None,
        topic: Topic = None,
        processor: Processor = None,
        conversation: Conversation = None,
        start: From = None,
        end: To = None,
        everything: Everything = False,
        again: Annotated[bool, typer.Option("--again", help="Also letters that were retried or discarded before.")] = False,
        by: By = None,
        note: Note = "",
        dry_run: DryRun = False,
    ) -> None:
        """Put the records on their topics once more, same key, value and headers: what handles them derives the same ids."""
        wanted = _filter(ids, code, topic, processor, conversation, start, end, settled=None if again else False)
        _settle(replays, "retry", _narrow(wanted, everything), by, note, dry_run)

    @group.command()
    def discard(
        ids: Ids = None,
        code: Code = None,
        topic: Topic = None,
        processor: Processor = None,
        conversation: Conversation = None,
        start: From = None,
        end: To = None,
        everything: Everything = False,
        by: By = None,
        note: Note = "",
        dry_run: DryRun = False,
    ) -> None:
        """Note that nothing will be done about them. They stay on the topic, and `list --all` shows them."""
        wanted = _filter(ids, code, topic, processor, conversation, start, end, settled=False)
        _settle(replays, "discard", _narrow(wanted, everything), by, note, dry_run)

    return group


def _filter(
    ids: list[str] | None,
    code: list[str] | None,
    topic: list[str] | None,
    processor: list[str] | None,
    conversation: str | None,
    start: str | None,
    end: str | None,
    *,
    settled: bool | None,
) -> LetterFilter:
    return LetterFilter(
        ids=tuple(ids or ()),
        codes=tuple(code or ()),
        topics=tuple(topic or ()),
        processors=tuple(processor or ()),
        conversation=conversation,
        start=start,
        end=end,
        settled=settled,
    )


def _narrow(wanted: LetterFilter, everything: bool) -> LetterFilter:
    narrowed = any((wanted.ids, wanted.codes, wanted.topics, wanted.processors, wanted.conversation, wanted.start, wanted.end))
    if not narrowed and not everything:
        raise typer.BadParameter("say which letters: ids, --code, --topic, --processor, --conversation, --from; or --everything")
    return wanted


def _settle(
    replays: Replays, action: Literal["retry", "discard"], wanted: LetterFilter, by: str | None, note: str, dry_run: bool
) -> None:
    result = console.run(replays.settle_letters(action, wanted, by=by or user(), note=note, dry_run=dry_run))
    for row in result.done[:SHOWN]:
        console.data(_line(row))
    if len(result.done) > SHOWN:
        console.data(f"… and {len(result.done) - SHOWN} more")
    done = {"retry": "retried", "discard": "discarded"}[action]
    console.data(f"{len(result.done)} letter{'' if len(result.done) == 1 else 's'} {'would be ' if dry_run else ''}{done}")
    for row, why in result.impossible:
        console.report(f"{row.id} stays open: {why}")
    if result.impossible or not result.done:
        raise typer.Exit(1)


def _line(row: LetterRow) -> str:
    place = f"{row.topic}-{row.partition}@{row.offset}"
    settled = f"  [{row.settled['action']} by {row.settled['by'] or 'somebody'}]" if row.settled else ""
    return f"{clock(row.buried_ms)}  {row.id}  {row.code:<20} {place:<30} {row.key or '-':<16} {row.reason}{settled}"

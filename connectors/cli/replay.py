"""`hil replay` and `hil rebuild`: the log again. Exit 0: fine, 1: a difference or no way on, 2: wrong usage."""

from __future__ import annotations

import getpass
import json
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from connectors.cli import console
from connectors.cli.defaulting import ReplayGroup
from connectors.cli.replay_ports import Found, Period, Replays, Verified
from schemas.shown import visible

PLACES = "earliest, latest, an offset, 2026-01-31T12:00:00[Z], milliseconds, or an age like 15m, 2h, 7d."

Topic = Annotated[str, typer.Argument(help="A topic.")]
From = Annotated[str, typer.Option("--from", help=f"Where to begin: {PLACES}")]
To = Annotated[str, typer.Option("--to", help="Where to stop, exclusive; the same words.")]
Partitions = Annotated[list[int] | None, typer.Option("--partition", "-p", help="Only this partition. May be repeated.")]
Key = Annotated[str | None, typer.Option(help="Only records with this key.")]
Conversation = Annotated[str | None, typer.Option(help="Only this conversation.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")]
By = Annotated[str | None, typer.Option(help="Who asks for it; your user name when not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    RAW = "raw"


def build(replays: Replays) -> typer.Typer:
    """The command group `replay`."""
    group = typer.Typer(
        name="replay",
        cls=ReplayGroup,
        help="The log again: look at a period, check it against today's code, copy it, run from the middle. Joins no group.",
        no_args_is_help=True,
    )

    @group.command()
    def view(
        topic: Topic,
        start: From = "earliest",
        end: To = "latest",
        partition: Partitions = None,
        key: Key = None,
        conversation: Conversation = None,
        limit: Limit = None,
        form: Annotated[Format, typer.Option("--format", "-f", help="raw prints the values alone, as they are.")] = Format.TABLE,
        follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    ) -> None:
        """Print a period of a topic in the order of time, up to where the topic ends now. The command when none is named."""
        period = Period(topic, start, end, tuple(partition or ()), key, conversation, limit)
        if follow and end != "latest":
            raise typer.BadParameter("--follow goes on after the present end: leave --to out")
        console.run(_view(replays, period, form, follow))

    @group.command()
    def verify(
        files: Annotated[list[str] | None, typer.Argument(help="Recorded histories; the running system without any.")] = None,
        start: From = "earliest",
        partition: Partitions = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most this many events.")] = None,
        processes: Annotated[
            int | None, typer.Option(min=1, help="Partitions worked on at once; all cores for long logs.")
        ] = None,
        strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for records that cannot be read, too.")] = False,
        as_json: Json = False,
    ) -> None:
        """Fold conversation.events through today's reducer and compare what it decides with workflow.events.

        Prints the first difference, both sides, and exits with 1 when there is one. Garbage is named, counted, and none.
        """
        if files:
            done = [(file, console.call(lambda file=file: replays.verify_file(file))) for file in files]  # type: ignore[misc]
        else:
            work = replays.verify(start, partitions=partition or [], limit=limit, processes=processes, progress=console.report)
            done = [("", console.run(work))]
        for name, verified in done:
            _tell(name, verified, as_json)
        if any(verified.difference or (strict and verified.counts["unreadable"]) for _, verified in done):
            raise typer.Exit(1)

    @group.command()
    def record(
        file: Annotated[str, typer.Argument(help="Where to write, e.g. support.jsonl.gz. Holds what customers wrote.")],
        conversation: Annotated[list[str] | None, typer.Option(help="This conversation. May be repeated.")] = None,
        workflow: Annotated[str | None, typer.Option(help="Conversations of this workflow: name or name@version.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most this many conversations.")] = None,
    ) -> None:
        """Take whole conversations out of the log as a file that `hil replay verify` reads."""
        made = console.run(replays.record(file, conversations=conversation or [], workflow=workflow, limit=limit))
        left = f"; {made['left_out']} whose beginning retention has deleted are left out" if made["left_out"] else ""
        left += f"; {made['unreadable']} records cannot be read and are no part of it" if made["unreadable"] else ""
        _print(f"{file}: {made['conversations']} conversations, {made['records']} records{left}")

    @group.command()
    def republish(
        source: Annotated[str, typer.Argument(help="The topic to read.")],
        target: Annotated[str, typer.Argument(help="The topic to copy into.")],
        start: From = "earliest",
        end: To = "latest",
        partition: Partitions = None,
        key: Key = None,
        conversation: Conversation = None,
        limit: Limit = None,
        create: Annotated[
            bool, typer.Option("--create", help="Create the target if it is missing, as wide as the source.")
        ] = False,
        confirm: Annotated[str | None, typer.Option(help="The target again, when this system reads it.")] = None,
        dry_run: DryRun = False,
    ) -> None:
        """Copy a period into another topic; x-original-… and x-replay-id headers say where each record came from."""
        period = Period(source, start, end, tuple(partition or ()), key, conversation, limit)
        work = replays.republish(period, target, confirmed=confirm, create=create, dry_run=dry_run, note=console.report)
        done = console.run(work)
        would = "would be copied" if dry_run else f"copied, x-replay-id {done['replay_id']}"
        _print(f"{done['records']:,} records, {done['bytes']:,} bytes from {source} to {target}: {would}")

    @group.command()
    def rerun(
        run: Annotated[str, typer.Argument(help="run_id of the old run, from its response.")],
        node: Annotated[str, typer.Option("--from", help="The node to begin with; it and what follows it run again.")],
        conversation: Annotated[str | None, typer.Option(help="The run's conversation: found faster when named.")] = None,
        by: By = None,
        wait: Annotated[float | None, typer.Option(help="Wait this many seconds for the response, and print it.")] = None,
        dry_run: DryRun = False,
    ) -> None:
        """Answer a run's message again, from one of its nodes on. What came before is not done again; nor is its cost."""
        work = replays.rerun(run, node, conversation=conversation, by=by or user(), dry_run=dry_run, wait_seconds=wait)
        done = console.run(work)
        if "response" in done:
            _print(json.dumps(done["response"], ensure_ascii=False))
            return
        reused = ", ".join(taken["node_id"] for taken in done["request"]["nodes"]) or "nothing"
        _print(f"{'would be asked for' if dry_run else 'asked for'}: run {done['run_id']}, from {node}, taking over {reused}")

    @group.command()
    def restore(
        conversation: Annotated[
            str, typer.Argument(help="A conversation whose messages go to dead letters as state_unreadable.")
        ],
        forget: Annotated[
            bool, typer.Option("--forget", help="Let it begin anew instead, where the log no longer has its beginning.")
        ] = False,
        dry_run: DryRun = False,
    ) -> None:
        """Make the state of a conversation again from the log, when its changelog has something else under its key."""
        done = console.run(replays.restore(conversation, forget=forget, dry_run=dry_run))
        made = "forgotten" if forget else f"made again from {done['events']:,} events, {done['messages']:,} messages and answers"
        _print(f"{conversation}: {'would be ' if dry_run else ''}{made}")
        if not dry_run:
            console.report(
                "start the process of `hil conversations` again, then type "
                f"`hil dead-letters retry --code state_unreadable --conversation {conversation}` ({done['letters']} letters)"
            )

    return group


def build_rebuild(replays: Replays) -> typer.Typer:
    """`hil rebuild`, to be mounted at the top."""
    group = typer.Typer()

    @group.command()
    def rebuild(
        accept_loss: Annotated[
            bool, typer.Option("--accept-loss", help="Also when retention has deleted what some rows were made of.")
        ] = False,
    ) -> None:
        """Empty the tables people read and make them again from the log. A projector may be running."""
        done = console.run(replays.rebuild(accept_loss=accept_loss, report=console.report))
        by = ", the rest by the running projector" if done["taken_over"] else ""
        _print(f"rebuilt from {done['records']:,} records in {done['seconds']:.1f} s{by}")

    return group


def user() -> str:
    """The user name, for the record; nothing where there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


async def _view(replays: Replays, period: Period, form: Format, follow: bool) -> None:
    shown = 0
    async with replays.view(period, console.report, follow=follow) as records:
        async for found in records:
            shown += 1
            _show(found, form)
            if follow:
                sys.stdout.flush()
    if not shown:
        console.report(f"nothing on {period.topic} in this period")


def _show(found: Found, form: Format) -> None:
    record = found.seen
    if form is Format.RAW:
        if sys.stdout.isatty():
            console.data(found.value.decode("utf-8", "replace"), lines=True)
        else:
            sys.stdout.buffer.write(found.value + b"\n")
        return
    if form is Format.JSON:
        line = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            "key": record.key,
            "type": record.type,
            "size": record.size,
            "value": record.body,
        }
        _print(json.dumps(line | ({"error": record.error} if record.error else {}), ensure_ascii=False))
        return
    body = record.body if isinstance(record.body, str) else json.dumps(record.body, ensure_ascii=False)
    place = f"{record.partition}@{record.offset}"
    row = visible(f"{clock(record.timestamp_ms)}  {place:<10} {record.type or '-':<24} {record.key or '-':<20} {body}")
    _print(row[: shutil.get_terminal_size().columns] if sys.stdout.isatty() else row)


def clock(ms: int) -> str:
    """A record's time is what its producer claims: also one that no calendar has."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def _tell(name: str, verified: Verified, as_json: bool) -> None:
    counts = verified.counts
    if as_json:
        line: Mapping[str, Any] = {
            **({"file": name} if name else {}),
            **counts,
            "seconds": round(verified.seconds, 3),
            "difference": verified.details,
            "notes": list(verified.notes),
        }
        _print(json.dumps(line, ensure_ascii=False))
        return
    for note in verified.notes:
        console.report(note)
    if verified.difference:
        _print(f"{name}: {verified.difference}" if name else verified.difference)
        return
    records = counts["events"] + counts["outputs"] + counts["repeats"]
    rate = f", {records / verified.seconds:,.0f} records/s" if verified.seconds > 0 and not name else ""
    extra = "".join(
        f", {words} {counts[field]:,}"
        for field, words in (
            ("repeats", "repeats"),
            ("passed_over", "passed over (in dead letters)"),
            ("left_out", "left out (conversations that began before)"),
            ("later", "outputs of later events"),
            ("unreadable", "no decisions (passed over)"),
        )
        if counts[field]
    )
    _print(
        (f"{name}: " if name else "")
        + f"no difference in {counts['events']:,} events: decisions {counts['outputs']:,}, states {counts['digests']:,}, "
        f"conversations {counts['conversations']:,}{extra}{rate}"
    )


def _print(text: str) -> None:
    console.data(text, lines=True)

"""The `hil` command: every sub-command, and nothing but asking, showing and exit codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from connectors.cli import console, records
from connectors.cli.chat import chat as run_chat
from connectors.cli.demo import demo as run_demo
from connectors.cli.ports import System

PROCESSORS = {
    "intake": "Check, pin and re-key the records of customer.messages.",
    "conversations": "Fold conversation.events through the reducer.",
    "nodes": "Let agents work on node.tasks.*.",
    "ledger": "Count what was spent, and say what is wrong.",
    "projector": "Copy what happened into Postgres.",
}


def build(system: System, groups: Sequence[typer.Typer]) -> typer.Typer:
    """The command line over one system. `groups` are sub-command groups built elsewhere (workflows, schemas)."""
    app = typer.Typer(
        name="hil",
        help="Answers customer messages on Kafka with LLM agents, keeps a human in the loop, and accounts for every cent.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.command()
    def up(
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line with the addresses once ready.")] = False,
    ) -> None:
        """Start everything and keep it running until Ctrl-C. Data stays in .hil/ (HIL_DATA)."""
        console.run(_up(system, as_json))

    @app.command()
    def demo() -> None:
        """Start everything, send the bundled messages, show what became of each. Exit 0 only if each got one response."""
        if not console.run(run_demo(system)):
            raise typer.Exit(1)

    @app.command()
    def chat(
        customer: Annotated[str | None, typer.Option(help="customer_id to write as.")] = None,
        workflow: Annotated[str | None, typer.Option(help="name or name@version.")] = None,
    ) -> None:
        """Talk to it in the terminal."""
        console.run(run_chat(system, customer_id=customer, workflow=workflow))

    @app.command()
    def send(
        file: Annotated[str, typer.Argument(help="A file of JSON lines, or - for standard input.")],
        topic: Annotated[str, typer.Option(help="Where to put them.")] = "customer.messages",
    ) -> None:
        """Put JSON lines on customer.messages. One line: {"text": "…", "conversation_id": "…"}."""
        console.run(records.send(system, file, topic=topic))

    @app.command()
    def watch(
        topics: Annotated[list[str], typer.Argument(help="Topics, e.g. customer.responses workflow.events dead-letters.")],
        start: Annotated[str, typer.Option("--from", help="latest, earliest, milliseconds, or 2026-01-31T12:00:00.")] = "latest",
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
        limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many records.")] = None,
    ) -> None:
        """Print topics as they flow."""
        console.run(records.watch(system, topics, start=start, as_json=as_json, limit=limit))

    @app.command()
    def cancel(
        conversation: Annotated[str, typer.Argument(help="conversation_id")],
        run: Annotated[str, typer.Argument(help="run_id, as on workflow.events.")],
        reason: Annotated[str, typer.Option(help="Why; the customer does not see it.")] = "",
    ) -> None:
        """End a run before it is done. The customer is told; the next message of the conversation begins."""
        console.run(system.cancel(conversation, run, reason=reason))
        console.report("asked for; a run that is over already is left as it is")

    for name, purpose in PROCESSORS.items():
        app.command(name, help=f"{purpose} Runs until SIGTERM; needs HIL_KAFKA_BOOTSTRAP or a running `hil up`.")(
            _processor(system, name)
        )
    app.add_typer(_topics(system), name="topics")
    app.add_typer(_knowledge(system), name="knowledge")
    app.add_typer(_database(system), name="db")
    for group in groups:
        app.add_typer(group)
    return app


async def _up(system: System, as_json: bool) -> None:
    async with system.started(console.report) as gateway:
        where = gateway.addresses
        if as_json:
            names = ("kafka_bootstrap", "database_url", "llm_base_url", "composio_base_url", "data", "pid")
            console.data(json.dumps({name: getattr(where, name) for name in names}))
        else:
            console.report(
                f"ready. Kafka {where.kafka_bootstrap} · Postgres {where.database_url}\n"
                "In another terminal: hil chat · hil send FILE · hil watch customer.responses · Ctrl-C here stops it all."
            )
        await system.until_stopped(gateway)


def _processor(system: System, name: str) -> Any:
    def command() -> None:
        console.run(system.serve([name], console.report, lambda: console.report(f"{name} is ready")))

    return command


def _topics(system: System) -> typer.Typer:
    group = typer.Typer(help="The topics of Kafka.", no_args_is_help=True)

    @group.command()
    def create() -> None:
        """Create the topics that are missing; change none that exist."""
        made = console.run(system.create_topics())
        console.out().print(f"created {len(made)}: {', '.join(made)}" if made else "all topics exist")

    @group.command()
    def check() -> None:
        """Compare the topics with what the processors need. Exit 1 on a difference."""
        faults = console.run(system.check_topics())
        for fault in faults:
            console.out().print(fault)
        if faults:
            raise typer.Exit(1)
        console.out().print("all topics are as they should be")

    @group.command()
    def acls(
        bootstrap: Annotated[str, typer.Option(help="host:port,… of the cluster, as the commands shall name it.")],
        processor: Annotated[str | None, typer.Option(help="Only this one, e.g. intake.")] = None,
        principal: Annotated[str | None, typer.Option(help="Its name on the cluster; without, User:PROCESSOR.")] = None,
    ) -> None:
        """Print the kafka-acls commands that give each processor the least it needs. Changes nothing by itself."""
        from connectors.kafka.rights import RIGHTS, commands  # the events it names take a while to import

        known = {rights.who: rights for rights in RIGHTS}
        if processor is not None and processor not in known:
            raise typer.BadParameter(f"there is no processor {processor!r}: choose from {', '.join(known)}")
        if principal is not None and processor is None:
            raise typer.BadParameter("--principal is the name of one processor: say which with --processor")
        for who in (processor,) if processor is not None else known:
            for line in commands(known[who], principal=principal or f"User:{who}", bootstrap=bootstrap):
                console.data(line)

    return group


def _knowledge(system: System) -> typer.Typer:
    group = typer.Typer(help="What agents may look up.", no_args_is_help=True)

    @group.command()
    def add(files: list[str]) -> None:
        """Add Markdown or text files. The same text twice is one document."""
        for row in console.run(system.knowledge("add", {"files": files})):
            console.out().print(f"{row['title']}: {row['chunks']} passages")

    @group.command("list")
    def list_() -> None:
        """The documents."""
        for row in console.run(system.knowledge("list", {})):
            console.out().print(f"{row['id']}  {row['title']}  {row['chunks']} passages")

    @group.command()
    def remove(name: str) -> None:
        """Forget the document with this id or file name."""
        [row] = console.run(system.knowledge("remove", {"name": name}))
        if not row["removed"]:
            console.err().print(f"no document {name!r}: `hil knowledge list` shows them")
            raise typer.Exit(1)

    @group.command()
    def search(query: str, top: Annotated[int, typer.Option(min=1, max=100)] = 5) -> None:
        """The nearest passages, as an agent would see them."""
        for row in console.run(system.knowledge("search", {"query": query, "top_k": top})):
            console.out().print(f"{row['score']:.2f}  {row['title']}: {row['text']}")

    return group


def _database(system: System) -> typer.Typer:
    group = typer.Typer(help="The tables people read.", no_args_is_help=True)

    @group.command()
    def migrate() -> None:
        """Bring Postgres to this version's tables."""
        applied = console.run(system.migrate())
        console.out().print("\n".join(applied) if applied else "the database is up to date")

    return group

"""What customers, models, tools and brokers wrote does nothing to the terminal of whoever looks at it."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from connectors.cli import budgets, chat, console, costs, deadletters, demo, main, replay, workflows
from connectors.cli.costs_ports import Line
from connectors.cli.costs_ports import Report as CostReport
from connectors.cli.ports import Addresses, CannotGoOn, PublishedWorkflow, Seen
from connectors.cli.replay_ports import Found, LetterRow, LettersSettled, Verified
from connectors.postgres.spending import Reconciled, Use
from schemas.workflow.faults import Fault

EVIL = (
    "\x1b[2J\x1b]0;owned\x07\x1b]8;;file:///etc/passwd\x1b\\x\x9b31m\x00\x08\x7f\r\u202eabc\u2066\u2028"
    "[red]markup[/red] [link=http://x.invalid]y[/link] \ud800 :smiley: postgresql://hil:s3cr3t@db/hil \U000e0041"
)
FORGED = "2026-01-01T00:00:00.000Z  forged"
ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff\U000e0000-\U000e0fff]"
)
LEAKS = re.compile("s3cr3t")
TEXT = f"{EVIL}\n{FORGED}"
ROOT = Path(__file__).parents[3]


def letter() -> LetterRow:
    return LetterRow(TEXT, 1, TEXT, TEXT, TEXT, TEXT, 0, 0, TEXT, TEXT, 1, 1, None, {"action": TEXT, "by": TEXT})


def response(message_id: str) -> dict[str, Any]:
    entry = {"node": TEXT, "agent": TEXT, "status": TEXT, "tools": [TEXT], "models": [TEXT]}
    return {
        "id": TEXT,
        "message_id": message_id,
        "text": TEXT,
        "status": TEXT,
        "error": TEXT,
        "outputs": {TEXT: {"intent": TEXT}},
        "trace": [entry],
        "cost_usd": 0.1,
        "duration_ms": 5,
        TEXT: [TEXT],
    }


def seen(topic: str, body: Any) -> Seen:
    return Seen(topic, 0, 0, 1_000, TEXT, TEXT, body, 10, TEXT)


class Stranger:
    """Every part a command asks, answering with hostile text."""

    addresses = Addresses("127.0.0.1:1", "postgresql://hil:s3cr3t@db/hil", TEXT, TEXT, TEXT, 1)

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    @asynccontextmanager
    async def attached(self) -> AsyncIterator[Stranger]:
        yield self

    @asynccontextmanager
    async def started(self, report: Callable[[str], None]) -> AsyncIterator[Stranger]:
        report(TEXT)
        yield self

    async def until_stopped(self, gateway: object) -> None:
        """At once."""

    @asynccontextmanager
    async def tail(self, topics: list[str], **_: Any) -> AsyncIterator[AsyncIterator[Seen]]:
        async def records() -> AsyncIterator[Seen]:
            for message in self.sent:
                yield seen("customer.responses", response(message["message_id"]))
            yield seen("x", TEXT)
            yield seen("x", {TEXT: [TEXT]})

        yield records()

    async def send(self, topic: str, records: list[tuple[str, bytes]]) -> None:
        import json

        self.sent += [json.loads(value) for _, value in records]

    def demo_messages(self) -> list[dict[str, Any]]:
        return [{"text": TEXT.replace("\ud800", ""), "conversation_id": "c", "message_id": "m"}]

    async def create_topics(self) -> list[str]:
        return [TEXT]

    async def check_topics(self) -> list[str]:
        return [TEXT]

    async def migrate(self) -> list[str]:
        return [TEXT]

    async def knowledge(self, action: str, arguments: object) -> list[dict[str, Any]]:
        return [{"title": TEXT, "chunks": 1, "id": TEXT, "score": 0.5, "text": TEXT, "removed": 0}]

    async def publish_workflows(self, paths: object) -> list[PublishedWorkflow]:
        return [PublishedWorkflow(TEXT, TEXT, TEXT, 1, 1, False)]

    async def list_workflows(self) -> list[PublishedWorkflow]:
        return [PublishedWorkflow(TEXT, TEXT, TEXT, 1, 1, True)]

    async def cancel(self, *_: Any, **__: Any) -> None:
        raise CannotGoOn(TEXT)

    async def serve(self, names: object, report: Callable[[str], None], ready: Callable[[], None]) -> None:
        report(TEXT)
        raise CannotGoOn(TEXT)

    # replay and dead letters
    @asynccontextmanager
    async def view(self, period: object, note: Callable[[str], None], **_: Any) -> AsyncIterator[AsyncIterator[Found]]:
        async def records() -> AsyncIterator[Found]:
            yield Found(seen("x", TEXT), TEXT.encode("utf-8", "replace"))
            yield Found(seen("x", {TEXT: TEXT}), b"x")

        note(TEXT)
        yield records()

    async def verify(self, *_: Any, progress: Callable[[str], None], **__: Any) -> Verified:
        progress(TEXT)
        return Verified({}, 1.0, TEXT, {"x": TEXT}, [TEXT])

    async def letters(self, wanted: object, note: Callable[[str], None]) -> list[LetterRow]:
        return [letter()]

    async def letter(self, letter_id: str) -> tuple[LetterRow, dict[str, Any]]:
        return letter(), {"payload": {TEXT: [TEXT]}}

    async def settle_letters(self, *_: Any, **__: Any) -> LettersSettled:
        return LettersSettled([letter()], [(letter(), TEXT)])

    async def rerun(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"run_id": TEXT, "request": {"nodes": [{"node_id": TEXT}]}}

    # costs and budgets
    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Stranger]:
        yield self

    async def report(self, *_: Any) -> CostReport:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return CostReport(at, at, [Line(at, TEXT, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)])

    async def latest(self) -> list[Line]:
        return list((await self.report()).lines)

    async def what_if(self, *_: Any) -> dict[str, Any]:
        line = {"profile": TEXT, "model": TEXT, "instead": TEXT, "calls": 1, "was_usd": 1.0, "would_be_usd": 2.0}
        sums = {"was_usd": 1.0, "would_be_usd": 2.0, "difference_usd": 1.0, "too_long": 0, "cannot": 0, "unpriced": 0}
        return {"from": TEXT, "to": TEXT, "lines": [line], **sums}

    async def budgets(self) -> list[Use]:
        return [Use(TEXT, TEXT, 1, 1, 1, 1)]

    async def reconcile_budgets(self, **_: Any) -> list[Reconciled]:
        return [Reconciled(TEXT, TEXT, 1)]

    # workflow files
    def validate(self, file: Path) -> tuple[None, list[Fault]]:
        return None, [Fault(file=TEXT, line=1, path=TEXT, message=TEXT, remedy=TEXT, code=TEXT)]

    def simulate(self, *_: Any) -> dict[str, Any]:
        fault = {"file": TEXT, "line": 1, "message": TEXT, "remedy": TEXT}
        return {"status": TEXT, "executed": [TEXT], "skipped": [], "failed": [TEXT], "order": [TEXT], "faults": [fault]}


FILE = str(ROOT / "workflows" / "parallel_answer.yaml")
COMMANDS = (
    "up",
    "up --json",
    "demo",
    "watch x --limit 2",
    "watch x --limit 2 --json",
    "cancel c r",
    "intake",
    "topics create",
    "topics check",
    "knowledge add x",
    "knowledge list",
    "knowledge search x",
    "knowledge remove x",
    "db migrate",
    "dead-letters list",
    "dead-letters list --json",
    "dead-letters show x",
    "dead-letters retry --everything",
    "dead-letters discard x",
    "replay view x",
    "replay view x -f json",
    "replay verify",
    "replay verify --json",
    "replay rerun r --from n",
    "costs by model",
    "costs by model --json",
    "costs top --count 1",
    "costs what-if --prices x",
    "budgets list",
    "budgets list --json",
    "budgets reconcile",
    "workflows list",
    "workflows list --json",
    f"workflows validate {FILE}",
    f"workflows validate --json {FILE}",
    f"workflows publish {FILE}",
    f"workflows simulate {FILE}",
)


def application(stranger: Any) -> typer.Typer:
    groups = [replay.build(stranger), deadletters.build(stranger), costs.build(stranger), budgets.build(stranger)]
    return main.build(stranger, [*groups, workflows.build(stranger, stranger)])


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "LEDGER_SETTLES_SECONDS", 0.0)
    monkeypatch.setattr(demo, "LEDGER_LOOKS", 1)
    monkeypatch.setattr(demo, "LEDGER_LOOK_SECONDS", 0.0)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
def test_a_command_shows_what_would_act(command: str, terminal: bool, monkeypatch: pytest.MonkeyPatch):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
    result = CliRunner().invoke(application(Stranger()), command.split())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    said = result.output
    assert "owned" in said or command == "knowledge remove x" or not result.output.strip(), said
    if terminal:
        said = re.sub(r"\x1b\[[0-9;]*m", "", said)  # rich's own colours
        said = re.sub(r"\x1b\[\?25[lh]|\x1b\[1A|\x1b\[2K|\r", "", said)  # and its progress bar
    assert not ACTS.search(said), [hex(ord(each)) for each in ACTS.findall(said)]
    assert "\n" + FORGED not in said or "dead-letters" not in command


@pytest.mark.parametrize("command", ["up", "cancel c r", "intake", "dead-letters retry --everything"])
def test_remarks_and_errors_hide_passwords(command: str):
    assert not LEAKS.search(CliRunner().invoke(application(Stranger()), command.split()).stderr)


async def test_an_answer_in_a_chat_is_text_alone(capsys: pytest.CaptureFixture[str]):
    stranger = Stranger()
    async with stranger.tail([]) as records:
        stranger.sent.append({"message_id": "m"})
        await chat._answer(records, "m")
    said = "".join(capsys.readouterr())
    assert "[red]markup[/red]" in said
    assert not ACTS.search(said)


def test_markup_of_strangers_is_text():
    with console.out().capture() as captured:
        pass
    screen = console.out()
    with screen.capture() as captured:
        screen.print("[bold]x[/bold]", typer.style("y", fg="red"))
    assert captured.get().startswith("[bold]x[/bold] \\u001b[31my")


def test_commands_speak_through_the_console_alone():
    """Whoever writes to a stream by itself has forgotten what strangers can put into it."""
    allowed = {("console.py", "sys.stdout.write"), ("replay.py", "sys.stdout.buffer.write"), ("replay.py", "sys.stdout.flush")}
    for path in sorted((ROOT / "connectors" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                speaks = name.startswith(("sys.stdout.", "sys.stderr.", "print", "typer.echo", "typer.secho", "rich."))
                speaks = speaks and not name.endswith(".isatty")
                fresh = name == "Console"
                assert not fresh, f"{path.name} makes a console of its own"
                assert not speaks or (path.name, name) in allowed or path.name == "console.py", f"{path.name}: {name}"


def test_a_defect_of_a_command_is_said_with_its_traceback_and_without_harm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Typer puts a hook of its own in place of ours."""
    from streams import app
    from streams.app.system import Application

    async def fail(_: Application) -> list[str]:
        raise RuntimeError(TEXT)

    monkeypatch.setattr(Application, "check_topics", fail)
    monkeypatch.setattr(app, "configure", lambda: None)
    monkeypatch.setattr("sys.argv", ["hil", "topics", "check"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "RuntimeError: \\u001b[2J" in said
    assert not ACTS.search(said)
    assert not LEAKS.search(said)

"""Programs a model wrote can harm nobody, and end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agents.sandbox import CallFailed, Limits, ProgramFailed, Sandbox, SandboxBroken

LIMITS = Limits(turn_seconds=0.5, total_seconds=1.0, memory_bytes=32 * 1024 * 1024, printed_bytes=4096, calls=5)


@pytest.fixture
async def sandbox():
    made = Sandbox(limits=LIMITS, max_programs=2)
    yield made
    await made.close()


async def nobody(function, args, kwargs):
    raise AssertionError(f"{function} must not be called")


async def run(sandbox, source, answer=nobody, functions=()):
    return await sandbox.run(textwrap.dedent(source), functions=functions, answer=answer, now_ms=1_780_000_000_000, seed="s")


ESCAPES = {
    "open": "open('/etc/passwd').read()",
    "write": "open('/tmp/hil-escape', 'w').write('x')",
    "path": "from pathlib import Path\nPath('/etc/passwd').read_text()",
    "listdir": "import os\nos.listdir('/')",
    "system": "import os\nos.system('id')",
    "environ": "import os\nos.environ['PATH']",
    "getenv": "import os\nos.getenv('PATH')",
    "socket": "import socket\nsocket.create_connection(('127.0.0.1', 1))",
    "subprocess": "import subprocess\nsubprocess.run(['id'])",
    "ctypes": "import ctypes\nctypes.CDLL(None)",
    "host modules": "import agents.sandbox",
    "dunder import": "__import__('os').system('id')",
    "importlib": "import importlib\nimportlib.import_module('os')",
    "subclasses": "().__class__.__bases__[0].__subclasses__()",
    "globals": "globals()['__builtins__']",
    "exec": "exec('import socket')",
    "eval": "eval(\"__import__('os')\")",
    "frames": "import sys\nsys._getframe().f_back",
    "unknown tool": "gmail_send_email('x')",
}


@pytest.mark.parametrize("source", ESCAPES.values(), ids=ESCAPES.keys())
async def test_an_escape_is_refused_and_the_next_program_runs(sandbox, source):
    with pytest.raises(ProgramFailed):
        await run(sandbox, source)
    assert (await run(sandbox, "1 + 1")).value == 2


EXHAUSTIONS = {
    "endless loop": ("while True: pass", "Timeout"),
    "list bomb": ("x = [0] * 10**9", "Memory"),
    "string bomb": ("x = 'a'\nwhile True: x += x", "Memory"),
    "power bomb": ("9 ** 9 ** 9", "Memory|Overflow|Timeout"),
    "recursion": ("def f(): return f()\nf()", "Recursion"),
    "print flood": ("while True: print('a' * 100)", "Memory"),
}


@pytest.mark.parametrize(("source", "told"), EXHAUSTIONS.values(), ids=EXHAUSTIONS.keys())
async def test_exhaustion_ends_the_program_and_says_why(sandbox, source, told):
    with pytest.raises(ProgramFailed, match=told):
        await run(sandbox, source)
    assert (await run(sandbox, "1 + 1")).value == 2


async def test_a_program_pauses_at_a_call_and_goes_on_with_the_answer(sandbox):
    async def answer(function, args, kwargs):
        await asyncio.sleep(0)
        return {"total": 5, "asked": [function, *args, kwargs]}

    finished = await run(sandbox, "tool(1, b=2)['asked'] + [tool()['total']]", answer, ["tool"])
    assert finished.value == ["tool", 1, {"b": 2}, 5]


async def test_a_failed_call_can_be_caught(sandbox):
    async def answer(function, args, kwargs):
        raise CallFailed("order 7 not found")

    source = """
        try:
            tool()
        except Exception as error:
            found = str(error)
        found
    """
    assert (await run(sandbox, source, answer, ["tool"])).value == "order 7 not found"


async def test_an_uncaught_failure_comes_back_as_a_traceback_with_its_line(sandbox):
    with pytest.raises(ProgramFailed, match=r"line 2(.|\n)*ZeroDivisionError"):
        await run(sandbox, "x = 1\nx / 0")


async def test_a_syntax_error_is_the_programs_fault(sandbox):
    with pytest.raises(ProgramFailed, match=r"SyntaxError|parameter"):
        await run(sandbox, "def f(:")


async def test_a_tool_can_be_held_as_a_value(sandbox):
    async def answer(function, args, kwargs):
        return args[0] * 2

    assert (await run(sandbox, "[call(n) for call in [tool] for n in (1, 2)]", answer, ["tool"])).value == [2, 4]


async def test_calls_are_bounded(sandbox):
    async def answer(function, args, kwargs):
        return 1

    with pytest.raises(ProgramFailed, match="no more than 5 calls"):
        await run(sandbox, "for _ in range(100): tool()", answer, ["tool"])


async def test_clock_and_random_numbers_are_the_same_again(sandbox):
    source = "import random, datetime\n[random.random(), str(datetime.datetime.now(datetime.timezone.utc))]"
    first, second = await run(sandbox, source), await run(sandbox, source)
    assert first.value == second.value
    assert first.value[1].startswith("2026-05-28")


async def test_sleep_does_not_wait(sandbox):
    assert (await run(sandbox, "import time\ntime.sleep(3600)\n'awake'")).value == "awake"


async def test_programs_do_not_see_each_other(sandbox):
    await run(sandbox, "secret = 'of another customer'")
    with pytest.raises(ProgramFailed, match="secret"):
        await run(sandbox, "secret")


async def test_what_the_answerer_raises_reaches_the_caller_and_the_sandbox_lives(sandbox):
    class Stop(Exception):
        pass

    async def answer(function, args, kwargs):
        raise Stop

    with pytest.raises(Stop):
        await run(sandbox, "try:\n    tool()\nexcept Exception:\n    pass", answer, ["tool"])
    assert (await run(sandbox, "1")).value == 1


async def test_a_cancelled_program_gives_its_worker_back(sandbox):
    waiting = asyncio.Event()

    async def answer(function, args, kwargs):
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run(sandbox, "tool()", answer, ["tool"]))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(await run(sandbox, str(number))).value for number in range(4)] == [0, 1, 2, 3]


async def test_more_programs_than_workers_wait_their_turn(sandbox):
    done = await asyncio.gather(*(run(sandbox, str(number)) for number in range(6)))
    assert [each.value for each in done] == [0, 1, 2, 3, 4, 5]


def test_the_process_ends_cleanly_after_failing_programs():
    """With monty's asynchronous pool every second such process was aborted at exit."""
    program = textwrap.dedent(
        """
        import asyncio
        from agents.sandbox import Limits, ProgramFailed, Sandbox

        async def nobody(*call): ...

        async def main():
            sandbox = Sandbox(limits=Limits(turn_seconds=0.2))
            for source in ("1 / 0", "import socket", "while True: pass", "print('x' * 10**7)", "[1]"):
                try:
                    await sandbox.run(source, functions=(), answer=nobody)
                except ProgramFailed:
                    pass
            await sandbox.close()

        asyncio.run(main())
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={**os.environ})
    assert (ended.returncode, ended.stderr) == (0, "")


async def test_a_program_cancelled_while_it_computes_gives_its_worker_back(sandbox):
    started = asyncio.Event()

    async def answer(function, args, kwargs):
        started.set()

    task = asyncio.create_task(run(sandbox, "tool()\nwhile True: pass", answer, ["tool"]))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(await run(sandbox, str(number))).value for number in range(4)] == [0, 1, 2, 3]


async def test_a_killed_worker_is_the_sandboxs_fault_and_replaced(sandbox):
    async def answer(function, args, kwargs):
        for pid in workers():
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(SandboxBroken):
        await run(sandbox, "tool()", answer, ["tool"])
    assert (await run(sandbox, "1")).value == 1


def workers() -> list[int]:
    """Processes named monty whose parent we are."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "monty" and int(rest.split()[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found

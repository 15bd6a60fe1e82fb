"""Programs a model wrote can harm nobody, and end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from agents.sandbox import CallFailed, Limits, ProgramBroke, ProgramFailed, Sandbox

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


async def test_a_program_whose_process_is_killed_broke_and_the_next_one_runs(sandbox):
    async def answer(function, args, kwargs):
        for host in sandbox._all:
            os.kill(host.pid, signal.SIGKILL)

    with pytest.raises(ProgramBroke, match="ended while it ran"):
        await run(sandbox, "tool()", answer, ["tool"])
    assert (await run(sandbox, "1")).value == 1


async def test_a_program_whose_interpreter_is_killed_broke_and_the_next_one_runs(sandbox):
    async def answer(function, args, kwargs):
        for host in sandbox._all:
            for pid in children(host.pid):
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(ProgramBroke, match="interpreter ended"):
        await run(sandbox, "tool()", answer, ["tool"])
    assert (await run(sandbox, "1")).value == 1


COLLIDING = "{n * (2 ** 61 - 1): 1 for n in range(60000)}"
HOSTILE = {
    "returns numbers that collide": COLLIDING,
    "passes numbers that collide": f"tool({COLLIDING})",
    "names arguments that collide": f"tool(x=[{COLLIDING}])",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
async def test_what_overruns_its_host_is_killed_while_everybody_else_goes_on(source):
    """In our own process such a mapping took a minute to make, and nothing else ran."""
    turns = 0

    async def others():
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    sandbox = Sandbox(limits=Limits(turn_seconds=0.5, total_seconds=1.0, grace_seconds=0.5), max_programs=1)
    beside = asyncio.create_task(others())
    try:
        with pytest.raises(ProgramFailed):
            await run(sandbox, source, nobody, ["tool"])
        assert turns > 20
        assert (await run(sandbox, "1")).value == 1
    finally:
        beside.cancel()
        await sandbox.close()


UNFIT = {
    "too many values": ("[0] * 30000", "more than 20,000 values"),
    "too long": ("'a' * 300000", "larger than 262,144 bytes"),
    "too long beyond ASCII": ("'ж' * 140000", "larger than 262,144 bytes"),
    "too long together": ("['a' * 20000 for _ in range(20)]", "larger than 262,144 bytes"),
    "too long a key": ("{'a' * 300000: 1}", "larger than 262,144 bytes"),
    "too deep": ("x = 1\nfor _ in range(100): x = [x]\nx", "nested deeper than 64"),
    "shared until it explodes": (
        "x = [1]\nfor _ in range(40): x = [x, x]\nx",
        "more than 20,000|killed|Memory|ended",
    ),
    "a number beyond 64 bits": ("2 ** 70", "beyond 64 bits"),
    "a key beyond 64 bits": ("{2 ** 5000: 1}", "beyond 64 bits"),
    "no number": ("float('nan')", "not a JSON number"),
    "no JSON": ("b'x'", "not JSON"),
    "a mapping's key": ("{(1, 2): 3}", "as key"),
}


@pytest.mark.parametrize(("source", "told"), UNFIT.values(), ids=UNFIT.keys())
async def test_what_does_not_fit_through_the_border_is_refused_in_words(sandbox, source, told):
    with pytest.raises(ProgramFailed, match=told):
        await run(sandbox, source)


async def test_what_does_not_fit_as_an_argument_can_be_caught_and_is_not_sent(sandbox):
    source = "try:\n    tool([0] * 30000)\nexcept TypeError as error:\n    told = str(error)\ntold"
    told = (await run(sandbox, source, nobody, ["tool"])).value
    assert told == "an argument of tool cannot be sent: it holds more than 20,000 values; hand over less"


async def test_what_comes_over_is_plain_json(sandbox):
    source = "import datetime\n[(1, 2), {3}, {1: 'a', None: 'b'}, datetime.date(2026, 1, 2), '\\ud83d'[:1]]"
    assert (await run(sandbox, source)).value == [[1, 2], [3], {"1": "a", "null": "b"}, "2026-01-02", "\ufffd"]


async def test_a_result_that_is_too_large_is_told_and_not_given(sandbox):
    async def answer(function, args, kwargs):
        return "x" * 300_000

    source = "try:\n    tool()\nexcept Exception as error:\n    told = str(error)\ntold"
    assert "was carried out, but its result of 300,002 bytes" in (await run(sandbox, source, answer, ["tool"])).value


async def test_results_are_bounded_together_and_no_further_call_is_made():
    """Forty-eight results of 190 kB in one program were more than its journal could hold."""
    made = 0

    async def answer(function, args, kwargs):
        nonlocal made
        made += 1
        return "x" * 190_000

    sandbox = Sandbox(max_programs=1)
    try:
        with pytest.raises(ProgramFailed, match="calls and their answers have more than 2,097,152 bytes already"):
            await run(sandbox, "kept = [tool() for _ in range(48)]", answer, ["tool"])
    finally:
        await sandbox.close()
    assert made == 12  # the twelfth brings it over the bound


async def test_a_host_inherits_no_secret_and_is_confined(sandbox, monkeypatch):
    monkeypatch.setenv("HIL_SECRET_OF_OURS", "hunter2")
    await run(sandbox, "1")
    (host,) = sandbox._all
    for pid in (host.pid, *children(host.pid)):
        assert b"HIL" not in Path(f"/proc/{pid}/environ").read_bytes()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max address space +536870912 +536870912", limits)
        assert os.getpriority(os.PRIO_PROCESS, pid) >= 10


def test_hosts_end_with_a_process_that_is_killed():
    program = textwrap.dedent(
        """
        import asyncio, os, signal
        from agents.sandbox import Sandbox

        async def main():
            sandbox = Sandbox()
            async def answer(*call):
                print(*(host.pid for host in sandbox._all), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            await sandbox.run("tool()\\nwhile True: pass", functions=["tool"], answer=answer)

        asyncio.run(main())
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={**os.environ})
    pid = int(ended.stdout)
    for _ in range(600):
        if not running(pid):
            return
        time.sleep(0.05)
    raise AssertionError("the host is still there")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = stat.read_text().rpartition(")")[2]
        except OSError:
            continue
        if int(rest.split()[1]) == parent:
            found.append(int(stat.parent.name))
    return found

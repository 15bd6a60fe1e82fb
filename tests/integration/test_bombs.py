"""What the meter counts is enough: measured in a process of its own, in processor time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEASURE = textwrap.dedent(
    """
    import json, os, resource, time
    from tests.unit.workflows.bombs import HEAVY, JMESPATH, PYTHON, TEMPLATES
    from tests.unit.workflows.test_bombs import evaluate

    def reference():
        began = time.process_time()
        total = 0
        for number in range(500_000):
            total += number
        return time.process_time() - began

    def measured(language, source):
        reading, writing = os.pipe()
        child = os.fork()
        if child:
            os.close(writing)
            with open(reading) as told:
                said = told.read()
            os.waitpid(child, 0)
            return json.loads(said or "[]")
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            try:
                evaluate(language, source)
            except MemoryError:
                os._exit(1)
            except Exception:
                pass
            best = min(best, time.process_time() - began)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(writing, json.dumps([best, grown]).encode())
        os._exit(0)

    held = [("python_expr", each) for each in PYTHON] + [("jmespath", each) for each in JMESPATH]
    held += [("template", each) for each in TEMPLATES] + [each[:2] for each in HEAVY]
    unit = min(reference() for _ in range(9))
    print(json.dumps([unit, [[*each, *measured(*each)] for each in held]]))
    """
)


def test_no_evaluation_takes_more_time_or_memory_than_its_budget_stands_for() -> None:
    """The bound on time is a number of turns of an empty loop on this machine, twelve times what the budget stands for."""
    ended = subprocess.run([sys.executable, "-c", MEASURE], cwd=ROOT, capture_output=True, text=True, timeout=900, check=True)
    turns_s, rows = json.loads(ended.stdout)
    assert [row[:2] for row in rows if len(row) < 4] == []  # none was killed
    slow = [(language, source[:80], seconds) for language, source, seconds, _ in rows if seconds > 12 * turns_s]
    large = [(language, source[:80], kilobytes) for language, source, _, kilobytes in rows if kilobytes > 64 * 1024]
    assert (slow, large) == ([], [])

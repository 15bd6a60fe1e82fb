"""Keeps children for one parent and ends them when that parent is gone, however it went. Never outlives its children.

Run as a script in a session of its own, with the standard library alone, so that Ctrl-C in a terminal does not reach it and
kill -9 of the parent is seen as the end of its standard input. One JSON object a line:
in   {"name", "argv", "env", "log", "stop": signal, "halt": signal, "user": [uid, gid] or null, "reach": [paths]}
out  {"started": name, "pid": n} · {"failed": name, "error": words} · {"exited": name, "code": n}
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = (10.0, 4.0, 2.0)
"""How long children have after the gentle signal, after the firm one, and after SIGKILL."""
LAUNCH = Path(__file__).with_name("launch.py")


class Guard:
    """The children and how each wants to be ended."""

    def __init__(self, record: Path) -> None:
        self.record = record
        self.parent = os.getppid()
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.orders: dict[str, dict[str, Any]] = {}

    def say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the parent may be gone; the children still need their end
            os.write(1, json.dumps(message).encode() + b"\n")

    def write_record(self) -> None:
        """Leave word of who runs, for a later start to find if this process is killed too."""
        temporary = self.record.with_suffix(".new")
        temporary.write_text(json.dumps({"guard": os.getpid(), "children": {name: c.pid for name, c in self.children.items()}}))
        temporary.replace(self.record)

    def start(self, order: dict[str, Any]) -> None:
        name = order["name"]
        wrapper = [sys.executable, "-I", "-S", str(LAUNCH), "--parent", str(os.getpid()), "--signal", str(order["stop"])]
        if order["user"]:
            wrapper += ["--user", "{}:{}".format(*order["user"])] + [
                part for path in order["reach"] for part in ("--reach", path)
            ]
        try:
            with open(order["log"], "ab") as log:
                child = subprocess.Popen(  # noqa: S603 - the orders come from our parent alone
                    [*wrapper, "--", *order["argv"]],
                    env=order["env"],
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            self.say({"failed": name, "error": str(error)})
            return
        self.children[name], self.orders[name] = child, order
        self.write_record()
        self.say({"started": name, "pid": child.pid})

    def reap(self) -> None:
        for name, child in list(self.children.items()):
            code = child.poll()
            if code is not None:
                del self.children[name]
                self.say({"exited": name, "code": code})

    def end_all(self) -> None:
        """Gently, then firmly, then at once; returns when no child is left."""
        for wanted, patience in zip(("stop", "halt", None), PATIENCE_SECONDS, strict=True):
            for name, child in self.children.items():
                with contextlib.suppress(OSError):
                    if wanted is None:
                        os.killpg(child.pid, signal.SIGKILL)
                    else:
                        child.send_signal(self.orders[name][wanted])
            until = time.monotonic() + patience
            while self.children and time.monotonic() < until:
                time.sleep(0.02)
                self.reap()
        if not self.children:
            self.record.unlink(missing_ok=True)

    def run(self) -> None:
        """Obey orders until the parent is gone or asks for the end."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        asked: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        rest = b""
        # A process the parent forked may hold the pipe open after the parent's death, so the parent's pid is watched as well.
        while not asked and os.getppid() == self.parent:
            for key, _ in selector.select(timeout=1.0):
                data = os.read(key.fd, 65536)
                if key.fd == 0:
                    if not data:
                        return
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self.start(json.loads(line))
            self.reap()


def main() -> None:
    """`guard.py RECORD`: RECORD is where the running pids are written."""
    guard = Guard(Path(sys.argv[1]))
    try:
        guard.run()
    finally:
        guard.end_all()


if __name__ == "__main__":
    main()

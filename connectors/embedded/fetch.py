"""Fetches pinned jars into the Maven repository folder of this user. A process of its own, so that Ctrl-C ends it at once.

Reads pins as `sha256 bytes group:artifact:version` lines. Writes one JSON object a line: {"bytes"} as they come,
{"error", "kind"} if it fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STREAMS = 8


def say(**message: object) -> None:
    """One write a line, so that lines of several threads do not mix; fails when nobody listens any more."""
    os.write(1, json.dumps(message).encode() + b"\n")


@contextmanager
def counted(_name: str, _size: int) -> Iterator[Any]:
    """jgo's progress hook: passes each chunk's size on."""
    yield lambda count: say(bytes=count)


def fetch(line: str, context: Any, repository: Path) -> None:
    """Download one jar beside its place, check it, and move it there in one step."""
    digest, _, coordinate = line.split()
    group, artifact, version = coordinate.split(":")
    downloaded = context.project(group, artifact).at_version(version).artifact().resolve()
    with downloaded.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != digest:
        raise ValueError(f"{coordinate} was downloaded with sha256 {actual}, expected {digest}")
    target = repository / downloaded.relative_to(context.repo_cache)
    target.parent.mkdir(parents=True, exist_ok=True)
    downloaded.replace(target)


def root_cause(error: BaseException) -> str:
    """The innermost reason of a failed request, without the wrappings of two libraries."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return str(reason or error).rsplit(": ", 1)[-1].rstrip("\")'")


def main() -> None:
    """Pins on standard input; arguments: the repository folder, and a folder on the same disk for what is not whole yet."""
    import requests
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    repository, temporary = map(Path, sys.argv[1:])
    pins = sys.stdin.read().splitlines()
    repositories = dict(GlobalSettings.load().repositories) or {"central": MAVEN_CENTRAL_URL}
    try:
        context = MavenContext(PythonResolver(progress_callback=counted), temporary, [], repositories, timeout=30)
        pool = ThreadPoolExecutor(STREAMS)
        try:
            for _ in pool.map(lambda pin: fetch(pin, context, repository), pins):
                pass
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    except requests.RequestException as error:
        say(kind="unreachable", error=f"{', '.join(repositories.values())} cannot be reached ({root_cause(error)})")
    except OSError as error:
        say(kind="folder", error=str(error), errno=error.errno, path=str(error.filename or repository))
    except ValueError as error:
        say(kind="mismatch", error=str(error))
    except RuntimeError as error:  # jgo: not found in any repository
        say(kind="unreachable", error=str(error))
    else:
        return
    os._exit(1)  # threads may still wait for the network


if __name__ == "__main__":
    main()

"""Becomes another program: as an unprivileged user when asked, and so that it ends with the process that started it.

Run as a script, with the standard library alone. Postgres refuses to run as root; where root is all there is (a container, a
build machine), this drops to a user that owns nothing but the database's files. Files on the way there may be closed to that
user (a virtualenv below /root, a 0700 temporary folder): then it keeps the one capability that lets it read past them, which
changes no permission of any file and adds no user to the system.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 28, 47, 2
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SETPCAP = 1, 2, 8
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def become(uid: int, gid: int, reach: list[str]) -> None:
    """Give up root for `uid`. Keeps one capability for reading only if a path in `reach` is closed to that user."""
    linux = sys.platform == "linux"
    libc = ctypes.CDLL(None, use_errno=True) if linux else None
    if libc is not None:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise SystemExit(
            f"cannot act as user {uid} here ({error.strerror}): start as an ordinary user, or set HIL_DATABASE_URL"
        ) from error
    closed = [path for path in reach if not os.access(path, os.X_OK)]
    if not closed:
        return  # the next exec drops what KEEPCAPS kept
    if libc is None or (not _keep(libc, CAP_DAC_READ_SEARCH) and not _keep(libc, CAP_DAC_OVERRIDE)):
        raise SystemExit(f"cannot reach {closed[0]} as user {uid}")


def _keep(libc: ctypes.CDLL, capability: int) -> bool:
    """Hold `capability`, and no other, across the next exec. False if this process does not have it."""
    only = 1 << capability
    # Without this bit access(2), by which initdb looks for its server, ignores capabilities of a user that is not root.
    if _set(libc, only | 1 << CAP_SETPCAP):
        libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    if not _set(libc, only):
        return False
    return bool(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0)


def _set(libc: ctypes.CDLL, capabilities: int) -> bool:
    """Have these capabilities and no others. False if one of them is not there to have."""
    header, sets = _Header(CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    sets[0] = _Sets(capabilities, capabilities, capabilities)
    return bool(libc.capset(ctypes.byref(header), sets) == 0)


def end_with_parent(sent: int, parent: int) -> None:
    """Have the kernel send a signal when the parent dies (Linux). Elsewhere the guard alone sees to it."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sent, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        raise SystemExit(1)


def main() -> None:
    """`launch.py --parent PID --signal N [--user UID:GID --reach PATH…] -- PROGRAM ARGUMENT…`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--user")
    parser.add_argument("--reach", action="append", default=[])
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    os.umask(0o077)
    if options.user:
        uid, _, gid = options.user.partition(":")
        become(int(uid), int(gid), options.reach)
    end_with_parent(options.signal, options.parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(options.program[0], options.program)  # noqa: S606 - the program is ours, and there is no shell


if __name__ == "__main__":
    main()

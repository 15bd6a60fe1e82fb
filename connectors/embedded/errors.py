"""Why an embedded part cannot run. Each message names the thing, the cause and what to do."""

from __future__ import annotations

import errno
from pathlib import Path


class EmbeddedError(Exception):
    """An embedded part cannot start or has ended. Meant to be shown to the user as it is."""


def about_folder(error: OSError, path: Path) -> EmbeddedError:
    """Put a file system's refusal into words."""
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EmbeddedError(f"The disk that holds {path} is full: free some space, or set HIL_DATA to a folder on another disk.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EmbeddedError(
            f"{where} cannot be written ({error.strerror}): give yourself access to it, or set HIL_DATA to a folder of your own."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return EmbeddedError(f"{where} is not a folder: move that file away, or set HIL_DATA to another folder.")
    return EmbeddedError(f"{where} cannot be used ({error.strerror or error}): set HIL_DATA to another folder.")


def put_aside(home: Path) -> str:
    """The way out of damaged data."""
    return f"move {home} away and start again (what it holds is gone then), or put back a copy of it that works"

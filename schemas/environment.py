"""What a child process is told of our environment: how to run, and no secret. Who needs more is given it by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

NAMES = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TZDIR",
        "TMPDIR",
        "TEMP",
        "TMP",
        "XDG_CACHE_HOME",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONUTF8",
        "PYTHONIOENCODING",
        "PYTHONWARNINGS",
        "PYTHONDONTWRITEBYTECODE",
    }
)
DOWNLOADING = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("M2_REPO", "M2_HOME", "MAVEN_HOME", "XDG_CONFIG_HOME", "JGO_CONFIG_FILE", "JGO_CACHE_DIR"),
)
"""What a child needs beside to fetch something from the network."""


def child_environment(more: Sequence[str] = (), *, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child: NAMES and locales of ours, and `more` where they are set."""
    ours = os.environ if environ is None else environ
    return {name: value for name, value in ours.items() if name in NAMES or name in more or name.startswith("LC_")}

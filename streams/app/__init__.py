"""The one place where parts are put together, and the entry point of the `hil` command."""

from __future__ import annotations

import logging
import os
import sys


def main() -> None:
    """Run one command. Settings come from the environment; a fault in them ends with 2 and says which."""
    from connectors.cli.main import build
    from connectors.settings import Settings, SettingsError
    from streams.app.groups import groups
    from streams.app.system import Application

    _quiet()
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    application = Application(settings)
    build(application, groups(application))()


def _quiet() -> None:
    """Warnings of ours go to standard error. aiokafka logs what it then retries, or raises where we put it into words."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

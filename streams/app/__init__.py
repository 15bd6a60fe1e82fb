"""The one place where parts are put together, and the entry point of the `hil` command."""

from __future__ import annotations

import os
import sys

from schemas.shown import masked, visible
from streams.app.logs import configure, unexpected


def main() -> None:
    """Run one command. Settings come from the environment; a fault in them ends with 2 and says which."""
    from connectors.cli.main import build
    from connectors.settings import Settings, SettingsError
    from streams.app.groups import groups
    from streams.app.system import Application

    configure()
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"error: {visible(masked(str(error)), lines=True)}\n")
        raise SystemExit(2) from None
    application = Application(settings)
    try:
        build(application, groups(application))()
    except Exception as error:  # noqa: BLE001 - a defect: it is said with its traceback, as carefully as a log
        unexpected(type(error), error, error.__traceback__)
        raise SystemExit(1) from None

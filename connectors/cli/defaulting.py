"""A command group whose most used command needs no name: `hil replay TOPIC …` is `hil replay view TOPIC …`."""

from __future__ import annotations

import typer
from typer.core import TyperGroup


class ReplayGroup(TyperGroup):
    """Also takes a command as an option: `hil replay --verify` is `hil replay verify`."""

    default = "view"

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        return super().parse_args(ctx, self.completed(args))

    def completed(self, args: list[str]) -> list[str]:
        """The arguments with the command they mean in front."""
        known = self.commands
        for name in known:
            if f"--{name}" in args and not (args and args[0] in known):
                at = args.index(f"--{name}")
                return [name, *args[:at], *args[at + 1 :]]
        if args and args[0] not in known and args[0] not in ("--help", "-h"):
            return [self.default, *args]
        return args

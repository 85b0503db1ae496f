"""Commands that are imported when they are called: torch takes seconds, and most commands have no need of it."""

from __future__ import annotations

import importlib

import click


class LazyCommand(click.Command):
    """Stands for a command in lists, with a line of help, until it is called.

    Args:
        place: where the command is, ``module:name``.
    """

    def __init__(self, name: str, place: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self._place = place

    def load(self) -> click.Command:
        """The command itself."""
        module, _, name = self._place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


class LazyGroup(click.Group):
    """A group whose commands may be lazy ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """What is to be called, loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest

"""`secagg completion`: what a shell needs to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Example:
      eval "$(secagg completion bash)"
    """
    root = context.find_root()
    found = get_completion_class(shell)
    if found:
        click.echo(found(root.command, {}, "secagg", "_SECAGG_COMPLETE").source())

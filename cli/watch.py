"""`secagg watch`: a running training, on the terminal or on a page that this machine alone can open."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import click
from rich.live import Live

from cli.effect import is_given
from cli.output import console, json_option, print_json
from cli.paths import EXISTING_FOLDER
from cli.watch_view import show_training
from secagg.errors import InputError
from training.watching.server import WatchServer
from training.watching.watched import read_watched

_BETWEEN_SECONDS = 1.0


@click.command()
@click.argument("folder", type=EXISTING_FOLDER)
@click.option("--html", is_flag=True, help="Serve a page on 127.0.0.1, and print its address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the page; a free one if not given.")
@click.option("--once", is_flag=True, help="Show the current state once, and exit.")
@json_option
@click.pass_context
def watch(context: click.Context, folder: Path, html: bool, port: int, once: bool, as_json: bool) -> None:
    """Watch the training in FOLDER: a simulation or demo, a hospital's site, or a coordinator's.

    Shows rounds, who was in each sum, the metric where it is known, and how much of the budget is spent. Ends with the
    training, also if that has failed and nothing is running any more, or on Ctrl-C, which does not disturb it. Works on
    a finished run too.

    The page of --html can be opened on this machine only: its address holds a secret. It loads nothing from elsewhere.

    \b
    Examples:
      secagg watch runs/demo
      secagg watch /var/lib/secagg --html
      secagg watch runs/demo --json
    """
    if html and (once or as_json):
        raise click.UsageError("--html serves a page until Ctrl-C: leave out --once and --json.")
    if is_given(context, "port") and not html:
        raise click.UsageError("--port is the page's: add --html.")
    if as_json:
        print_json(read_watched(folder))
    elif html:
        _serve(folder, port)
    elif once:
        console.print(show_training(read_watched(folder)))
    else:
        _follow(folder)


def _follow(folder: Path) -> None:
    found = read_watched(folder)
    # Who has seen enough ends it by Ctrl-C: nothing is interrupted by that.
    with Live(show_training(found), console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while not found.is_over:
            time.sleep(_BETWEEN_SECONDS)
            found = read_watched(folder)
            live.update(show_training(found), refresh=True)
    if not console.is_terminal:
        # Only on a terminal is the last line ended already.
        console.line()


def _serve(folder: Path, port: int) -> None:
    # What cannot be watched is said here, and not on the page.
    read_watched(folder)
    try:
        server = WatchServer(lambda: read_watched(folder), port)
    except OSError as error:
        raise InputError(
            "port-in-use",
            f"Port {port} cannot be used: {error.strerror}.",
            remedy="Leave out --port: a free one is then chosen.",
        ) from error
    with server, suppress(KeyboardInterrupt):
        click.echo(f"Open {server.url}")
        click.echo("Anybody on this machine who has this address can see the page. Ctrl-C ends it.")
        server.serve_forever()

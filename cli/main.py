"""The `secagg` command: its groups, and the one place where errors become a line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage or unusable input, 3 refused by policy or budget, 4 tampering, 130 stopped.
"""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import version
from pathlib import Path

import click

from cli.json_text import json_text
from cli.lazy import LazyCommand, LazyGroup
from secagg.errors import InputError, SecaggError
from secagg.files import unreadable
from secagg.printable import printable

_FAILED = 1
_USAGE = 2
# Raised since click 8.2; before, `secagg` alone simply shows its help.
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("secagg"), prog_name="secagg")
@click.option("--verbose", is_flag=True, help="Show the traceback of unexpected errors.")
def cli(verbose: bool) -> None:
    """Train one model with other hospitals; nobody sees anybody's update.

    \b
    Examples, to start with:
      secagg demo                     a consortium on this machine, on real data
      secagg simulate --help          the same with your own data
      secagg doctor                   is this machine ready?
    """


for _name, _help in (
    ("demo", "A consortium on this machine, on real data, to a signed model."),
    ("simulate", "A consortium on this machine, on data of your own."),
    ("identity", "This hospital's signing key."),
    ("charter", "What the consortium agrees on, signed by every member."),
    ("watch", "A running training, on the terminal or on a page."),
    ("hospital", "This hospital's site, in the field."),
    ("coordinator", "The coordinator's site, in the field."),
    ("plan", "What each scheme would cost a consortium of some size."),
    ("bench", "What protection costs, beside what others would use."),
    ("audit", "What was sent and summed, from the records kept of it."),
    ("policy", "What this site accepts, and who may loosen it."),
    ("budget", "This site's privacy budget."),
    ("model", "The released model that belongs to all."),
    ("doctor", "Check this machine: packages, device, storage, speed, schemes."),
    ("completion", "Print the completion script for a shell."),
):
    cli.add_command(LazyCommand(_name, f"cli.{_name}:{_name}", _help))


def main() -> None:
    """Run the command and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command; its exit code. Every failure ends in one line on standard error: JSON where ``--json`` is."""
    try:
        outcome = cli.main(arguments, prog_name="secagg", standalone_mode=False)
    except _NO_ARGUMENTS as error:
        error.show()
        return _USAGE
    except BrokenPipeError:
        return _FAILED
    except Exception as error:
        return _report(error, arguments)
    return outcome if isinstance(outcome, int) else 0


class InterruptedRunError(SecaggError):
    """Somebody stopped the command."""

    exit_code = 130


def _report(error: Exception, arguments: list[str]) -> int:
    told = _named(error)
    if told.reason == "internal" and "--verbose" in arguments:
        traceback.print_exception(error)
    if "--json" in arguments:
        content = {
            "reason": told.reason,
            "message": told.message,
            "culprit": told.culprit,
            "remedy": told.remedy,
            "exit_code": told.exit_code,
        }
        click.echo(json_text({"error": content}).decode(), err=True)
    else:
        prefix = "" if isinstance(told, InterruptedRunError) else "Error: "
        # A file's name may hold a line break, and what is in it anything; an error is one line all the same.
        click.echo(printable(" ".join(f"{prefix}{told.diagnostics()}".splitlines())), err=True)
    return told.exit_code


def _named(error: Exception) -> SecaggError:
    """Every failure as one of ours: with a reason, a sentence and a remedy."""
    match error:
        case SecaggError():
            return error
        case click.exceptions.Abort():
            # click turns an interruption into Abort; what we said about it is the cause's.
            remedy = str(error.__cause__ or "") or "What was finished is kept."
            return InterruptedRunError("interrupted", "Interrupted.", remedy=remedy)
        case click.ClickException():
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "secagg"
            return InputError("usage", _sentence(error.format_message()), remedy=f"See `{command} --help`.")
        case OSError(strerror=str(), filename=str(name)):
            # `Path.exists` and its like raise it too, where a folder on the way may not be entered.
            return unreadable(Path(name), error)
        case _:
            what = _sentence(f"Internal error: {type(error).__name__}: {error}")
            return SecaggError("internal", what, remedy="Run again with `secagg --verbose …`.")


def _sentence(text: str) -> str:
    """On one line, with a full stop unless it ends in another mark."""
    line = " ".join(text.split())
    return line if line.endswith((".", "?", "!")) else f"{line}."

"""The `secagg` command: its groups, and the one place where errors become a line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage or unusable input, 3 refused by policy or budget, 4 tampering, 130 stopped.
"""

from __future__ import annotations

import errno
import io
import signal
import sys
import traceback
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import click

from cli.json_text import json_text
from cli.lazy import LazyCommand, LazyGroup
from cli.own_packages import require_own_packages
from secagg.errors import InputError, SecaggError
from secagg.files import too_many_files, unreadable
from secagg.printable import printable

_FAILED = 1
_USAGE = 2
# Faults of which a traceback shows where they are, in this program or in the code of somebody's own task.
_TRACED = frozenset({"internal", "custom-task", "building-fails"})
# Raised since click 8.2; before, `secagg` alone simply shows its help.
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("secagg"), prog_name="secagg")
@click.option("--verbose", is_flag=True, help="Show the traceback of unexpected errors, also of a task's own code.")
def cli(verbose: bool) -> None:
    """Train one model together with other hospitals; nobody sees any single hospital's update.

    \b
    Examples, to start with:
      secagg demo                     eight simulated hospitals, with real data
      secagg simulate --help          the same with your own data
      secagg doctor                   check whether this machine is ready
    """


for _name, _help in (
    ("demo", "Simulate eight hospitals, from real data to a signed model."),
    ("simulate", "Simulate a consortium with your own data."),
    ("identity", "Make and show this hospital's signing key."),
    ("charter", "Draft, sign and verify what all hospitals agree on."),
    ("watch", "Watch a running training in the terminal or in a browser."),
    ("hospital", "Set up and run this hospital's part of a networked training."),
    ("coordinator", "Set up and run the coordinator of a networked training."),
    ("plan", "Recommend settings for a consortium, and estimate the costs."),
    ("bench", "Benchmark each scheme against averaging, NVFlare and Flower."),
    ("audit", "Check and report what was sent and summed; test the protection."),
    ("policy", "Write, check and sign this site's policy: what it accepts."),
    ("budget", "Show, verify, plan and export this site's privacy budget."),
    ("model", "Show, verify and export the released model."),
    ("doctor", "Check this machine: packages, device, storage, speed, schemes."),
    ("completion", "Print the completion script for a shell."),
):
    cli.add_command(LazyCommand(_name, f"cli.{_name}:{_name}", _help))


def main() -> None:
    """Run the command and exit with its code. SIGTERM ends it as Ctrl-C does."""
    ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        # What is half done is tidied up, and the last line says how to go on.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            # The name of a file need not be text, and a terminal may lack signs that are.
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    # While the interpreter ends, another would be told as an error of whatever is taken down just then.
    if ours:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if code == InterruptedRunError.exit_code:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command; its exit code. Every failure ends in one line on standard error: JSON where ``--json`` is."""
    try:
        require_own_packages(sys.path)
        outcome = cli.main(arguments, prog_name="secagg", standalone_mode=False)
    except _NO_ARGUMENTS as error:
        error.show()
        return _USAGE
    except (Exception, KeyboardInterrupt) as error:
        # Before click tells that somebody stopped it, it writes a line, which may fail.
        before = error.__context__
        cause = before if isinstance(error, OSError) and isinstance(before, KeyboardInterrupt) else error
        if isinstance(cause, BrokenPipeError):
            return _FAILED
        told = _named(cause, arguments)
        # Where nobody can be told, the exit code is all that a supervisor has.
        with suppress(OSError):
            _tell(told, cause, arguments)
        return told.exit_code
    return outcome if isinstance(outcome, int) else 0


class InterruptedRunError(SecaggError):
    """Somebody stopped the command."""

    exit_code = 130


def _tell(told: SecaggError, error: BaseException, arguments: list[str]) -> None:
    if told.reason in _TRACED and "--verbose" in arguments:
        traceback.print_exception(error)
    if "--json" in arguments:
        content = {"error": told.fields() | {"exit_code": told.exit_code}}
        click.echo(json_text(content).decode(), err=True)
    else:
        prefix = "" if isinstance(told, InterruptedRunError) else "Error: "
        # A file's name may hold a line break, and what is in it anything; an error is one line all the same.
        click.echo(printable(" ".join(f"{prefix}{told.diagnostics()}".splitlines())), err=True)


def _named(error: BaseException, arguments: list[str]) -> SecaggError:
    """Every failure as one of ours: with a reason, a sentence and a remedy."""
    match error:
        case SecaggError():
            return error
        case click.exceptions.Abort() | KeyboardInterrupt():
            # click turns an interruption into Abort; what we said about it is the cause's.
            remedy = str(error.__cause__ or "") or "What was finished, if anything, is kept: give the command again."
            return InterruptedRunError("interrupted", "Interrupted.", remedy=remedy)
        case click.ClickException():
            context = getattr(error, "ctx", None)
            path = context.command_path if context else _command_path(arguments)
            return InputError("usage", _sentence(error.format_message()), remedy=f"See `{path} --help`.")
        case OSError(strerror=str(), filename=str(name)):
            # `Path.exists` and its like raise it too, where a folder on the way may not be entered.
            return unreadable(Path(name), error)
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return too_many_files()
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return InputError(
                "unwritable",
                f"The output could not be written: {error.strerror}.",
                remedy="Free some space, or let it be written elsewhere.",
            )
        case _:
            what = _sentence(f"Internal error: {type(error).__name__}: {error}")
            return SecaggError("internal", what, remedy="Run again with `secagg --verbose …`.")


def _command_path(arguments: list[str]) -> str:
    """The command that is meant. Where an option lacks its argument, click does not say which it was parsing."""
    path = ["secagg"]
    command: click.Command = cli
    for argument in arguments:
        if not isinstance(command, click.Group):
            break
        if found := command.commands.get(argument):
            path.append(argument)
            command = found.load() if isinstance(found, LazyCommand) else found
    return " ".join(path)


def _sentence(text: str) -> str:
    """On one line, with a full stop unless it ends in another mark."""
    line = " ".join(text.split())
    return line if line.endswith((".", "?", "!")) else f"{line}."

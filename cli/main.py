"""The `secagg` command: its groups, and the one place where errors become a line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage or unusable input, 3 refused by policy or budget, 4 tampering, 130 stopped.
"""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import version

import click
import msgspec

from cli.budget import budget
from cli.charter import charter
from cli.completion import completion
from cli.demo import demo
from cli.doctor import doctor
from cli.identity import identity
from cli.model import model
from cli.simulate import simulate
from secagg.errors import SecaggError

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("secagg"), prog_name="secagg")
@click.option("--verbose", is_flag=True, help="Show the traceback of unexpected errors.")
def cli(verbose: bool) -> None:
    """Train one model with other hospitals; nobody sees anybody's update.

    \b
    Start here:
      secagg demo                     a consortium on this machine, on real data
      secagg simulate --help          the same with your own data
      secagg doctor                   is this machine ready?
    """


for command in (demo, simulate, identity, charter, budget, model, doctor, completion):
    cli.add_command(command)


def main() -> None:
    """Run the command and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command; its exit code. Every expected failure ends in one line on standard error."""
    try:
        outcome = cli.main(arguments, prog_name="secagg", standalone_mode=False)
    except SecaggError as error:
        _say(error, arguments)
        return error.exit_code
    except click.exceptions.Abort as error:
        # click turns an interruption into Abort; what we said about it is the cause's.
        click.echo(f"Interrupted. {str(error.__cause__ or '') or 'What was finished is kept.'}", err=True)
        return _INTERRUPTED
    except click.ClickException as error:
        error.show()
        return _USAGE
    except BrokenPipeError:
        return _FAILED
    except Exception as error:
        if "--verbose" in arguments:
            traceback.print_exc()
        click.echo(f"Internal error: {type(error).__name__}: {error}. Run again with `secagg --verbose …`.", err=True)
        return _FAILED
    return outcome if isinstance(outcome, int) else 0


def _say(error: SecaggError, arguments: list[str]) -> None:
    if "--json" not in arguments:
        click.echo(f"Error: {error.diagnostics()}", err=True)
        return
    content = {
        "reason": error.reason,
        "message": error.message,
        "culprit": error.culprit,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
    }
    click.echo(msgspec.json.encode({"error": content}).decode(), err=True)

"""Every command: help with an example, JSON for results and for errors, one line and one code for each failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli.lazy import LazyCommand
from cli.main import cli, run
from tests.cli.outcome import FAILED, INTERRUPTED, UNUSABLE, copy_of, shut_out_of
from tests.support.few_files import room_for

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from cli.main import main; main()"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def loaded(command: click.Command) -> click.Command:
    return command.load() if isinstance(command, LazyCommand) else command


def every_command(command: click.Command = cli, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = command.commands.items() if isinstance(command, click.Group) else ()
    return [path, *(found for name, child in below for found in every_command(loaded(child), (*path, name)))]


def at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = loaded(command.commands[name])
    return command


LEAVES = [path for path in every_command() if not isinstance(at(path), click.Group)]


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_and_group_has_help_with_an_example(secagg, path, option):
    shown = secagg(*path, option).shown
    assert shown.startswith(f"Usage: {' '.join(('secagg', *path))} ")
    assert "Example" in shown
    assert f"secagg {' '.join(path)}" in shown.split("Example", 1)[1]


def test_no_help_waits_for_torch_or_whatever_trains():
    # This module loads every command when it is imported, as a shell does that completes options.
    script = f"import sys, {__name__}; print(sorted({{'torch', 'opacus', 'nvflare', 'sklearn'}} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("path", [path for path in LEAVES if path != ("completion",)], ids=" ".join)
def test_every_command_that_prints_a_result_can_print_it_as_json(path):
    assert any("--json" in parameter.opts for parameter in at(path).params)


def test_every_command_is_listed_with_a_line_of_help(secagg):
    for path in (path for path in every_command() if isinstance(at(path), click.Group)):
        lines = secagg(*path, "--help").out.partition("Commands:\n")[2].splitlines()
        assert [line.split()[0] for line in lines] == sorted(at(path).commands)
        assert not any(line.endswith("...") for line in lines)
        assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_says_what_it_is(path):
    options = [parameter for parameter in at(path).params if isinstance(parameter, click.Option)]
    assert [option.opts[0] for option in options if not option.help] == []


def test_the_version_is_told(secagg):
    assert secagg("--version").shown.startswith("secagg, version ")


@pytest.mark.parametrize("path", [(), ("identity",), ("charter",), ("budget",), ("audit",), ("model",)], ids=" ".join)
def test_a_group_alone_shows_its_help(secagg, path):
    outcome = secagg(*path)
    assert "Commands:" in outcome.out + outcome.err


# Errors


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (["simulat"], ["simulat", "secagg --help"]),
        (["identity", "shw"], ["shw", "secagg identity --help"]),
        (["identity", "new", "--passphrase"], ["--passphrase", "secagg identity new --help"]),
        (["completion"], ["bash, zsh, fish. See", "secagg completion --help"]),
        (["simulate", "--resume"], ["'--resume' requires an argument", "secagg simulate --help"]),
        (["--verbose", "charter", "new", "--epsilon"], ["requires an argument", "secagg charter new --help"]),
        (["model", "show", "one", "two"], ["two", "secagg model show --help"]),
        (["identity", "show", "k.pem", "--passphrase-file", "none.txt"], ["--passphrase-file", "none.txt"]),
        (["budget", "show", __file__], [__file__, "is a file"]),
    ],
)
def test_wrong_usage_is_told_on_one_line_that_says_where_to_look(secagg, arguments, mentions):
    secagg(*arguments).failed(UNUSABLE, "usage", *mentions)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["identity", "show", "none.pem"], "unreadable"),
        (["charter", "show", "none"], "unreadable"),
        (["charter", "verify", "none"], "unreadable"),
        (["charter", "sign", "none"], "unreadable"),
        (["budget", "show", "none"], "no-ledger"),
        (["budget", "verify", "none"], "no-ledger"),
        (["audit", "egress", "none"], "unreadable"),
        (["model", "show", "none"], "no-release"),
        (["model", "verify", "none"], "unreadable"),
        (["simulate", "--resume", "none"], "not-a-run"),
        (["demo", "--out", "data"], "folder-not-empty"),
        (["simulate", "--no-such-option"], "usage"),
        (["simulate"], "usage"),
        (["no-such-command"], "usage"),
    ],
)
def test_an_error_with_json_is_json_on_standard_error_and_has_a_remedy(secagg, here, arguments, reason):
    outcome = secagg(*arguments, "--json")
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert outcome.code == UNUSABLE
    assert outcome.error["reason"] == reason
    assert outcome.error["message"]
    assert outcome.error["remedy"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["policy", "show", "{home}"],
        ["hospital", "status", "{home}"],
        ["coordinator", "status", "{home}"],
        ["budget", "show", "{home}"],
        ["audit", "egress", "{home}"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_folder_that_this_account_may_not_look_into_is_named(secagg, finished, arguments):
    arguments = [argument.format(home=finished / "hospitals/h1") for argument in arguments]
    # What is loaded when a command is first run, nobody else may be able to read.
    secagg(*arguments)
    with shut_out_of(finished / "hospitals"):
        outcome = secagg(*arguments)
    outcome.failed(UNUSABLE, "unreadable", finished / "hospitals/h1", "Permission denied", "permissions")


def test_a_name_with_a_line_break_does_not_break_the_line(secagg, here):
    secagg("identity", "show", "two\nlines.pem").failed(UNUSABLE, "unreadable", "two lines.pem")


def test_a_name_that_is_no_text_is_told_in_json_too(secagg, here):
    name = os.fsdecode(b"p\xff.toml")
    assert "p\\udcff.toml" in secagg("policy", "check", name, "--json").error["message"]
    assert secagg("policy", "new", name, "--json").json["path"] == "p\\udcff.toml"
    assert secagg("policy", "check", name, "--json").json["policy"] == "p\\udcff.toml"


@click.command()
@click.option("--json", "as_json", is_flag=True)
def broken(as_json: bool) -> None:
    """Fails as no command should."""
    raise RuntimeError("one\ntwo")


@pytest.fixture
def defect():
    """A command with a defect, for as long as a test takes."""
    cli.add_command(broken)
    yield
    del cli.commands["broken"]


def test_a_defect_is_one_line_too(secagg, defect):
    secagg("broken").failed(FAILED, "internal", "RuntimeError: one two", "secagg --verbose")


def test_a_defect_shows_its_traceback_if_asked(secagg, defect):
    outcome = secagg("--verbose", "broken")
    assert outcome.code == FAILED
    assert "Traceback" in outcome.err
    assert outcome.err.endswith("[internal]\n")


@click.command()
def piped() -> None:
    """Needs files that have no name."""
    os.pipe()


def test_where_no_more_files_can_be_open_that_is_no_defect(secagg, monkeypatch):
    monkeypatch.setitem(cli.commands, "piped", piped)
    with room_for(1):
        outcome = secagg("piped")
    outcome.failed(UNUSABLE, "too-many-files", "A file cannot be opened", "ulimit -n")


def test_a_defect_with_json_is_json(secagg, defect):
    outcome = secagg("broken", "--json")
    assert outcome.code == FAILED
    assert outcome.error["reason"] == "internal"


# Results as JSON


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "--resume", "{run}"],
        ["budget", "show", "{run}/hospitals/h1"],
        ["budget", "verify", "{run}/hospitals/h1"],
        ["audit", "egress", "{run}/hospitals/h1"],
        ["charter", "show", "{run}/charter"],
        ["charter", "verify", "{run}/charter"],
        ["model", "show", "{run}/release"],
        ["model", "verify", "{run}/release"],
        ["identity", "show", "{run}/hospitals/h1/identity.pem"],
        ["doctor"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_results_are_json_and_nothing_else(secagg, finished, arguments):
    arguments = [argument.format(run=finished) for argument in arguments]
    assert secagg(*arguments, "--json").json


# As a process


def in_a_process(
    *arguments: object, environment: dict[str, str] = ENVIRONMENT, **options: object
) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, env=environment, text=True, check=False, timeout=100, **options)


def test_the_exit_code_is_that_of_the_process_and_the_error_is_on_standard_error(finished):
    charter = finished / "charter/charter.toml"
    charter.write_text(charter.read_text().replace("rounds = 2", "rounds = 3"))
    process = in_a_process("charter", "verify", finished / "charter", capture_output=True)
    assert process.returncode == 4
    assert process.stdout == ""
    assert process.stderr.count("\n") == 1
    assert process.stderr.endswith("[charter-altered]\n")


def test_a_reader_who_leaves_early_hears_no_complaint(finished):
    reader, writer = os.pipe()
    os.close(reader)
    process = in_a_process("charter", "show", finished / "charter", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (process.returncode, process.stderr) == (FAILED, "")


def test_a_full_disk_under_the_output_is_no_defect(finished):
    with Path("/dev/full").open("w") as full:
        process = in_a_process("charter", "show", finished / "charter", stdout=full, stderr=subprocess.PIPE)
    assert process.returncode == UNUSABLE
    assert process.stderr.startswith("Error: The output could not be written: No space left on device.")
    assert process.stderr.endswith("[unwritable]\n")


def test_where_an_error_cannot_be_told_the_exit_code_is_its_own_all_the_same(finished):
    """A supervisor knows by it what must not be started again."""
    charter = finished / "charter/charter.toml"
    charter.write_text(charter.read_text().replace("rounds = 2", "rounds = 3"))
    with Path("/dev/full").open("w") as full:
        assert in_a_process("charter", "verify", finished / "charter", stderr=full).returncode == 4


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
def test_what_a_terminal_cannot_show_is_spelt_and_is_no_defect(tmp_path, encoding):
    environment = ENVIRONMENT | {"PYTHONIOENCODING": encoding}
    path = os.fsdecode(os.fsencode(tmp_path) + b"/p\xff.toml")
    made = in_a_process("policy", "new", path, environment=environment, capture_output=True)
    assert (made.returncode, made.stderr) == (0, "")
    assert f"Written to {tmp_path}/p\\udcff.toml." in made.stdout
    helped = in_a_process("charter", "new", "--help", environment=environment, capture_output=True)
    assert (helped.returncode, helped.stderr) == (0, "")


def test_ctrl_c_before_there_is_a_command_is_told_as_one(secagg, monkeypatch):
    def interrupted(_path):
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.main.require_own_packages", interrupted)
    outcome = secagg("doctor")
    assert (outcome.code, outcome.err.startswith("Interrupted. ")) == (INTERRUPTED, True)


# Imports that take seconds.
SLOW = ("torch", "opacus", "sklearn", "scipy", "pyarrow")


# One import of the commands for all: a fork for each.
LOADED_BY = """
import json, os, sys
from pathlib import Path
from cli.main import run

for number, arguments in enumerate(json.loads(sys.argv[2])):
    child = os.fork()
    if child == 0:
        found = [run(arguments), sorted(sys.modules)]
        Path(sys.argv[1], str(number)).write_text(json.dumps(found))
        os._exit(0)
    os.waitpid(child, 0)
"""
NOT_TRAINING = [
    "--help",
    "--version",
    "completion bash",
    "identity show {run}/hospitals/h1/identity.pem",
    "charter --help",
    "charter show {run}/charter",
    "charter verify {run}/charter",
    "charter sign --help",
    "model show {run}/release",
    "model verify {run}/release",
    "budget --help",
    "budget verify {run}/hospitals/h1",
    "audit --help",
    "audit egress {run}/hospitals/h1",
    "watch --once {run}",
]
# These need scipy, for epsilon.
COUNTING = ["budget show {run}/hospitals/h1", "policy check {run}/hospitals/h1"]


@pytest.fixture(scope="module")
def loaded_by(consortium, tmp_path_factory):
    """By command how it ended, and the modules that were imported then."""
    folder = tmp_path_factory.mktemp("loaded")
    run = copy_of(consortium / "run", folder / "run")
    commands = json.dumps([arguments.format(run=run).split() for arguments in NOT_TRAINING + COUNTING])
    command = [sys.executable, "-c", LOADED_BY, folder, commands]
    subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True, timeout=100)
    return {
        arguments: json.loads((folder / str(at)).read_text()) for at, arguments in enumerate(NOT_TRAINING + COUNTING)
    }


@pytest.mark.parametrize("arguments", NOT_TRAINING)
def test_what_does_not_train_does_not_wait_for_torch(loaded_by, arguments):
    code, modules = loaded_by[arguments]
    assert code == 0
    assert "cli.main" in modules
    assert [name for name in SLOW if name in modules] == []


@pytest.mark.parametrize("arguments", COUNTING)
def test_what_counts_epsilon_does_not_wait_for_torch_either(loaded_by, arguments):
    code, modules = loaded_by[arguments]
    assert code == 0
    assert "scipy" in modules
    assert [name for name in SLOW if name in modules] == ["scipy"]


def test_run_gives_the_code_that_the_command_exits_with(finished):
    assert run(["model", "verify", str(finished / "release")]) == 0
    assert run(["model", "verify", str(finished)]) == UNUSABLE

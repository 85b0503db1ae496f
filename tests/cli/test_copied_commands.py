"""A command that is printed to be copied can be pasted into a shell, whatever the folder is called."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.cli.outcome import copy_of

FOLDER = "Dr. O'Hara, Übung $1"


@pytest.fixture
def named(finished, here):
    """The finished run, in a folder whose name a shell would take apart."""
    return copy_of(finished, here / FOLDER)


def pasted(secagg, told: str, before: str):
    """The command that is printed after these words, as a shell takes it apart, run."""
    command = re.search(rf"{before}: (secagg .*)$", told, re.MULTILINE)[1]
    program, *arguments = shlex.split(command)
    assert program == "secagg"
    return secagg(*arguments)


def test_after_an_export_of_a_model(secagg, named):
    export = ("model", "export", f"{FOLDER}/release", "--format", "safetensors", "--out", f"{FOLDER}/the model")
    assert pasted(secagg, secagg(*export).out, "Check it").code == 0


def test_after_an_export_of_a_ledger(secagg, named):
    export = ("budget", "export", f"{FOLDER}/hospitals/h1", "--out", f"{FOLDER}/h 1.json")
    assert pasted(secagg, secagg(*export).out, "To verify it").code == 0


def test_after_a_new_policy(secagg, named):
    new = ("policy", "new", f"{FOLDER}/my policy.toml", "--charter", f"{FOLDER}/charter")
    assert pasted(secagg, secagg(*new).out, "Read it, then").code == 0


def test_control_of_a_run_that_was_taken_up_again(secagg, named):
    told = secagg("simulate", "--resume", FOLDER).out
    assert pasted(secagg, told, "Check it").code == 0

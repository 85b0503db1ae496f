"""Shells complete our commands with what `secagg completion` prints."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from cli.main import main
from tests.cli.outcome import UNUSABLE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(secagg, shell):
    outcome = secagg("completion", shell)
    assert outcome.code == 0
    assert "_SECAGG_COMPLETE" in outcome.out
    assert f"{shell}_complete" in outcome.out


def test_bash_can_read_its_script(secagg):
    bash = shutil.which("bash")
    if not bash:
        pytest.skip("there is no bash here")
    script = secagg("completion", "bash").out
    checked = subprocess.run([bash, "-n"], input=script, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("secagg ch", ["charter"]),
        ("secagg charter s", ["show", "sign"]),
        ("secagg simulate --hospitals-", ["--hospitals-at"]),
        ("secagg completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_what_the_script_asks_for_is_answered(capsys, monkeypatch, typed, offered):
    words = typed.split(" ")
    monkeypatch.setenv("_SECAGG_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setattr(sys, "argv", ["secagg"])
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 0
    assert [line.partition(",")[2] for line in capsys.readouterr().out.split()] == offered


def test_another_shell_is_refused(secagg):
    secagg("completion", "tcsh").failed(UNUSABLE, "usage", "tcsh", "bash", "zsh", "fish")

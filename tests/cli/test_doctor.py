"""The doctor says whether this machine is ready, and where it is not."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import save

import cli.doctor
from cli.doctor_storage import file_system_of
from tests.cli.outcome import FAILED, UNUSABLE, Outcome
from tests.support.lacking_tenseal import without_tenseal

MEMORY = Path("/dev/shm")
WEAKNESS = "a coordinator that colludes with any one of them reads every hospital's update"


@pytest.fixture
def charter_of(secagg, members):
    """Drafts a charter of a scheme in ``charter``."""

    def draft(scheme):
        assert secagg("charter", "new", "--task", "task.toml", "--scheme", scheme, *members).code == 0
        return "charter"

    return draft


def findings_of(outcome: Outcome) -> dict[str, dict]:
    return {finding["what"]: finding for finding in json.loads(outcome.out)}


def test_this_machine_is_ready(secagg, tmp_path):
    shown = secagg("doctor", "--folder", tmp_path).shown
    for part in ("Python", "torch", "tenseal", "device", "mask expansion", "BFV encryption"):
        assert f"ok {part}" in shown
    assert "ms per record" in shown
    assert "bad" not in shown
    assert list(tmp_path.iterdir()) == []


def test_as_json_each_finding_says_whether_it_is_good(secagg, tmp_path):
    findings = secagg("doctor", "--folder", tmp_path, "--json").json
    assert {"Python", "cryptography", "device", "durable storage"} <= {finding["what"] for finding in findings}
    assert all(finding["good"] for finding in findings)


def test_a_place_that_cannot_be_written_to_is_a_bad_sign(secagg, tmp_path):
    (tmp_path / "file.txt").write_text("a file where a folder should be")
    outcome = secagg("doctor", "--folder", tmp_path / "file.txt" / "state", "--json")
    assert outcome.code == FAILED
    assert "cannot be written" in outcome.out
    assert "Traceback" not in outcome.out + outcome.err


@pytest.mark.skipif(not MEMORY.is_dir() or file_system_of(MEMORY) != "tmpfs", reason="no tmpfs in /dev/shm")
def test_storage_that_a_restart_empties_is_warned_of(secagg):
    with TemporaryDirectory(dir=MEMORY) as folder:
        outcome = secagg("doctor", "--folder", folder, "--json")
    (warning,) = findings_of(outcome)["durable storage"]["warnings"]
    assert (outcome.code, warning["code"]) == (0, "storage-in-memory")


@pytest.mark.skipif(not MEMORY.is_dir() or file_system_of(MEMORY) != "tmpfs", reason="no tmpfs in /dev/shm")
def test_the_place_of_temporary_files_is_not_where_a_site_is_kept(secagg, monkeypatch):
    with TemporaryDirectory(dir=MEMORY) as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        assert findings_of(secagg("doctor", "--json"))["durable storage"]["warnings"] == []


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="no /proc")
def test_control_another_file_system_is_told_from_one_in_memory():
    assert file_system_of(Path("/proc")) == "proc"


def test_a_place_that_is_not_there_is_named_as_it_was_given(secagg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = secagg("doctor", "--folder", "nowhere", "--json")
    assert outcome.code == FAILED
    assert '"nowhere cannot be written: No such file or directory; choose another with --folder"' in outcome.out
    assert not (tmp_path / "nowhere").exists()


# Schemes


def test_without_a_charter_every_scheme_is_tried_and_the_weakness_of_two_is_told(secagg):
    findings = findings_of(secagg("doctor", "--json"))
    for scheme in ("mask", "double-lock", "bfv", "ckks"):
        assert findings[f"scheme {scheme}"]["good"]
        assert findings[f"scheme {scheme}"]["found"].startswith("runs here")
    for scheme in ("bfv", "ckks"):
        assert WEAKNESS in findings[f"scheme {scheme}"]["found"]
        (warning,) = findings[f"scheme {scheme}"]["warnings"]
        assert warning["code"] == "shared-key"
        assert "double-lock" in warning["remedy"]
    assert findings["scheme double-lock"]["warnings"] == []
    for encryption in ("BFV encryption", "CKKS encryption"):
        assert "M parameters/s of 24 bits" in findings[encryption]["found"]


def test_a_warning_is_no_bad_sign(secagg):
    outcome = secagg("doctor")
    assert outcome.code == 0
    assert "warn scheme bfv runs here. Under the scheme bfv all hospitals have one key" in outcome.shown
    assert "ok scheme double-lock runs here" in outcome.shown


@pytest.mark.parametrize(
    ("scheme", "encryption", "parameters"),
    [("double-lock", "BFV encryption", "BFV, n4096-q60"), ("ckks", "CKKS encryption", "CKKS, n4096-q60")],
)
def test_of_a_charter_scheme_parameters_and_encryption_are_looked_at(
    secagg, charter_of, scheme, encryption, parameters
):
    findings = findings_of(secagg("doctor", "--charter", charter_of(scheme), "--json"))
    assert findings["charter's scheme"]["found"].startswith(scheme)
    assert findings["charter's parameters"]["found"].startswith(parameters)
    assert "would do harm" in findings["sums are exact"]["found"]
    assert "M parameters/s" in findings[encryption]["found"]
    assert all(finding["good"] for finding in findings.values())
    assert not any(what.startswith("scheme ") for what in findings)


def test_of_a_masked_charter_no_encryption_is_tried(secagg, charter_of):
    findings = findings_of(secagg("doctor", "--charter", charter_of("mask"), "--json"))
    assert findings["charter's scheme"]["found"] == "mask"
    assert not any("encryption" in what for what in findings)


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_a_charter_with_one_key_for_all_is_warned_of_loudly(secagg, charter_of, scheme):
    outcome = secagg("doctor", "--charter", charter_of(scheme))
    assert outcome.code == 0
    assert outcome.err.startswith(f"Warning: Under the scheme {scheme} all hospitals have one key")
    assert WEAKNESS in outcome.err
    assert "double-lock" in outcome.err
    findings = findings_of(secagg("doctor", "--charter", "charter", "--json"))
    assert WEAKNESS in findings["charter's scheme"]["found"]


@pytest.mark.parametrize("scheme", ["double-lock", "bfv", "ckks"])
def test_where_there_is_no_nameless_memory_an_encrypted_charter_is_a_bad_sign(secagg, charter_of, monkeypatch, scheme):
    monkeypatch.delattr(os, "memfd_create")
    outcome = secagg("doctor", "--charter", charter_of(scheme), "--json")
    assert outcome.code == FAILED
    (bad,) = [finding for finding in json.loads(outcome.out) if not finding["good"]]
    assert "encryption" in bad["what"]
    assert "no-anonymous-memory" in bad["found"]
    assert "choose the scheme mask" in bad["found"]


def test_where_there_is_no_nameless_memory_a_masked_charter_is_none(secagg, charter_of, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    assert secagg("doctor", "--charter", charter_of("mask")).code == 0


def test_a_scheme_that_does_not_run_is_a_warning_until_a_charter_asks_for_it(secagg, charter_of):
    charter = charter_of("double-lock")
    with without_tenseal():
        outcome, asked = secagg("doctor", "--json"), secagg("doctor", "--charter", charter)
    assert outcome.code == 0
    for scheme in ("double-lock", "bfv", "ckks"):
        finding = findings_of(outcome)[f"scheme {scheme}"]
        assert finding["found"].startswith("does not run here. TenSEAL cannot be loaded")
        assert [warning["code"] for warning in finding["warnings"]] == ["no-tenseal"]
    assert asked.code == FAILED


def test_tenseal_is_no_optional_package(secagg, monkeypatch):
    installed = cli.doctor.version

    def version(name: str) -> str:
        if name == "tenseal":
            raise PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(cli.doctor, "version", version)
    outcome = secagg("doctor", "--json")
    assert outcome.code == FAILED
    assert findings_of(outcome)["tenseal"] == {
        "what": "tenseal",
        "found": "not installed",
        "good": False,
        "warnings": [],
    }


def test_a_charter_that_is_not_there_is_named(secagg, here):
    secagg("doctor", "--charter", "nowhere").failed(UNUSABLE, "unreadable", "nowhere/charter.toml")


# The charter's model


def test_of_a_charter_the_model_is_built(secagg, charter_of):
    finding = findings_of(secagg("doctor", "--charter", charter_of("mask"), "--json"))["charter's model"]
    assert (finding["good"], finding["found"]) == (True, "built here as the charter names it")


def test_a_model_that_is_built_otherwise_here_is_a_bad_sign(secagg, charter_of, monkeypatch):
    charter = charter_of("mask")
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda layer: torch.nn.init.zeros_(layer.weight))
    outcome = secagg("doctor", "--charter", charter, "--json")
    assert outcome.code == FAILED
    finding = findings_of(outcome)["charter's model"]
    assert not finding["good"]
    assert "same releases of secagg and torch" in finding["found"]


def test_a_backbone_that_is_not_here_is_a_bad_sign(secagg, here, members):
    data = save({"0.weight": torch.zeros(4, 2), "0.bias": torch.zeros(4)})
    (here / "net.safetensors").write_bytes(data)
    model = f'backbone = "net.safetensors"\nbackbone_sha256 = "{hashlib.sha256(data).hexdigest()}"\n'
    with (here / "task.toml").open("a") as task:
        task.write(f'[model]\nname = "mlp"\nhidden = [4]\ntrain = "last-layer"\n{model}')
    assert secagg("charter", "new", "--task", "task.toml", *members).code == 0
    assert findings_of(secagg("doctor", "--charter", "charter", "--json"))["charter's model"]["good"]
    (here / "net.safetensors").write_bytes(data + b" ")
    outcome = secagg("doctor", "--charter", "charter", "--json")
    assert outcome.code == FAILED
    assert "backbone-altered" in findings_of(outcome)["charter's model"]["found"]


def test_code_of_somebody_s_own_is_not_run_unless_the_site_allows_it(secagg, normed_task, members):
    assert secagg("charter", "new", "--task", normed_task, *members).code == 0
    del sys.modules["normed_task"]
    finding = findings_of(secagg("doctor", "--charter", "charter", "--json"))["charter's model"]
    assert finding["good"]
    assert "so its code is not run" in finding["found"]
    assert "normed_task" not in sys.modules


def test_code_that_the_site_allows_is_run_and_what_became_of_its_model_is_told(secagg, here, normed_task, members):
    assert secagg("charter", "new", "--task", normed_task, *members).code == 0
    (here / "policy.toml").write_text('allowed_tasks = ["normed_task:build"]\n')
    findings = findings_of(secagg("doctor", "--charter", "charter", "--policy", "policy.toml", "--json"))
    finding = findings["charter's model"]
    assert finding["good"]
    assert "2 BatchNorm layers are replaced by GroupNorm" in finding["found"]
    assert [warning["code"] for warning in finding["warnings"]] == ["batch-norm-replaced"]

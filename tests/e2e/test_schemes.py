"""Whatever the scheme, the hospitals end with the same model; only what others see of their updates differs."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import pytest
import tenseal

from cli.main import run
from secagg.masking.group import GroupCipher
from secagg.masking.messages import Acknowledge

SCHEMES = ("mask", "double-lock", "bfv", "ckks")


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> dict[str, Path]:
    """The demo under every scheme, drop-outs included, without noise: what is left is the same for all."""
    folder = tmp_path_factory.mktemp("demos")
    for scheme in SCHEMES:
        assert run(["demo", "--scheme", scheme, "--dp", "none", "--out", str(folder / scheme), "--json"]) == 0
    return {scheme: folder / scheme for scheme in SCHEMES}


@pytest.mark.parametrize("scheme", SCHEMES[1:])
def test_the_demos_model_is_that_of_masking_bit_for_bit(demos, scheme):
    masked, encrypted = (demos[name] / "release/model.safetensors" for name in ("mask", scheme))
    assert encrypted.read_bytes() == masked.read_bytes()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_release_and_transcript_passes_its_audit(demos, scheme, capsys):
    run_folder = demos[scheme]
    assert run(["model", "verify", str(run_folder / "release")]) == 0
    transcript = ["--charter", str(run_folder / "charter"), str(run_folder / "coordinator/transcript")]
    capsys.readouterr()
    assert run(["audit", "transcript", *transcript, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


@pytest.mark.parametrize("scheme", SCHEMES[1:])
def test_the_coordinator_keeps_no_sum_that_it_could_read(demos, scheme):
    stored = {path.name for path in (demos[scheme] / "coordinator").rglob("*.bin")}
    assert not {name for name in stored if name.startswith(("training", "statistics"))}


def test_a_hospital_that_hands_out_a_key_ends_the_run_with_exit_code_4_and_the_key_is_kept_nowhere(tmp_path, capsys):
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40])
    handed = context.serialize(save_secret_key=True)
    original = GroupCipher.acknowledgement

    def with_a_key(group):
        return Acknowledge(handed, original(group).fingerprint)

    with patch.object(GroupCipher, "acknowledgement", with_a_key):
        assert run(["demo", "--scheme", "bfv", "--dp", "none", "--out", str(tmp_path / "run"), "--json"]) == 4
    assert "key-material" in capsys.readouterr().err
    kept = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and handed[-500:] in path.read_bytes()]
    assert kept == []

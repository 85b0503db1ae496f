"""The doctor says whether this machine is ready, and where it is not."""

from __future__ import annotations

from tests.cli.outcome import FAILED


def test_this_machine_is_ready(secagg, tmp_path):
    shown = secagg("doctor", "--folder", tmp_path).shown
    for part in ("Python", "torch", "device", "mask expansion", "durable storage"):
        assert f"ok {part}" in shown
    assert "bad" not in shown
    assert list(tmp_path.iterdir()) == []


def test_as_json_each_finding_says_whether_it_is_good(secagg, tmp_path):
    findings = secagg("doctor", "--folder", tmp_path, "--json").json
    assert {"Python", "cryptography", "device", "durable storage"} <= {finding["what"] for finding in findings}
    assert all(finding["good"] for finding in findings)


def test_a_place_that_cannot_be_written_to_is_a_bad_sign(secagg, tmp_path):
    (tmp_path / "file.txt").write_text("a file where a folder should be")
    outcome = secagg("doctor", "--folder", tmp_path / "file.txt" / "state")
    assert outcome.code == FAILED
    assert "bad" in outcome.out
    assert "cannot be written" in outcome.out
    assert "Traceback" not in outcome.out + outcome.err


def test_a_place_that_is_not_there_is_named_as_it_was_given(secagg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = secagg("doctor", "--folder", "nowhere", "--json")
    assert outcome.code == FAILED
    assert '"nowhere cannot be written: No such file or directory; choose another with --folder"' in outcome.out
    assert not (tmp_path / "nowhere").exists()

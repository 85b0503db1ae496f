"""`secagg model`: anybody can read what is said about a model, and whoever checks it sees the smallest change."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import msgspec
import pytest

from secagg.release.dsse import read_envelope
from tests.cli.outcome import TAMPERING, UNUSABLE, flip, nothing_written, respell

_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@pytest.fixture
def release(finished):
    return finished / "release"


def position_of(path, text, offset=0):
    return path.read_bytes().index(text) + offset


def another_name(path):
    text = path.read_text()
    path.write_text(re.sub(r'(?m)^name = ".*"$', 'name = "another"', text, count=1))
    assert path.read_text() != text


def test_an_untouched_release_is_verified(secagg, release):
    shown = secagg("model", "verify", release).shown
    assert shown.startswith(f"Yes: {release / 'model.safetensors'} is the model that 4 hospitals made and signed.")
    assert "2 sums in 2 rounds" in shown
    verified = secagg("model", "verify", release, "--json").json
    assert verified["verified"] is True
    assert verified["signed_by"] == ["h1", "h2", "h3", "h4"]
    assert verified["model_sha256"] == hashlib.sha256((release / "model.safetensors").read_bytes()).hexdigest()


def test_verifying_needs_nothing_but_the_release_and_changes_nothing(secagg, release, tmp_path):
    alone = release.rename(tmp_path / "sent")
    with nothing_written(alone):
        assert secagg("model", "verify", alone).code == 0


def test_what_is_said_about_the_model_is_shown_whole(secagg, release):
    outcome = secagg("model", "show", release)
    shown = outcome.shown.replace(" ", "")
    digest = hashlib.sha256((release / "model.safetensors").read_bytes()).hexdigest()
    # A hash may be folded, but is never cut.
    assert digest[:48] in shown
    assert digest[-8:] in shown
    assert "…" not in outcome.out
    assert "h1(2),h2(1),h3(2),h4(2)" in shown
    assert "local:epsilon" in shown
    assert "notverified" in shown


def test_it_is_said_whom_epsilon_is_for_by_the_charter_beside_it(secagg, release):
    assert "delta 1e-05 for each row" in secagg("model", "show", release).shown


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("charter?"), another_name])
def test_without_that_charter_it_is_not_guessed(secagg, release, change):
    change(release / "charter.toml")
    assert "delta 1e-05 for each patient, as its charter counts them" in secagg("model", "show", release).shown


def test_one_sum_in_one_round_is_told_as_one(secagg, simulate):
    assert simulate("--rounds", "1").code == 0
    assert "1 sum in 1 round" in secagg("model", "verify", "run/release").shown.split(", ")
    assert "sums 1, in 1 round contributors" in secagg("model", "show", "run/release").shown


def test_as_json_the_statement_is_shown(secagg, release):
    statement = secagg("model", "show", release, "--json").json
    predicate = statement["predicate"]
    assert (predicate["sums"], predicate["rounds"]) == (2, 2)
    assert predicate["contributors"][1] == {"name": "h2", "sums": 1}
    assert 0 < predicate["privacy"]["epsilon"] <= 8
    assert predicate["privacy"]["delta"] == 1e-5


# One altered byte


@pytest.mark.parametrize("position", [0, 8, 60, -1])
def test_one_altered_byte_of_the_model_is_found_out(secagg, release, position):
    flip(release / "model.safetensors", position)
    outcome = secagg("model", "verify", release)
    outcome.failed(TAMPERING, "model-altered", "model.safetensors", "SHA-256", "Do not use it")
    assert outcome.out == ""
    assert secagg("model", "verify", release, "--json").error["culprit"] == "model.safetensors"


def test_any_other_byte_too(secagg, release):
    path = release / "model.safetensors"
    for position in range(path.stat().st_size):
        flip(path, position, bit=1 << position % 8)
        assert secagg("model", "verify", release).code == TAMPERING
        flip(path, position, bit=1 << position % 8)
    assert secagg("model", "verify", release).code == 0


@pytest.mark.parametrize(
    ("alter", "text", "offset", "reason"),
    [
        (flip, b'"payloadType": "', 20, "malformed-statement"),
        (flip, b'"keyid": "', 12, "signature-missing"),
        (respell, b'"sig": "', 12, "bad-statement-signature"),
    ],
)
def test_one_altered_byte_of_the_statement_is_found_out(secagg, release, alter, text, offset, reason):
    path = release / "statement.dsse.json"
    alter(path, position_of(path, text, offset))
    secagg("model", "verify", release).failed(TAMPERING, reason)


def test_not_even_another_spelling_of_a_signature_passes(secagg, release):
    path = release / "statement.dsse.json"
    text = path.read_text()
    last = text.index('=="') - 1
    path.write_text(text[:last] + _BASE64[_BASE64.index(text[last]) + 1] + text[last + 1 :])
    secagg("model", "verify", release).failed(TAMPERING, "malformed-statement", path, "get the release again")


@pytest.mark.parametrize("offset", range(12, 900, 41))
def test_so_is_one_of_what_it_says_whatever_it_makes_of_it(secagg, release, offset):
    path = release / "statement.dsse.json"
    flip(path, position_of(path, b'"payload": "', offset))
    outcome = secagg("model", "verify", release)
    assert outcome.code == TAMPERING
    assert outcome.err.count("\n") == 1


def test_one_altered_byte_of_the_charter_is_found_out(secagg, release):
    path = release / "charter.toml"
    flip(path, position_of(path, b"\nrounds = ", 10))
    secagg("model", "verify", release).failed(TAMPERING, "charter-altered", "signature of h1")


@pytest.mark.parametrize("text", [b"threshold = ", b'scheme = "'])
def test_an_altered_byte_that_makes_no_valid_charter_is_tampering_too(secagg, release, text):
    path = release / "charter.toml"
    flip(path, position_of(path, text, len(text)))
    secagg("model", "verify", release).failed(TAMPERING, "charter-altered", path, "after h1, h2, h3, h4 signed it")


def test_one_altered_byte_of_the_charters_signatures_is_found_out(secagg, release):
    path = release / "charter.signatures.json"
    respell(path, position_of(path, b'"signature": "', 20))
    secagg("model", "verify", release).failed(TAMPERING, "charter-altered", "signature of h1")


@pytest.mark.parametrize("epsilon", [0.004, 0.04, 0.3, 2.174490])
def test_an_epsilon_is_never_shown_smaller_than_it_is_stated(secagg, release, epsilon):
    path = release / "statement.dsse.json"
    signed = read_envelope(path.read_bytes())
    content = json.loads(signed.payload)
    content["predicate"]["privacy"]["epsilon"] = epsilon
    path.write_bytes(msgspec.structs.replace(signed, payload=json.dumps(content).encode()).to_json())
    told = re.search(r"epsilon ([0-9.]+),", secagg("model", "show", release).shown)
    assert epsilon <= float(told[1]) < epsilon + 0.01


# What is missing or strange


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.safetensors", "unreadable"),
        ("statement.dsse.json", "unreadable"),
        ("charter.toml", "unreadable"),
        ("charter.signatures.json", "charter-unsigned"),
    ],
)
def test_a_file_that_is_missing_is_named(secagg, release, name, reason):
    (release / name).unlink()
    secagg("model", "verify", release).failed(UNUSABLE, reason, name if reason == "unreadable" else "h1, h2, h3, h4")


def test_the_release_of_another_run_does_not_fit_this_charter(secagg, release, members, here):
    secagg("charter", "new", "other", "--task", "task.toml", *members)
    (release / "charter.signatures.json").unlink()
    (here / "other/charter.toml").replace(release / "charter.toml")
    secagg("model", "verify", release).failed(UNUSABLE, "charter-unsigned", "a, b, c")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"payload": 3}'])
def test_a_statement_that_is_none_is_refused(secagg, release, content):
    (release / "statement.dsse.json").write_bytes(content)
    for command in ("show", "verify"):
        secagg("model", command, release).failed(TAMPERING, "malformed-statement")


def test_a_folder_without_a_release_is_named(secagg, here):
    for command in ("show", "verify"):
        secagg("model", command, "data").failed(UNUSABLE, "no-release", "in data", "once the training has ended")

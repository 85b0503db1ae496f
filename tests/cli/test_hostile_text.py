"""What others have written, in charters and releases, is read, and does nothing to the terminal of who reads it."""

from __future__ import annotations

import json
import unicodedata

import msgspec
import pytest

from secagg.charter.folder import read_charter, write_charter
from secagg.release.dsse import read_envelope
from secagg.release.folder import STATEMENT_FILE
from tests.cli.outcome import REFUSED, TAMPERING

HOSTILE = {
    "markup": "mine[/x]",
    "escape": "mine\x1b[2J\x1b]0;title\x07",
    "C1": "mine\x9b2J",
    "delete": "mine\x7f",
    "bidirectional": "mine\u202enim",
    "tag": "mine\U000e0041",
}
hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))


def assert_harmless(outcome):
    written = outcome.out + outcome.err
    assert [sign for sign in written if sign != "\n" and unicodedata.category(sign) in {"Cc", "Cf", "Zl", "Zp"}] == []
    assert "Internal error" not in written


def charter_of(folder, **changes):
    """A charter of somebody's: ``task`` in it is changed so."""
    charter = read_charter(folder)
    write_charter(folder, msgspec.structs.replace(charter, task=msgspec.structs.replace(charter.task, **changes)))


def with_key(folder, key):
    """A charter in which there is a key of this name, and no such field."""
    path = folder / "charter.toml"
    spelt = "".join(f"\\U{ord(sign):08X}" for sign in key)
    path.write_text(f'"{spelt}" = 1\n{path.read_text()}')


@hostile
def test_a_charter_s_kind_of_task_is_shown_as_it_is_written(secagg, drafted, text):
    charter_of(drafted, kind=text)
    outcome = secagg("charter", "show", "charter")
    assert outcome.code == 0
    assert_harmless(outcome)
    assert "mine" in outcome.shown
    assert ("mine[/x]" in outcome.shown) == ("[/x]" in text)
    shown = secagg("charter", "show", "charter", "--json")
    assert_harmless(shown)
    assert shown.json["content"]["task"]["kind"] == text


def test_control_where_the_kind_is_printed_as_it_is_the_terminal_acts_on_it_and_show_breaks(
    secagg, drafted, monkeypatch
):
    monkeypatch.setattr("cli.terms.unmarked", str)
    charter_of(drafted, kind=HOSTILE["escape"])
    assert "\x1b[2J" in secagg("charter", "show", "charter").out
    charter_of(drafted, kind=HOSTILE["markup"])
    assert "Internal error" in secagg("charter", "show", "charter").err


@hostile
def test_a_charter_that_a_policy_refuses_or_this_machine_cannot_run_is_told_of(secagg, drafted, policy, text):
    charter_of(drafted, kind=text)
    for command, code in (
        (("policy", "check", policy, "--charter", "charter"), REFUSED),
        (("charter", "sign", "charter", "--identity", "a.pem"), REFUSED),
        (("doctor", "--charter", "charter"), 0),
    ):
        outcome = secagg(*command)
        assert outcome.code == code, outcome.err
        assert_harmless(outcome)


@hostile
@pytest.mark.parametrize("command", ["show", "verify"])
@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["", "json"])
def test_a_charter_with_a_key_that_nobody_knows_is_refused_in_words(secagg, signed, command, as_json, text):
    with_key(signed, text)
    outcome = secagg("charter", command, "charter", *as_json)
    assert outcome.code == TAMPERING
    assert "mine" in outcome.err
    assert json.loads(outcome.err)["error"]["message"].count(text) == 1 if as_json else outcome.err.startswith("Error")
    assert_harmless(outcome)


@hostile
@pytest.mark.parametrize("place", [("predicate", "privacy", "mode"), ("predicate", "charterName"), ("_type",)])
def test_a_release_says_nothing_but_what_a_release_may_say(secagg, finished, place, text):
    path = finished / "release" / STATEMENT_FILE
    kept = read_envelope(path.read_bytes(), "")
    content = json.loads(kept.payload)
    within = content
    for name in place[:-1]:
        within = within[name]
    within[place[-1]] = text
    path.write_bytes(msgspec.structs.replace(kept, payload=json.dumps(content).encode()).to_json())
    outcome = secagg("model", "show", finished / "release")
    outcome.failed(TAMPERING, "malformed-statement")
    assert_harmless(outcome)


@hostile
@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_release_with_a_field_that_nobody_knows_is_refused_in_words(secagg, finished, command, text):
    path = finished / "release" / STATEMENT_FILE
    kept = read_envelope(path.read_bytes(), "")
    content = json.loads(kept.payload) | {text: 1}
    path.write_bytes(msgspec.structs.replace(kept, payload=json.dumps(content).encode()).to_json())
    outcome = secagg("model", command, finished / "release")
    assert outcome.code == TAMPERING
    assert_harmless(outcome)

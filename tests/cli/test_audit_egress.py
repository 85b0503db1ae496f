"""`secagg audit egress`: what left a hospital is listed, and an altered log is not believed."""

from __future__ import annotations

import base64
import shutil
import sqlite3
from contextlib import closing
from functools import partial

import msgspec
import pytest
from msgspec.structs import replace

from cli.output import size
from secagg.egress import EgressLog, read_egress
from secagg.identity import Identity
from secagg.log_excerpt import take_excerpt
from tests.cli.conftest import SHORT
from tests.cli.outcome import TAMPERING, UNUSABLE
from training.reporting.evidence import SignedEvidence, _signed_bytes


@pytest.fixture
def home(finished):
    """The hospital h1 after two private rounds, in the first of which h2 was cut off."""
    return finished / "hospitals/h1"


def entries(home):
    return read_egress(home / "egress.sqlite", Identity.load(home / "identity.pem").public_key)


def change(home, statement, *values):
    with closing(sqlite3.connect(home / "egress.sqlite")) as database, database:
        database.execute(statement, values)


def alter(home, sequence, old, new):
    """Alter one entry, as somebody with an editor for SQLite would."""
    body = entries(home)[sequence - 1].body()
    assert old in body
    change(home, "UPDATE entries SET body = ? WHERE sequence = ?", body.replace(old, new, 1), sequence)


# Listing


def test_what_left_is_counted_by_stage_and_in_all(secagg, home):
    found = secagg("audit", "egress", home, "--json").json
    (charter,) = found["charters"]
    sent = [entry for entry in entries(home) if entry.direction == "sent"]
    counts = {row["stage"]: (row["messages"], row["bytes"]) for row in charter["stages"]}
    # In the order of the protocol: three peers were dealt to, and of round 1 the survivors had to agree.
    assert list(counts) == [
        "ADVERTISE",
        "DEAL",
        "MASKED",
        "AGREE",
        "REVEAL",
        "STATUS",
        "ATTEST",
        "CHECKPOINT",
        "COSIGN",
    ]
    assert (counts["DEAL"][0], counts["MASKED"][0], counts["AGREE"][0]) == (3, 2, 1)
    for stage, (messages, total) in counts.items():
        sizes = [entry.bytes for entry in sent if entry.stage == stage]
        assert (messages, total) == (len(sizes), sum(sizes))
    assert (charter["messages"], charter["bytes"]) == (len(sent), sum(entry.bytes for entry in sent))
    assert (charter["rounds"], charter["sums"]) == (2, 2)


def test_the_table_for_people_says_the_same(secagg, home):
    found = secagg("audit", "egress", home, "--json").json
    (charter,) = found["charters"]
    shown = secagg("audit", "egress", home).shown
    told = "sent a vector to be summed in 2 rounds, took in 2 sums."
    assert shown.startswith(f"Charter {charter['charter'][:16]}: {told}")
    for row in charter["stages"]:
        assert f" {row['stage']} {row['messages']} {size(row['bytes'])}" in shown
    assert f"total {charter['messages']} {size(charter['bytes'])}" in shown
    assert f"Yes: all {found['entries']} entries are intact" in shown
    assert shown.endswith(f"head {found['head']}")


def test_two_different_sums_of_one_round_are_two_and_one_noted_again_is_one(secagg, home):
    identity = Identity.load(home / "identity.pem")
    before = secagg("audit", "egress", home, "--json").json["charters"][0]["sums"]
    with EgressLog(home / "egress.sqlite", identity) as log:
        last = next(entry for entry in reversed(log.entries) if entry.took_sum)
        for digest in (last.sha256, "f" * 64):
            again = partial(replace, last, sha256=digest)
            log._write(again)
    (home / "latch.sqlite").unlink()
    assert secagg("audit", "egress", home, "--json").json["charters"][0]["sums"] == before + 1


def test_who_was_cut_off_before_training_sent_in_fewer_rounds_and_took_every_sum(secagg, finished):
    (charter,) = secagg("audit", "egress", finished / "hospitals/h2", "--json").json["charters"]
    assert (charter["rounds"], charter["sums"]) == (1, 2)
    assert "to be summed in 1 round, took in 2 sums." in secagg("audit", "egress", finished / "hospitals/h2").shown


def test_every_charter_has_a_table_of_its_own(secagg, simulate, here):
    assert simulate().code == 0
    at = ("--hospitals-at", "run/hospitals")
    assert secagg("simulate", "--task", "task.toml", "--data", "data", "--out", "second", *SHORT, *at).code == 0
    found = secagg("audit", "egress", "run/hospitals/h1", "--json").json
    assert len({charter["charter"] for charter in found["charters"]}) == 2
    assert [charter["rounds"] for charter in found["charters"]] == [2, 2]
    assert secagg("audit", "egress", "run/hospitals/h1").shown.count("Charter ") == 2


def test_a_hospital_that_has_sent_nothing_yet_has_no_log(secagg, home):
    for name in ("egress.sqlite", "latch.sqlite"):
        (home / name).unlink()
    secagg("audit", "egress", home).failed(UNUSABLE, "no-egress-log", home / "egress.sqlite", "hospital's folder")


def test_a_log_that_was_cut_off_or_removed_is_found_out_by_the_latch(secagg, home):
    with closing(sqlite3.connect(home / "egress.sqlite")) as database, database:
        database.execute("DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)")
    secagg("audit", "egress", home).failed(TAMPERING, "egress-restored", home / "egress.sqlite", "newest egress log")
    (home / "egress.sqlite").unlink()
    secagg("audit", "egress", home).failed(TAMPERING, "egress-restored", home / "egress.sqlite", "newest egress log")


def test_a_log_beside_which_no_latch_knows_it_is_said_to_be_checked_in_part(secagg, home):
    whole = secagg("audit", "egress", home, "--json").json
    assert whole["latch_checked"]
    assert secagg("audit", "egress", home).err == ""
    (home / "latch.sqlite").unlink()
    told = secagg("audit", "egress", home)
    assert "Yes: all" in told.out
    assert told.err.startswith("Warning: There is no latch beside it that has seen this egress log: that no later ")
    assert "Compare the head" in told.err
    assert "--noted" not in told.err
    assert secagg("audit", "egress", home, "--json").json == {**whole, "latch_checked": False}


# Checking


def test_a_whole_log_is_verified_and_its_head_told(secagg, home):
    found = secagg("audit", "egress", home, "--json").json
    assert (found["verified"], found["entries"]) == (True, len(entries(home)))
    assert len(found["head"]) == 64


def test_an_auditor_needs_the_public_key_only(secagg, home):
    key = secagg("identity", "show", home / "identity.pem", "--json").json["public_key"]
    (home / "identity.pem").unlink()
    secagg("audit", "egress", home).failed(UNUSABLE, "unreadable", home / "identity.pem")
    assert secagg("audit", "egress", home, "--public-key", key).code == 0


def test_a_malformed_public_key_is_refused(secagg, home):
    secagg("audit", "egress", home, "--public-key", "AAAA").failed(UNUSABLE, "bad-public-key", "'AAAA'")


@pytest.mark.parametrize(
    ("sequence", "old", "new"),
    [
        (1, b'"stage":"STATUS"', b'"stage":"ATTEST"'),
        (2, b'"bytes":', b'"bytes":9'),
        (3, b'"sha256":"', b'"sha256":"0'),
        (5, b'"sent"', b'"took"'),
    ],
)
def test_an_altered_entry_is_found_out_and_named(secagg, home, sequence, old, new):
    alter(home, sequence, old, new)
    outcome = secagg("audit", "egress", home)
    outcome.failed(TAMPERING, "egress-altered", f"Entry {sequence} ", home / "egress.sqlite", "officer")
    assert outcome.out == ""
    assert secagg("audit", "egress", home, "--json").error["culprit"] == f"entry {sequence}"


def test_a_removed_entry_is_found_out(secagg, home):
    change(home, "DELETE FROM entries WHERE sequence = 2")
    secagg("audit", "egress", home).failed(TAMPERING, "egress-altered", "Entry 2", "missing")


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(8192)])
def test_a_file_that_is_no_log_is_found_out(secagg, home, content):
    (home / "egress.sqlite").write_bytes(content)
    secagg("audit", "egress", home).failed(TAMPERING, "egress-damaged", home / "egress.sqlite")


def test_the_ledger_in_its_place_is_found_out(secagg, home):
    shutil.copy(home / "ledger.sqlite", home / "egress.sqlite")
    secagg("audit", "egress", home).failed(TAMPERING, "egress-altered", "Entry 1")


def test_nothing_leaves_a_hospital_whose_log_was_altered(secagg, simulate, here):
    assert simulate().code == 0
    alter(here / "run/hospitals/h1", 2, b'"bytes":', b'"bytes":9')
    arguments = ("--task", "task.toml", "--data", "data", "--out", "second", "--hospitals-at", "run/hospitals")
    secagg("simulate", *arguments, *SHORT).failed(TAMPERING, "egress-altered", "Entry 2")


# What was exported


@pytest.fixture
def exported(secagg, finished, tmp_path):
    """What h1 shows of its run: nothing else is in its logs."""
    path = tmp_path / "h1.json"
    assert (
        secagg("audit", "export", finished / "hospitals/h1", "--charter", finished / "charter", "--out", path).code == 0
    )
    return path


def hide(home, path, is_hidden):
    """The same file as its own site could write it, with hashes in the place of some entries of the egress log."""
    identity = Identity.load(home / "identity.pem")
    evidence = msgspec.json.decode(path.read_bytes(), type=SignedEvidence).evidence
    shown = [(item.entry, item.signature) for item in evidence.egress.shown]
    lying = replace(evidence, egress=take_excerpt(shown, lambda entry: not is_hidden(entry)))
    path.write_bytes(SignedEvidence(lying, identity.sign(_signed_bytes(lying))).to_json())


def of_charter(finished):
    return ("--charter", finished / "charter")


def test_an_update_that_a_hospital_hides_in_its_export_is_counted_among_what_is_not_shown(
    secagg, finished, home, exported
):
    hide(home, exported, lambda entry: entry.stage == "MASKED" and entry.round == 1)
    count = len(entries(home))
    told = secagg("audit", "egress", exported, *of_charter(finished)).shown
    assert f"these {count - 1} of {count} entries" in told
    assert "only the site's word" in told
    assert "all" not in told.split("Yes:")[1]
    assert told.endswith(f"head {secagg('audit', 'egress', home, '--json').json['head']}")


def test_a_log_whose_last_entry_is_not_shown_has_no_head(secagg, finished, home, exported):
    count = len(entries(home))
    hide(home, exported, lambda entry: entry.sequence == count)
    told = secagg("audit", "egress", exported, *of_charter(finished)).shown
    assert told.endswith("The head is not known: the log's last entry is not shown.")
    found = secagg("audit", "egress", exported, *of_charter(finished), "--json").json
    assert (found["entries"], found["length"], found["head"]) == (count - 1, count, None)
    hide(home, exported, lambda entry: True)
    assert secagg("audit", "egress", exported, *of_charter(finished), "--json").json["head"] is None


def test_control_an_export_that_hides_nothing_is_as_whole_as_the_folder(secagg, finished, home, exported):
    of_file = secagg("audit", "egress", exported, *of_charter(finished), "--json").json
    # Of a file nobody looks for a latch, nor warns that there is none.
    assert of_file == {**secagg("audit", "egress", home, "--json").json, "latch_checked": None}
    assert f"Yes: all {len(entries(home))} entries" in secagg("audit", "egress", exported, *of_charter(finished)).shown


def test_a_key_or_a_charter_that_would_not_be_looked_at_is_refused(secagg, finished, tmp_path):
    home, charter = finished / "hospitals/h1", ("--charter", finished / "charter")
    exported = tmp_path / "h1-export.json"
    assert secagg("audit", "export", home, *charter, "--out", exported).code == 0
    assert secagg("audit", "egress", exported, *charter).code == 0
    key = base64.b64encode(Identity.generate().public_key).decode()
    secagg("audit", "egress", exported, *charter, "--public-key", key).failed(UNUSABLE, "usage", "--public-key")
    secagg("audit", "egress", home, *charter).failed(UNUSABLE, "usage", "leave out --charter")
    secagg("audit", "egress", tmp_path / "h2.json", *charter).failed(UNUSABLE, "unreadable", "h2.json")

"""`secagg budget`: what was spent is shown, and an altered ledger is not believed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from dp.events import GaussianEvent
from dp.ledger import Budget, Cost, Kind, Ledger, PatientList
from dp.ledger.entries import LEDGER
from dp.stated import no_less
from secagg.identity import Identity
from secagg.latch import Latch
from tests.cli.conftest import LOCAL_DP, SHORT
from tests.cli.outcome import TAMPERING, UNUSABLE, copy_of
from tests.support.read_only_media import mounted_read_only


@pytest.fixture
def home(finished):
    """The hospital h1 after two private rounds."""
    return finished / "hospitals/h1"


def rows(home):
    with closing(sqlite3.connect(home / "ledger.sqlite")) as database:
        return database.execute("SELECT sequence, body, signature FROM entries ORDER BY sequence").fetchall()


def change(home, statement, *values):
    with closing(sqlite3.connect(home / "ledger.sqlite")) as database, database:
        database.execute(statement, values)


def flip_entry(home, sequence, text, offset=0):
    """Alter one byte of one entry, as somebody with an editor for SQLite would."""
    body = bytearray(next(row[1] for row in rows(home) if row[0] == sequence))
    body[body.index(text) + offset] ^= 1
    change(home, "UPDATE entries SET body = ? WHERE sequence = ?", bytes(body), sequence)


# Showing


def test_what_a_run_has_spent_is_shown(secagg, home):
    (spent,) = secagg("budget", "show", home, "--json").json
    assert spent["budget"] == 8
    assert 0 < spent["epsilon"] <= 8
    assert spent["left"] == pytest.approx(8 - spent["epsilon"])
    (run,) = spent["runs"]
    assert (run["rounds"], run["state"], run["epsilon"]) == (2, "closed", pytest.approx(spent["epsilon"]))
    shown = secagg("budget", "show", home).shown
    epsilon = f"epsilon {no_less(spent['epsilon'], 3)} of 8 spent or reserved"
    for part in (spent["data_set"][:16], run["charter"][:16], epsilon, "closed"):
        assert part in shown


def test_who_was_cut_off_before_training_has_spent_less(secagg, finished):
    both = [secagg("budget", "show", finished / f"hospitals/{name}", "--json").json[0] for name in ("h1", "h2")]
    assert [entry["runs"][0]["rounds"] for entry in both] == [2, 1]
    assert both[1]["epsilon"] < both[0]["epsilon"]


def test_rounds_without_protection_are_shown_as_such(secagg, simulate):
    assert simulate().code == 0
    (spent,) = secagg("budget", "show", "run/hospitals/h1", "--json").json
    assert spent["epsilon"] == 0
    (run,) = spent["runs"]
    assert (run["rounds"], run["state"], run["epsilon"]) == (2, "closed", None)
    assert "no protection" in secagg("budget", "show", "run/hospitals/h1").shown


def test_who_was_also_trained_on_without_protection_is_told_of_wherever_it_is_counted(secagg, home):
    assert secagg("budget", "show", home, "--json").json[0]["unprotected"] is False
    with Ledger(home / "ledger.sqlite", Identity.load(home / "identity.pem")) as ledger:
        (data_set,) = ledger.account.data_sets
        patients = ledger.account.patient_list(data_set).patients
        other = ledger.enrol(PatientList(patients[1:]))
        ledger.note_unprotected(other, "f" * 64, 1, 1e-5, "")
    assert [found["unprotected"] for found in secagg("budget", "show", home, "--json").json] == [True, True]
    assert [found["unprotected"] for found in secagg("policy", "check", home, "--json").json["data_sets"]] == [True] * 2
    for command in ("budget", "show"), ("policy", "check"):
        assert secagg(*command, home).shown.count("no epsilon covers that") == 2


def test_a_policy_that_allows_more_leaves_more(secagg, home):
    policy = home / "policy.toml"
    policy.write_text(policy.read_text().replace("maximum_epsilon = 8.0", "maximum_epsilon = 10.0"))
    (spent,) = secagg("budget", "show", home, "--json").json
    assert (spent["budget"], spent["left"]) == (10, pytest.approx(10 - spent["epsilon"]))


def test_what_a_ledger_says_was_spent_without_noise_is_shown_as_what_no_budget_covers(secagg, home):
    """No hospital that runs this software writes such an entry."""
    with Ledger(home / "ledger.sqlite", Identity.load(home / "identity.pem")) as ledger:
        (data_set,) = ledger.account.data_sets
        ledger._append(Kind.CHARGE, data_set, "f" * 64, 1, Cost((GaussianEvent(0.0, 1.0, 1),)), 1e-5, "")
    for command in ("budget", "show"), ("policy", "check"):
        shown = secagg(*command, home)
        assert shown.code == 0
        assert "epsilon inf of 8" in shown.shown
    (told,) = secagg("budget", "show", home, "--json").json
    assert (told["epsilon"], told["left"], told["alert"]) == (None, 0, 100)


@pytest.mark.parametrize(("times", "alert"), [(1.0, 100), (1.2, 80), (1.9, 50), (2.2, 0)])
def test_a_budget_that_runs_out_is_told(secagg, home, times, alert):
    policy = home / "policy.toml"
    spent = secagg("budget", "show", home, "--json").json[0]["epsilon"]
    policy.write_text(policy.read_text().replace("maximum_epsilon = 8.0", f"maximum_epsilon = {times * spent}"))
    assert secagg("budget", "show", home, "--json").json[0]["alert"] == alert
    shown = secagg("budget", "show", home).shown
    assert (f"Alert, {alert} %: " in shown) == (alert > 0)
    assert ("no further run fits" in shown) == (alert == 100)


def test_a_hospital_that_has_never_trained_has_no_ledger(secagg, home):
    shutil.rmtree(home / "runs")
    for path in (*home.glob("*.sqlite*"), *home.glob("patients/*")):
        path.unlink()
    for command in ("show", "verify"):
        secagg("budget", command, home).failed(UNUSABLE, "no-ledger", home / "ledger.sqlite", "hospital's folder")


def test_one_that_lost_its_latch_with_it_is_told_from_it_by_its_patients(secagg, home):
    for name in ("ledger.sqlite", "latch.sqlite"):
        (home / name).unlink()
    for command in ("show", "verify"):
        secagg("budget", command, home).failed(TAMPERING, "ledger-restored", home / "ledger.sqlite", "patients")


def test_a_folder_that_is_no_hospitals_is_told_to_be_none(secagg, finished, here):
    for place in (finished, here / "nowhere"):
        for command in (("show", place), ("verify", place), ("export", place, "--out", "x.json")):
            secagg("budget", *command).failed(
                UNUSABLE, "no-ledger", place / "ledger.sqlite", "Give a hospital's folder"
            )
        charter = ("--charter", finished / "charter")
        for command in (("export", place, *charter, "--out", "x.json"), ("report", place, *charter)):
            secagg("audit", *command).failed(UNUSABLE, "no-ledger", place / "ledger.sqlite", "Give a hospital's folder")
        secagg("audit", "egress", place).failed(UNUSABLE, "no-egress-log" if place.exists() else "unreadable", place)


def test_one_that_has_trained_and_has_no_ledger_any_more_is_told_from_it_by_its_latch(secagg, home):
    (home / "ledger.sqlite").unlink()
    for command in ("show", "verify"):
        secagg("budget", command, home).failed(TAMPERING, "ledger-restored", home / "ledger.sqlite", "newest ledger")


# Verifying


def test_a_whole_ledger_is_verified_and_its_head_told(secagg, home):
    verified = secagg("budget", "verify", home, "--json").json
    assert (verified["verified"], verified["entries"]) == (True, len(rows(home)))
    shown = secagg("budget", "verify", home).shown
    assert shown.startswith(f"Yes: all {len(rows(home))} entries are intact")
    assert shown.endswith(f"head {verified['head']}")


def test_an_auditor_needs_the_public_key_only(secagg, home):
    key = secagg("identity", "show", home / "identity.pem", "--json").json["public_key"]
    (home / "identity.pem").unlink()
    for command in (("budget", "verify"), ("budget", "show"), ("audit", "egress")):
        secagg(*command, home).failed(UNUSABLE, "unreadable", home / "identity.pem", "--public-key")
        assert secagg(*command, home, "--public-key", key).code == 0


@pytest.mark.parametrize("key", ["", "AAAA", "not base64", "A" * 43 + "=="])
def test_a_malformed_public_key_is_refused(secagg, home, key):
    outcome = secagg("budget", "verify", home, "--public-key", key)
    outcome.failed(UNUSABLE, "bad-public-key", repr(key), "secagg identity show")


def test_the_ledger_of_another_site_is_not_taken_for_ones_own(secagg, finished, home):
    (finished / "hospitals/h2/ledger.sqlite").replace(home / "ledger.sqlite")
    secagg("budget", "verify", home).failed(TAMPERING, "ledger-altered", "Entry 1")


@pytest.mark.parametrize(
    ("sequence", "text", "offset"),
    [
        (1, b'"steps":', 8),
        (2, b'"noise_multiplier":', 19),
        (3, b'"round":', 8),
        (4, b'"previous":"', 20),
        (5, b'"time":"', 10),
        (6, b'"kind":"', 8),
    ],
)
@pytest.mark.parametrize("command", ["show", "verify"])
def test_one_altered_byte_of_one_entry_is_found_out_and_the_entry_named(secagg, home, command, sequence, text, offset):
    flip_entry(home, sequence, text, offset)
    outcome = secagg("budget", command, home)
    outcome.failed(TAMPERING, "ledger-altered", f"Entry {sequence} ", home / "ledger.sqlite", "officer")
    assert outcome.out == ""
    assert secagg("budget", command, home, "--json").error["culprit"] == f"entry {sequence}"


def test_an_altered_entry_of_ones_own_making_is_found_out_by_the_chain(secagg, home):
    """Who has the site's key can sign another entry; the next one still names the old one's hash."""
    sequence, body, _ = rows(home)[1]
    entry = json.loads(body)
    entry["cost"]["training"][0]["noise_multiplier"] *= 10
    forged = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    signature = Identity.load(home / "identity.pem").sign(LEDGER.signed_bytes(forged))
    change(home, "UPDATE entries SET body = ?, signature = ? WHERE sequence = ?", forged, signature, sequence)
    secagg("budget", "verify", home).failed(TAMPERING, "ledger-altered", "Entry")


def test_a_removed_entry_is_found_out(secagg, home):
    change(home, "DELETE FROM entries WHERE sequence = 2")
    secagg("budget", "verify", home).failed(TAMPERING, "ledger-altered", "Entry 2", "missing")


def test_entries_that_changed_places_are_found_out(secagg, home):
    for old, new in ((2, 99), (3, 2), (99, 3)):
        change(home, "UPDATE entries SET sequence = ? WHERE sequence = ?", new, old)
    secagg("budget", "verify", home).failed(TAMPERING, "ledger-altered", "Entry 2")


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(8192)])
def test_a_file_that_is_no_ledger_is_found_out(secagg, home, content):
    (home / "ledger.sqlite").write_bytes(content)
    secagg("budget", "verify", home).failed(TAMPERING, "ledger-damaged", home / "ledger.sqlite")


def test_nothing_is_trained_on_an_altered_ledger(secagg, finished, home, here):
    flip_entry(home, 2, b'"round":', 8)
    task = ("--task", "task.toml", "--data", "data", "--out", "second", "--hospitals-at", finished / "hospitals")
    secagg("simulate", *task, *SHORT, *LOCAL_DP).failed(TAMPERING, "ledger-altered", "Entry 2", home / "ledger.sqlite")
    assert not (here / "second").exists()


# A ledger that was set back


def test_an_older_ledger_is_found_out_by_the_latch_and_by_a_head_that_was_noted(secagg, home):
    noted = secagg("budget", "verify", home, "--json").json["head"]
    assert secagg("budget", "verify", home, "--noted", noted).code == 0
    change(home, "DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)")
    for command in ("show", "verify"):
        told = secagg("budget", command, home)
        told.failed(TAMPERING, "ledger-restored", home / "ledger.sqlite", "newest ledger", "`secagg budget import`")
    # Who has put back the latch too has only that head against him.
    (home / "latch.sqlite").unlink()
    told = secagg("budget", "verify", home)
    assert (told.code, "--noted HEAD" in told.err) == (0, True)
    secagg("budget", "verify", home, "--noted", noted).failed(TAMPERING, "ledger-restored", noted[:16])


def test_a_ledger_beside_which_no_latch_knows_it_is_said_to_be_checked_in_part(secagg, home):
    noted = secagg("budget", "verify", home, "--json").json
    assert noted["latch_checked"]
    (home / "latch.sqlite").unlink()
    for _ in ("none", "one that begins anew"):
        told = secagg("budget", "verify", home)
        assert told.out.startswith("Yes: ")
        assert "no latch beside it that has seen this ledger" in told.err
        assert told.err.startswith("Warning: ")
        assert told.err.endswith("[no-latch]\n")
        assert secagg("budget", "verify", home, "--json").json == {**noted, "latch_checked": False}
        # A head from elsewhere says as much as a latch.
        assert secagg("budget", "verify", home, "--noted", noted["head"]).err == ""
        Latch(home / "latch.sqlite").close()


def test_control_beside_its_latch_a_ledger_is_verified_without_a_warning(secagg, home):
    assert secagg("budget", "verify", home).err == ""


@pytest.mark.parametrize("typo", ["", "abc", "g" * 64, "0123456789abcdef"])
def test_what_is_no_head_is_a_mistake_and_no_sign_of_tampering(secagg, home, typo):
    secagg("budget", "verify", home, "--noted", typo).failed(UNUSABLE, "bad-head", "64 characters")


def test_a_head_may_be_noted_in_capitals(secagg, home):
    head = secagg("budget", "verify", home, "--json").json["head"]
    assert secagg("budget", "verify", home, "--noted", f" {head.upper()}").code == 0


def test_the_head_of_an_empty_ledger_can_be_noted_as_it_is_printed(secagg, home, here):
    new = here / "new"
    assert secagg("identity", "new", new / "identity.pem").code == 0
    with Ledger(new / "ledger.sqlite", Identity.load(new / "identity.pem")):
        pass
    assert secagg("budget", "verify", new, "--json").json["head"] == "empty"
    for folder in (new, home):
        for noted in ("empty", "0" * 64):
            assert secagg("budget", "verify", folder, "--noted", noted).code == 0
    secagg("budget", "verify", new, "--noted", "f" * 64).failed(TAMPERING, "ledger-restored", "f" * 16)


def test_an_altered_list_of_patients_is_found_out(secagg, home):
    (patients,) = (home / "patients").iterdir()
    patients.write_bytes(patients.read_bytes()[:-20])
    for command in ("show", "verify"):
        secagg("budget", command, home).failed(TAMPERING, "patients-altered", patients)


# A copy that nobody can write to


@pytest.fixture
def copied(home, here):
    """A copy of the hospital's folder that was made while an entry was being written."""
    with Ledger(home / "ledger.sqlite", Identity.load(home / "identity.pem")) as ledger:
        ledger.note_unprotected(ledger.account.data_sets[0], "f" * 64, 1, 1e-5, "")
        return copy_of(home, here / "copied")


def test_a_ledger_on_a_medium_that_is_read_only_is_read_with_or_without_its_latch(secagg, home):
    key = public_key(secagg, home)
    whole = secagg("budget", "verify", home, "--json").json
    for without in ((), ("latch.sqlite",)):
        for name in without:
            (home / name).unlink()
        with mounted_read_only(home) as place:
            found = secagg("budget", "verify", place, "--public-key", key, "--json").json
            assert found == {**whole, "latch_checked": not without}
            assert secagg("budget", "show", place).code == 0
            assert secagg("audit", "egress", place).code == 0


def test_one_that_was_copied_in_parts_is_not_accused_there_and_is_read_where_it_can_be(secagg, home, copied):
    with mounted_read_only(copied) as place:
        assert secagg("budget", "verify", place, "--json").json["entries"] == len(rows(home))
    (copied / "ledger.sqlite-shm").unlink()
    with mounted_read_only(copied) as place:
        secagg("budget", "verify", place).failed(UNUSABLE, "unreadable", place / "ledger.sqlite", "Copy its folder")
    assert secagg("budget", "verify", copied, "--json").json["entries"] == len(rows(copied))


# Other data sets


def test_who_shares_patients_is_shown_and_has_spent_what_they_have(secagg, finished, home, here):
    table = here / "data/h1.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *reversed(lines[4:]), "0.125,0.5,1", "0.25,0.625,0"]) + "\n")
    policy = home / "policy.toml"
    policy.write_text(policy.read_text().replace("maximum_epsilon = 8.0", "maximum_epsilon = 30.0"))
    for other in ("h2", "h3", "h4"):
        path = finished / "hospitals" / other / "policy.toml"
        path.write_text(path.read_text().replace("maximum_epsilon = 8.0", "maximum_epsilon = 30.0"))
    task = ("--task", "task.toml", "--data", "data", "--out", "second", "--hospitals-at", finished / "hospitals")
    assert secagg("simulate", *task, *SHORT, *LOCAL_DP).code == 0
    first, second = secagg("budget", "show", home, "--json").json
    kept = len(lines) - 4
    assert first["overlaps"] == [{"data_set": second["data_set"], "patients": kept}]
    assert second["overlaps"] == [{"data_set": first["data_set"], "patients": kept}]
    assert (first["patients"], second["patients"]) == (len(lines) - 1, kept + 2)
    assert first["epsilon"] == second["epsilon"] > max(run["epsilon"] for run in first["runs"] + second["runs"])
    shown = secagg("budget", "show", home).shown
    assert f"Shares {kept} of {kept + 2} patients with data set {first['data_set'][:16]}." in shown


# Exporting and importing


def public_key(secagg, home):
    return secagg("identity", "show", home / "identity.pem", "--json").json["public_key"]


def test_an_export_is_verified_by_anybody_with_the_public_key(secagg, home, here):
    key = public_key(secagg, home)
    written = secagg("budget", "export", home, "--out", "ledger.json", "--json").json
    assert (written["entries"], written["length"], written["charter"]) == (len(rows(home)), len(rows(home)), None)
    verified = secagg("budget", "verify", "ledger.json", "--public-key", key, "--json").json
    count = len(rows(home))
    assert verified == {
        "verified": True,
        "entries": count,
        "length": count,
        "charter": None,
        "head": written["head"],
        "latch_checked": None,
    }
    secagg("budget", "verify", "ledger.json").failed(UNUSABLE, "no-public-key", "--public-key", "other than this file")
    secagg("budget", "export", home, "--out", "ledger.json").failed(UNUSABLE, "exists", "ledger.json")
    text = (here / "ledger.json").read_text()
    (here / "ledger.json").write_text(text.replace('"steps": 1', '"steps": 0', 1))
    secagg("budget", "verify", "ledger.json", "--public-key", key).failed(TAMPERING, "export-altered", "ledger.json")
    (here / "ledger.json").write_text("{}")
    secagg("budget", "verify", "ledger.json", "--public-key", key).failed(UNUSABLE, "not-an-export", "ledger.json")


def test_of_one_charter_an_export_says_how_many_entries_it_leaves_out(secagg, home, here):
    (spent,) = secagg("budget", "show", home, "--json").json
    run = spent["runs"][0]["charter"]
    assert secagg("budget", "export", home, "--out", "one.json", "--charter", run[:12]).code == 0
    assert json.loads((here / "one.json").read_text())["ledger"]["charter"] == run
    with Ledger(home / "ledger.sqlite", Identity.load(home / "identity.pem")) as ledger:
        ledger.note_unprotected(spent["data_set"], "f" * 64, 1, 1e-5, "")
    out = secagg("budget", "export", home, "--out", "two.json", "--charter", run, "--json").json
    document = json.loads((here / "two.json").read_text())["ledger"]
    assert (out["entries"], out["charter"]) == (len(document["entries"]), run) == (len(rows(home)) - 1, run)
    assert (out["length"], out["head"]) == (document["length"], document["head"])
    part = ("budget", "export", home, "--out", "three.json", "--charter", run)
    assert f"three.json, {len(rows(home)) - 1} of {len(rows(home))} entries." in secagg(*part).shown
    check = ("budget", "verify", "two.json", "--public-key", public_key(secagg, home))
    count = len(rows(home))
    told = secagg(*check).shown
    assert f"these {count - 1} of {count} entries, those of charter {run[:16]}, are intact" in told
    assert "This is a part of the ledger" in told
    found = secagg(*check, "--json").json
    assert (found["entries"], found["length"], found["charter"]) == (count - 1, count, run)
    # All of a ledger that has but one charter's entries.
    told = secagg("budget", "verify", "one.json", *check[3:]).shown
    assert f"these {count - 1} of {count - 1} entries, those of charter {run[:16]}, are intact" in told
    assert "It is a part" not in told
    # The head that a part states is the site's word, and no entry of it.
    for noted in ("0" * 64, found["head"]):
        secagg(*check, "--noted", noted).failed(UNUSABLE, "part-of-a-ledger", "two.json", "--charter")
    whole = json.loads((here / "one.json").read_text())["ledger"]
    for file in ("one.json", "two.json"):
        assert secagg("budget", "verify", file, *check[3:], "--noted", whole["head"]).code == 0
    secagg("budget", "export", home, "--out", "none.json", "--charter", "zz").failed(UNUSABLE, "no-such-run", "zz")


def test_what_another_ledger_of_the_site_recorded_counts_here_and_once(secagg, finished, home, here):
    other = finished / "hospitals/h2"
    secagg("budget", "export", other, "--out", "other.json")
    (before,) = secagg("budget", "show", home, "--json").json
    into = ("budget", "import", home, "other.json")
    secagg(*into).failed(TAMPERING, "export-altered", "other.json")
    options = ("--public-key", public_key(secagg, other), "--data-set", before["data_set"][:10])
    assert secagg(*into, *options, "--json").json == {"added": 1, "left_out": 0, "open_in_both": []}
    assert secagg(*into, *options, "--json").json == {"added": 0, "left_out": 0, "open_in_both": []}
    (after,) = secagg("budget", "show", home, "--json").json
    assert after["epsilon"] > before["epsilon"]
    assert [run["imported"] for run in after["runs"]] == [False, True]
    assert [run["state"] for run in after["runs"]] == ["closed", "closed"]
    assert "closed, in another ledger" in secagg("budget", "show", home).shown
    for nothing in ("zz", ""):
        secagg(*into, *options[:2], "--data-set", nothing).failed(UNUSABLE, "no-such-data-set", nothing)
    assert secagg("budget", "verify", home).code == 0


def test_an_import_of_one_charters_entries_says_that_what_others_spent_does_not_count(secagg, finished, home, here):
    other = finished / "hospitals/h2"
    (run,) = secagg("budget", "show", other, "--json").json[0]["runs"]
    with Ledger(other / "ledger.sqlite", Identity.load(other / "identity.pem")) as ledger:
        ledger.note_unprotected(ledger.account.data_sets[0], "f" * 64, 1, 1e-5, "")
    secagg("budget", "export", other, "--out", "part.json", "--charter", run["charter"])
    secagg("budget", "export", other, "--out", "whole.json")
    into = ("budget", "import", home)
    key = ("--public-key", public_key(secagg, other))
    shown = secagg(*into, "part.json", *key).shown
    assert "leaves out 1 of that ledger's" in shown
    assert "does not count here: import an export of the whole ledger" in shown
    assert secagg(*into, "part.json", *key, "--json").json == {"added": 0, "left_out": 1, "open_in_both": []}
    assert "leaves out" not in secagg(*into, "whole.json", *key).shown


def test_spending_of_nobody_knows_whom_counts_with_every_data_set(secagg, finished, home, here):
    other = finished / "hospitals/h2"
    secagg("budget", "export", other, "--out", "other.json")
    (before,) = secagg("budget", "show", home, "--json").json
    assert secagg("budget", "import", home, "other.json", "--public-key", public_key(secagg, other)).code == 0
    mine, theirs = secagg("budget", "show", home, "--json").json
    assert mine["epsilon"] == theirs["epsilon"] > before["epsilon"]
    assert theirs["patients"] is None
    shown = secagg("budget", "show", home).shown
    assert "It is not known which patients these are" in shown
    assert f"Shares any number of patients with data set {theirs['data_set'][:16]}." in shown


def test_a_new_site_takes_over_a_ledger_before_its_first_run_and_only_where_it_has_an_identity(secagg, home, here):
    secagg("budget", "export", home, "--out", "old.json")
    new = here / "new"
    into = ("budget", "import", new, "old.json", "--public-key", public_key(secagg, home))
    secagg(*into).failed(UNUSABLE, "unreadable", new / "identity.pem")
    assert not new.exists()
    assert secagg("identity", "new", new / "identity.pem").code == 0
    secagg("budget", "release", new, "--charter", "f").failed(UNUSABLE, "no-ledger", "budget import")
    assert secagg(*into).code == 0
    (before,) = secagg("budget", "show", home, "--json").json
    (after,) = secagg("budget", "show", new, "--json").json
    assert (after["epsilon"], after["runs"][0]["imported"]) == (before["epsilon"], True)
    assert secagg("budget", "verify", new).code == 0


# Giving up


def test_a_run_that_never_ended_is_given_up_and_what_it_charged_stays(secagg, home):
    with Ledger(home / "ledger.sqlite", Identity.load(home / "identity.pem")) as ledger:
        (data_set,) = ledger.account.data_sets
        ledger.reserve(data_set, "f" * 64, Cost((GaussianEvent(9.0, 1.0, 3),)), Budget(50.0, 1e-5), "")
        ledger.charge(data_set, "f" * 64, 1, Cost((GaussianEvent(9.0, 1.0, 1),)), Budget(50.0, 1e-5), "")
    (before,) = secagg("budget", "show", home, "--json").json
    secagg("budget", "release", home, "--charter", "e" * 16).failed(UNUSABLE, "no-such-run", "budget show")
    assert secagg("budget", "release", home, "--charter", "ffff", "--json").json["released"] == [data_set]
    (after,) = secagg("budget", "show", home, "--json").json
    run = after["runs"][1]
    assert (run["state"], run["rounds"]) == ("released", 1)
    assert 0 < run["epsilon"] < before["runs"][1]["epsilon"]
    assert after["epsilon"] < before["epsilon"]
    assert "has nothing reserved" in secagg("budget", "release", home, "--charter", "ffff").shown


def test_what_another_ledgers_run_holds_is_told_and_not_given_up(secagg, finished, home, here):
    other = finished / "hospitals/h2"
    with Ledger(other / "ledger.sqlite", Identity.load(other / "identity.pem")) as ledger:
        (data_set,) = ledger.account.data_sets
        ledger.reserve(data_set, "f" * 64, Cost((GaussianEvent(9.0, 1.0, 3),)), Budget(50.0, 1e-5), "")
    secagg("budget", "export", other, "--out", "other.json")
    secagg("budget", "import", home, "other.json", "--public-key", public_key(secagg, other))
    before = secagg("budget", "show", home, "--json").json
    shown = secagg("budget", "release", home, "--charter", "ffff").shown
    assert "another ledger had reserved" in shown
    assert "what was charged there since is not known here" in shown
    assert "has nothing reserved" not in shown
    told = secagg("budget", "release", home, "--charter", "ffff", "--json").json
    assert (told["released"], told["held_elsewhere"]) == ([], [before[1]["data_set"]])
    assert secagg("budget", "show", home, "--json").json == before
    # A run that had ended there has nothing reserved.
    ended = before[0]["runs"][0]["charter"]
    assert [run["imported"] for found in before for run in found["runs"] if run["charter"] == ended] == [False, True]
    assert "has nothing reserved" in secagg("budget", "release", home, "--charter", ended).shown


def test_an_import_says_which_runs_a_copy_may_go_on_with_and_a_release_that_none_may(secagg, home, here):
    copy = copy_of(home, here / "copied")
    with Ledger(copy / "ledger.sqlite", Identity.load(copy / "identity.pem")) as ledger:
        (data_set,) = ledger.account.data_sets
        ledger.reserve(data_set, "f" * 64, Cost((GaussianEvent(9.0, 1.0, 3),)), Budget(50.0, 1e-5), "")
    secagg("budget", "export", copy, "--out", "copied.json")
    shown = secagg("budget", "import", home, "copied.json").shown
    assert f"The run of charter {'f' * 16} is open in both ledgers." in shown
    assert "do not release it here" in shown
    assert secagg("budget", "import", home, "copied.json", "--json").json["open_in_both"] == ["f" * 64]
    shown = secagg("budget", "release", home, "--charter", "ffff").shown
    assert "If a copy of this folder may still go on with the run, import what it has recorded" in shown
    assert secagg("budget", "import", home, "copied.json", "--json").json["open_in_both"] == []


def test_nothing_is_given_up_or_imported_while_the_hospital_runs(secagg, home, here):
    secagg("budget", "export", home, "--out", "ledger.json")
    with Ledger(home / "ledger.sqlite", Identity.load(home / "identity.pem")):
        for command in (["release", home, "--charter", "f"], ["import", home, "ledger.json"]):
            secagg("budget", *command).failed(UNUSABLE, "state-in-use", home / "ledger.sqlite")
        assert secagg("budget", "show", home).code == 0

"""Whatever is changed in a record, at whatever entry, the report says so and names it; the command ends with code 4."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from functools import partial

import msgspec
import pytest

from dp.ledger.entries import LEDGER, Entry
from secagg.charter.folder import read_verified
from secagg.egress import EGRESS, EgressEntry
from secagg.errors import TamperingError
from secagg.identity import Identity
from secagg.log_excerpt import LogExcerpt, checkpoint_of, verify_excerpt
from secagg.release.checkpoints import CHECKPOINTS_FILE, checkpoints_statement, read_checkpoints, sign_checkpoint
from secagg.release.dsse import assemble, attest
from secagg.transcript.files import transcript_files
from tests.cli.outcome import TAMPERING, UNUSABLE, copy_of
from tests.cli.reporting import (
    MEMBERS,
    TAMPERINGS,
    Officer,
    alter_body,
    flipped,
    numbered,
    reasons,
    restored,
    site_report,
)
from tests.support.log_rows import overwrite, rows
from training.reporting.document import ReportDocument, make_document
from training.reporting.rounds import altered_files

LOGS = {"ledger": (LEDGER, Entry), "egress": (EGRESS, EgressEntry)}


def arguments(run, *more):
    home = run / "hospitals/h1"
    return ("audit", "report", home, "--charter", run / "charter", "--release", run / "release", *more)


def test_control_of_an_untouched_run_nothing_is_found(secagg, finished, tmp_path):
    transcript = finished / "coordinator/transcript"
    outcome = secagg(*arguments(finished, "--transcript", transcript, "--out", tmp_path / "report.html"))
    assert (outcome.code, outcome.out.splitlines()[0]) == (
        0,
        "Yes: all 11 checks that could be made found the records intact.",
    )


# Logs


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda tampering: tampering.__name__)
def test_a_log_that_is_tampered_with_at_any_entry_is_named(finished, log, tampering):
    path = finished / f"hospitals/h1/{log}.sqlite"
    entries = rows(path)
    assert len(entries) > 5
    officer = Officer(finished)
    for at in range(len(entries)):
        with restored(path):
            overwrite(path, tampering(entries, at))
            found = officer.look()
        assert reasons(found) & {f"{log}-altered", f"{log}-restored"}, at
        assert [check.state for check in found.checks if check.what.startswith(f"h1: {LOGS[log][0].name}")] == ["wrong"]
    assert reasons(officer.look()) == set()


@pytest.mark.parametrize("log", LOGS)
def test_the_command_ends_with_code_4_and_writes_what_it_found(secagg, finished, tmp_path, log):
    path = finished / f"hospitals/h1/{log}.sqlite"
    overwrite(path, alter_body(rows(path), 3))
    outcome = secagg(*arguments(finished, "--out", tmp_path / "report.html"))
    assert outcome.code == TAMPERING
    assert f"Entry 4 of the {LOGS[log][0].name}" in outcome.out
    assert f"[{log}-altered]" in outcome.out
    page = (tmp_path / "report.html").read_text()
    assert "Yes: 1 thing does not fit." in page
    assert "Entry 4 of the" in page
    unknown = "the ledger is not what was written, so that nobody knows what is left" in page
    assert unknown == ("no ledger shows it" in page) == (log == "ledger")
    outcome = secagg("audit", "report", "--verify", tmp_path / "report.json", "--charter", finished / "charter")
    assert outcome.code == TAMPERING


def set_back(run, log, entries):
    """As the site itself could, which has the key and the latch."""
    home = run / "hospitals/h1"
    overwrite(home / f"{log}.sqlite", entries)
    kind, entry = LOGS[log]
    place = kind.place([msgspec.json.decode(body, type=entry) for _, body, _ in entries])
    with closing(sqlite3.connect(home / "latch.sqlite")) as database, database:
        database.execute("UPDATE logs SET entries = ?, head = ? WHERE name = ?", (*place, kind.reason))


def resigned(run, log, at):
    """The whole log written anew by the site itself, with another time in one entry."""
    kind, entry = LOGS[log]
    identity = Identity.load(run / "hospitals/h1/identity.pem")
    written, previous = [], "0" * 64
    for place, (_, body, _) in enumerate(rows(run / f"hospitals/h1/{log}.sqlite")):
        changes = {"time": "2001-01-01T00:00:00+00:00"} if place == at else {}
        line = msgspec.structs.replace(msgspec.json.decode(body, type=entry), previous=previous, **changes)
        written.append((line.body(), identity.sign(kind.signed_bytes(line.body()))))
        previous = kind.chain_hash(line.body())
    return numbered(written)


@pytest.mark.parametrize("log", LOGS)
def test_a_whole_log_that_is_an_older_one_is_found_by_what_the_others_signed(finished, log):
    home = finished / "hospitals/h1"
    entries = rows(home / f"{log}.sqlite")
    officer = Officer(finished)
    for length in range(getattr(officer.own, log).entries):
        with restored(home / f"{log}.sqlite", home / "latch.sqlite"):
            set_back(finished, log, entries[:length])
            assert reasons(officer.look()) == {f"{log}-restored"}, length
            # Control: without what the others signed, who has the key and the latch is not found out.
            assert reasons(officer.look(checkpoints=False)) == set()


def test_folders_that_were_put_back_whole_are_no_old_exports_as_they_were_read_just_now(secagg, finished, tmp_path):
    homes = [finished / f"hospitals/{name}" for name in ("h1", "h2")]
    given = ("--charter", finished / "charter", "--release", finished / "release")
    with restored(*(homes[0] / name for name in ("ledger.sqlite", "egress.sqlite", "latch.sqlite"))):
        set_back(finished, "egress", rows(homes[0] / "egress.sqlite")[:5])
        set_back(finished, "ledger", rows(homes[0] / "ledger.sqlite")[:2])
        outcome = secagg("audit", "report", *homes, *given, "--out", tmp_path / "report.html")
        assert outcome.code == TAMPERING
        assert all(code in outcome.out for code in ("[ledger-restored]", "[egress-restored]", "[uncharged-round]"))
        assert "old-export" not in outcome.out
        # Control: what was exported then, and is given as a file, may be from before the end.
        exported = tmp_path / "h1.json"
        assert secagg("audit", "export", homes[0], *given[:2], "--out", exported).code == 0
        outcome = secagg("audit", "report", exported, homes[1], *given, "--out", tmp_path / "report.html")
        assert outcome.code == TAMPERING
        assert outcome.out.count("[old-export]") == 1
        assert "No: 1 thing is wrong with the records." in outcome.out
    verified = secagg("audit", "report", "--verify", tmp_path / "report.json", *given)
    assert verified.code == TAMPERING
    assert "report-differs" not in verified.err


@pytest.mark.parametrize("log", LOGS)
def test_a_log_that_its_own_site_writes_anew_is_found_by_what_the_others_signed(finished, log):
    home = finished / "hospitals/h1"
    officer = Officer(finished)
    for at in range(getattr(officer.own, log).entries):
        with restored(home / f"{log}.sqlite", home / "latch.sqlite"):
            set_back(finished, log, resigned(finished, log, at))
            assert reasons(officer.look()) == {f"{log}-restored"}, at
            assert reasons(officer.look(checkpoints=False)) == set()


# Checkpoints


def test_a_forged_checkpoint_is_found(secagg, finished, tmp_path):
    path = finished / "release" / CHECKPOINTS_FILE
    path.write_bytes(path.read_bytes().replace(b'"sig": "', b'"sig": "AAAA', 1))
    outcome = secagg(*arguments(finished, "--out", tmp_path / "report.html"))
    assert outcome.code == TAMPERING
    assert "-signature]" in outcome.out or "[malformed-statement]" in outcome.out


def test_a_site_that_forges_its_own_checkpoint_has_nobody_else_to_sign_for_it(finished):
    charter = read_verified(finished / "charter")
    home = finished / "hospitals/h1"
    identity = Identity.load(home / "identity.pem")
    shorter = rows(home / "ledger.sqlite")[:2]
    set_back(finished, "ledger", shorter)
    place = checkpoint_of([msgspec.json.decode(body, type=Entry) for _, body, _ in shorter])
    real = read_checkpoints(finished / "release", charter).by_name["h1"]
    forged = checkpoints_statement(charter, [sign_checkpoint(charter, "h1", place, real.egress, identity)])
    signed = assemble(forged, [attest(forged, identity)])
    (finished / "release" / CHECKPOINTS_FILE).write_bytes(signed.to_json())
    found = site_report(finished)
    (check,) = [check for check in found.checks if check.what == "h1: ledger, since the run ended"]
    assert (check.state, check.detail) == ("absent", "0 other hospitals have signed for its checkpoint: too few")
    assert "not-cosigned" in {notice.code for notice in found.notices}


# The release and the transcript


@pytest.mark.parametrize(
    "name", ["model.safetensors", "statement.dsse.json", "charter.toml", "charter.signatures.json"]
)
def test_a_byte_altered_in_any_part_of_the_release_is_found(finished, name):
    path = finished / "release" / name
    data = path.read_bytes()
    # Of each file some: that every byte is found is shown where they are verified.
    for place in range(len(data) // 7, len(data), len(data) // 3):
        path.write_bytes(flipped(data, place))
        assert reasons(site_report(finished)), place
    path.write_bytes(data)
    assert reasons(site_report(finished)) == set()


def test_every_byte_of_a_transcript_is_what_the_hospitals_signed_for(finished):
    folder = finished / "coordinator/transcript"
    noted = read_checkpoints(finished / "release", read_verified(finished / "charter")).transcript
    assert [checkpoint.name for checkpoint in noted] == [path.name for path in transcript_files(folder)]
    assert altered_files(folder, noted) == []
    for checkpoint in noted:
        path = folder / checkpoint.name
        data = path.read_bytes()
        for place in range(0, checkpoint.bytes, 97):
            path.write_bytes(flipped(data, place))
            assert [finding.reason for finding in altered_files(folder, noted)] == ["transcript-altered"]
        for changed in (data[: checkpoint.bytes - 1], b""):
            path.write_bytes(changed)
            assert [finding.reason for finding in altered_files(folder, noted)] == ["transcript-altered"]
        path.unlink()
        assert [finding.reason for finding in altered_files(folder, noted)] == ["transcript-altered"]
        path.write_bytes(data)


@pytest.mark.parametrize("number", [0, 1])
def test_a_transcript_of_which_one_byte_was_altered_ends_with_code_4(secagg, finished, tmp_path, number):
    folder = finished / "coordinator/transcript"
    path = transcript_files(folder)[number]
    path.write_bytes(flipped(path.read_bytes(), path.stat().st_size // 2))
    outcome = secagg(*arguments(finished, "--transcript", folder, "--out", tmp_path / "report.html"))
    assert outcome.code == TAMPERING
    assert "is not the file that hospitals have signed for" in outcome.out
    assert "[transcript-altered]" in outcome.out
    alone = secagg("audit", "transcript", folder, "--charter", finished / "charter", "--release", finished / "release")
    assert (alone.code, "[transcript-altered]" in alone.out) == (TAMPERING, True)


# What was exported


@pytest.fixture
def exported(secagg, finished, tmp_path):
    """What each hospital shows."""
    for name in MEMBERS:
        out = tmp_path / f"{name}.json"
        outcome = secagg(
            "audit", "export", finished / "hospitals" / name, "--charter", finished / "charter", "--out", out
        )
        assert outcome.code == 0
    return tmp_path


def test_every_change_to_an_exported_file_is_found(secagg, finished, exported):
    path = exported / "h1.json"
    data = path.read_bytes()
    call = partial(secagg, "audit", "egress", path, "--charter", finished / "charter", "--json")
    assert call().code == 0
    document = json.loads(data)
    for log in LOGS:
        for at in range(len(document["evidence"][log]["shown"])):
            changed = json.loads(data)
            changed["evidence"][log]["shown"][at]["entry"]["time"] = "2001-01-01T00:00:00+00:00"
            path.write_text(json.dumps(changed))
            assert call().error["reason"] == "evidence-altered"


def test_an_entry_that_is_hidden_exchanged_or_left_out_does_not_give_the_root(finished, exported):
    charter = read_verified(finished / "charter")
    key = charter.charter.member(1).public_key
    excerpt = msgspec.json.decode(
        json.dumps(json.loads((exported / "h1.json").read_bytes())["evidence"]["egress"]), type=LogExcerpt[EgressEntry]
    )
    verify_excerpt(excerpt, key, EGRESS, exported)
    for at in range(len(excerpt.shown)):
        for shown in (
            excerpt.shown[:at] + excerpt.shown[at + 1 :],
            (*excerpt.shown[:at], excerpt.shown[0], *excerpt.shown[at + 1 :]),
        ):
            if shown == excerpt.shown:
                continue
            with pytest.raises(TamperingError):
                verify_excerpt(msgspec.structs.replace(excerpt, shown=shown), key, EGRESS, exported)


def test_a_report_whose_figures_were_changed_is_not_what_its_records_come_to(secagg, finished, tmp_path):
    assert secagg(*arguments(finished, "--out", tmp_path / "report.html")).code == 0
    path = tmp_path / "report.json"
    data = path.read_text()
    verify = partial(secagg, "audit", "report", "--verify", path, "--charter", finished / "charter")
    assert verify().code == 0
    whole = json.loads(data)
    spent = whole["report"]["sites"][0]["data_sets"][0]["spent"]
    path.write_text(data.replace(f'"spent": {spent}', f'"spent": {spent / 2}', 1))
    verify().failed(TAMPERING, "report-differs", "sites[0].data_sets[0].spent")
    path.write_text(data.replace('"about": "site"', '"about":  "site"', 1))
    verify().failed(TAMPERING, "report-differs", "formatting")


def repeated(secagg, run, path, *given):
    return secagg("audit", "report", "--verify", path, "--charter", run / "charter", *given)


def test_a_report_that_names_a_damaged_file_can_be_repeated_where_that_file_lies_elsewhere(secagg, finished, tmp_path):
    for number, place in enumerate(("coordinator/transcript/epoch-000001.transcript", "release/statement.dsse.json")):
        path = finished / place
        path.write_bytes(flipped(path.read_bytes(), path.stat().st_size // 2))
        option, out = ("--transcript", "--release")[number], tmp_path / f"{number}.html"
        given = [option, path.parent, "--out", out]
        if option == "--transcript":
            given += ["--release", finished / "release"]
        report = ("audit", "report", finished / "hospitals/h1", "--charter", finished / "charter")
        assert secagg(*report, *given).code == TAMPERING
        elsewhere = copy_of(path.parent, tmp_path / f"elsewhere-{number}")
        outcome = repeated(secagg, finished, out.with_suffix(".json"), option, elsewhere)
        assert (outcome.code, outcome.err) == (TAMPERING, "")
        assert "Yes: every figure in" in outcome.out
        assert str(path.parent) not in out.with_suffix(".json").read_text()


def test_what_a_report_was_made_without_is_no_lie_of_it(secagg, finished, tmp_path):
    report = ("audit", "report", finished / "hospitals/h1", "--charter", finished / "charter")
    assert secagg(*report, "--out", tmp_path / "report.html").code == 0
    path = tmp_path / "report.json"
    for option, place in (("--transcript", "coordinator/transcript"), ("--release", "release")):
        outcome = repeated(secagg, finished, path, option, finished / place)
        outcome.failed(UNUSABLE, "not-in-report", f"made without {option}")


def test_control_another_transcript_than_it_was_made_from_is_told_apart(secagg, finished, tmp_path):
    transcript = finished / "coordinator/transcript"
    assert secagg(*arguments(finished, "--transcript", transcript, "--out", tmp_path / "report.html")).code == 0
    elsewhere = copy_of(transcript, tmp_path / "elsewhere")
    assert repeated(secagg, finished, tmp_path / "report.json", "--transcript", elsewhere).code == 0
    (elsewhere / "epoch-000000.transcript").unlink()
    outcome = repeated(secagg, finished, tmp_path / "report.json", "--transcript", elsewhere)
    outcome.failed(TAMPERING, "report-differs", f"is not what {elsewhere} gives, at transcript.", "a later copy")


def test_no_report_counts_a_hospital_twice(secagg, finished, exported, tmp_path):
    given = (exported / "h1.json", exported / "h2.json", "--charter", finished / "charter")
    assert secagg("audit", "report", *given, "--out", tmp_path / "report.html").code == 0
    path = tmp_path / "report.json"
    document = msgspec.json.decode(path.read_bytes(), type=ReportDocument)
    twice = msgspec.structs.replace(document.records, sites=(document.records.sites[0],) * 2)
    path.write_bytes(make_document(read_verified(finished / "charter"), twice).to_json())
    repeated(secagg, finished, path).failed(UNUSABLE, "duplicate-site", "h1")


def test_the_records_of_another_run_do_not_fit_the_charter(secagg, finished, exported, simulate, here):
    assert simulate().code == 0
    secagg("audit", "report", exported / "h1.json", exported / "h2.json", "--charter", here / "run/charter").failed(
        TAMPERING, "other-charter", "h1"
    )
    shutil.rmtree(here / "run")

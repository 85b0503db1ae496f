"""`secagg audit transcript`, on the transcript of a finished run, whole and altered."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from functools import partial

import msgspec
import pytest

from secagg.charter.folder import read_verified
from secagg.egress import EgressEntry, EgressLog, read_egress
from secagg.identity import Identity
from secagg.masking.journal import Around
from secagg.masking.messages import Refusal
from secagg.release.checkpoints import CHECKPOINTS_FILE, read_checkpoints
from secagg.transcript import AROUND, TranscriptWriter
from secagg.transcript.files import checkpoint_files
from secagg.wire import Sealer, Stage
from tests.cli.outcome import TAMPERING, UNUSABLE, flip
from tests.cli.reporting import alter_body, hiding, resigned, rewrite
from tests.support.log_rows import overwrite, rows
from training.hospital_folder import HospitalFolder
from training.reporting.evidence import gather_for_others

CHAINED = ("sequence", "previous")


def evidence_without_latch(run, name, folder):
    """An export of a log that goes on, or ends, otherwise than the hospital's latch has it."""
    home = HospitalFolder(run / "hospitals" / name)
    home.latch.unlink()
    signed = gather_for_others(home, read_verified(run / "charter"), Identity.load(home.identity))
    out = folder / f"{name}.json"
    out.write_bytes(signed.to_json())
    return out


@pytest.fixture
def audit(secagg):
    def call(run, *options):
        charter = ("--charter", run / "charter")
        return secagg("audit", "transcript", run / "coordinator/transcript", *charter, *options)

    return call


def egress_of(run, *names):
    return [part for name in names for part in ("--egress", f"{name}={run / 'hospitals' / name / 'egress.sqlite'}")]


def test_every_sum_of_a_run_is_recomputed(audit, finished):
    shown = audit(finished).shown
    assert "Yes: all 2 sums are what the hospitals' messages add up to." in shown
    assert "3 of 4" in shown
    assert "4 of 4" in shown


def test_what_is_recomputed_can_be_read_where_there_is_little_room(audit, finished, monkeypatch):
    monkeypatch.setattr("cli.audit_transcript.console.width", 30)
    digests = [row["sum_sha256"][:16] for row in audit(finished, "--json").json["rounds"]]
    shown = audit(finished).out
    assert all(told in shown for told in (*digests, "training", "purpose"))


def test_beside_every_hospitals_own_log_nothing_is_found_either(audit, finished):
    found = audit(finished, *egress_of(finished, "h1", "h2", "h3", "h4"), "--json").json
    assert found["whole"] is True
    assert found["findings"] == []
    assert [row["round"] for row in found["rounds"]] == [1, 2]
    assert found["messages"] > 20
    assert [log["sums"] for log in found["logs"]] == [2, 2, 2, 2]


def test_it_is_said_of_how_many_sums_the_logs_say_the_same(audit, finished, tmp_path):
    """A hospital can show hashes in the place of the sums that it took."""
    told = "Yes: all 2 sums are what the hospitals' messages add up to"
    assert f"{told}; of 2 of them the log of h1 says the same." in audit(finished, *egress_of(finished, "h1")).shown
    both = audit(finished, *egress_of(finished, "h1", "h2")).shown
    assert f"{told}; of 2 of them one or more of 2 logs say the same." in both
    one = hiding(finished, tmp_path, "h1", lambda entry: entry.took_sum and entry.round == 2)
    assert f"{told}; of 1 of them the log of h1 says the same." in audit(finished, "--egress", f"h1={one}").shown
    # The second sum is in one of the two only, which may be a liar's.
    mixed = audit(finished, "--egress", f"h1={one}", *egress_of(finished, "h2")).shown
    assert f"{told}; of 2 of them one or more of 2 logs say the same." in mixed
    all_of_them = hiding(finished, tmp_path, "h2", lambda entry: entry.took_sum)
    shown = audit(finished, "--egress", f"h2={all_of_them}").shown
    assert f"{told}; no log that was given shows one of them." in shown


def test_one_byte_altered_anywhere_in_an_epoch_shows(audit, finished):
    """As a misfit; or, in a message that came too late to matter, as one that is not its sender's."""
    (path,) = (finished / "coordinator/transcript").glob("epoch-000001.transcript")
    size = path.stat().st_size
    for position in range(size // 7, size, size // 7):
        flip(path, position)
        outcome = audit(finished)
        assert outcome.code == TAMPERING or "refused: 1" in outcome.out
        assert "Traceback" not in outcome.err
        flip(path, position)
    assert audit(finished).code == 0


def test_a_transcript_that_was_cut_off_says_so(audit, finished):
    (path,) = (finished / "coordinator/transcript").glob("epoch-000001.transcript")
    path.write_bytes(path.read_bytes()[:-5])
    outcome = audit(finished)
    assert outcome.code == TAMPERING
    assert "[transcript-damaged]" in outcome.out
    assert "No: the transcript does not fit together" in outcome.out


def test_a_round_that_the_transcript_lacks_is_found_by_a_hospitals_log(audit, finished):
    (path,) = (finished / "coordinator/transcript").glob("epoch-000001.transcript")
    path.unlink()
    outcome = audit(finished, *egress_of(finished, "h1"), "--json")
    assert outcome.code == TAMPERING
    assert {finding["reason"] for finding in json.loads(outcome.out)["findings"]} == {"missing-round", "incomplete"}


def test_a_forged_sum_that_a_hospital_took_in_the_number_of_a_later_round_is_found(audit, finished, tmp_path):
    """The coordinator colludes with a hospital: the forged sum first, then that round's true one."""
    home = finished / "hospitals/h1"
    identity = Identity.load(home / "identity.pem")
    with EgressLog(tmp_path / "egress.sqlite", identity) as log:
        for entry in read_egress(home / "egress.sqlite", identity.public_key):
            fields = {name: value for name, value in msgspec.structs.asdict(entry).items() if name not in CHAINED}
            if entry.took_sum and entry.round == 2:
                log.record(partial(EgressEntry, **(fields | {"stage": "MISSED_SUM", "sha256": "0" * 64})))
            log.record(partial(EgressEntry, **fields))
    outcome = audit(finished, "--egress", f"h1={tmp_path / 'egress.sqlite'}", "--json")
    assert outcome.code == TAMPERING
    (finding,) = json.loads(outcome.out)["findings"]
    assert (finding["reason"], finding["round"]) == ("other-sum", 2)


def test_an_egress_log_that_was_altered_or_is_of_nobody_is_refused(audit, finished):
    path = finished / "hospitals/h2/egress.sqlite"
    audit(finished, "--egress", f"nobody={path}").failed(UNUSABLE, "unknown-member", "nobody")
    overwrite(path, alter_body(rows(path), 3))
    audit(finished, "--egress", f"h2={path}").failed(TAMPERING, "egress-altered")


def test_a_log_whose_first_signature_is_none_was_altered(audit, finished):
    path = finished / "hospitals/h2/egress.sqlite"
    ((sequence, body, _), *later) = rows(path)
    overwrite(path, [(sequence, body, bytes(63)), *later])
    audit(finished, "--egress", f"h2={path}").failed(TAMPERING, "egress-altered", "Entry 1")


def test_a_log_that_is_a_view_and_no_table_is_damaged(audit, finished, tmp_path):
    path = tmp_path / "egress.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        counted = "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 99999)"
        database.execute(
            f"CREATE VIEW entries AS {counted} SELECT -n AS sequence, n AS body, n AS signature FROM counted"
        )
    audit(finished, "--egress", f"h2={path}").failed(TAMPERING, "egress-damaged", path)


def test_a_log_that_was_given_in_anothers_name_is_a_mistake_and_no_tampering(audit, secagg, finished, tmp_path):
    other = finished / "hospitals/h2/egress.sqlite"
    audit(finished, "--egress", f"h1={other}").failed(UNUSABLE, "log-of-another", "the log of h2")
    exported = export_of(secagg, finished, "h2", tmp_path)
    audit(finished, "--egress", f"h1={exported}").failed(UNUSABLE, "log-of-another")
    audit(finished, "--egress", other).failed(UNUSABLE, "usage")
    twice = ("--egress", f"h2={other}")
    audit(finished, *twice, *twice).failed(UNUSABLE, "usage")


def export_of(secagg, run, name, folder):
    out = folder / f"{name}.json"
    assert secagg("audit", "export", run / "hospitals" / name, "--charter", run / "charter", "--out", out).code == 0
    return out


def test_what_a_hospital_has_exported_is_compared_like_its_log(audit, secagg, finished, tmp_path):
    exported = export_of(secagg, finished, "h1", tmp_path)
    assert audit(finished, "--release", finished / "release", "--egress", f"h1={exported}").code == 0
    (finished / "coordinator/transcript/epoch-000001.transcript").unlink()
    found = json.loads(audit(finished, "--egress", f"h1={exported}", "--json").out)["findings"]
    assert "h1 took a sum in round 1, of which the transcript knows none." in {finding["message"] for finding in found}


def test_of_an_export_that_hides_entries_it_is_said_how_many(audit, finished, tmp_path):
    """The hospital's log goes on under another charter."""
    log = EgressLog(finished / "hospitals/h1/egress.sqlite", Identity.load(finished / "hospitals/h1/identity.pem"))
    with log:
        fields = {name: value for name, value in msgspec.structs.asdict(log.entries[0]).items() if name not in CHAINED}
        log.record(partial(EgressEntry, **(fields | {"charter": "0" * 64})))
    exported = evidence_without_latch(finished, "h1", tmp_path)
    shown = audit(finished, "--egress", f"h1={exported}").shown
    assert f"The log of h1: {len(log.entries) - 1} entries are shown, and of 1 only a hash." in shown


# A log that its own hospital writes anew


@pytest.fixture
def written_anew(finished, tmp_path):
    """The log of h1, which has another digest for the sum of round 2 than it took, chained and signed once more."""
    home = finished / "hospitals/h1"
    identity = Identity.load(home / "identity.pem")
    with EgressLog(tmp_path / "egress.sqlite", identity) as log:
        for entry in read_egress(home / "egress.sqlite", identity.public_key):
            fields = {name: value for name, value in msgspec.structs.asdict(entry).items() if name not in CHAINED}
            forged = {"sha256": "0" * 64} if entry.took_sum and entry.round == 2 else {}
            log.record(partial(EgressEntry, **(fields | forged)))
    return tmp_path / "egress.sqlite"


def test_a_log_that_was_written_anew_accuses_its_hospital_and_not_the_coordinator(audit, finished, written_anew):
    outcome = audit(finished, "--release", finished / "release", "--egress", f"h1={written_anew}")
    assert outcome.code == TAMPERING
    assert "The egress log of h1 has other first" in outcome.out
    assert "[egress-restored]" in outcome.out
    assert "other-sum" not in outcome.out
    assert outcome.out.splitlines()[-1] == (
        "No: the transcript fits together, but a log that was given does not go on from what its hospital signed for."
    )


def test_control_without_the_release_the_same_log_contradicts_the_transcript(audit, finished, written_anew):
    outcome = audit(finished, "--egress", f"h1={written_anew}")
    assert outcome.code == TAMPERING
    assert "[other-sum]" in outcome.out
    assert outcome.out.splitlines()[-1] == (
        "No: the transcript fits together, but the logs say otherwise: the transcript or a log is not true."
    )


@pytest.fixture
def added_to(finished, tmp_path):
    """The log of h1, to which h1 has added after the end that it took another sum in round 2."""
    home, copy = finished / "hospitals/h1", tmp_path / "egress.sqlite"
    copy.write_bytes((home / "egress.sqlite").read_bytes())
    with EgressLog(copy, Identity.load(home / "identity.pem")) as log:
        (took,) = (entry for entry in log.entries if entry.took_sum and entry.round == 2)
        fields = {name: value for name, value in msgspec.structs.asdict(took).items() if name not in CHAINED}
        log.record(partial(EgressEntry, **(fields | {"sha256": "0" * 64})))
    return copy


def test_a_sum_that_a_hospital_adds_to_its_log_after_the_end_accuses_itself_and_not_the_coordinator(
    audit, finished, added_to
):
    outcome = audit(finished, "--release", finished / "release", "--egress", f"h1={added_to}")
    assert outcome.code == TAMPERING
    assert "h1 took a sum of round 2 after the run had ended" in outcome.out
    assert outcome.out.count("[taken-after-the-end]") == outcome.out.count("[") == 1
    assert outcome.out.splitlines()[-1] == (
        "No: the transcript fits together, but a sum was added to a log that was given after its hospital had signed "
        "for it."
    )


def test_control_without_the_release_the_sum_that_was_added_contradicts_the_transcript(audit, finished, added_to):
    outcome = audit(finished, "--egress", f"h1={added_to}")
    assert outcome.code == TAMPERING
    assert outcome.out.count("[other-sum]") == outcome.out.count("[") == 1


def test_an_export_from_before_the_end_is_asked_for_anew(audit, secagg, finished, tmp_path):
    home = finished / "hospitals/h1"
    overwrite(home / "egress.sqlite", rows(home / "egress.sqlite")[:5])
    exported = evidence_without_latch(finished, "h1", tmp_path)
    outcome = audit(finished, "--release", finished / "release", "--egress", f"h1={exported}")
    assert outcome.code == TAMPERING
    assert "Ask h1 for a new export" in outcome.out
    assert outcome.out.count("[old-export]") == outcome.out.count("[") == 1
    assert outcome.out.splitlines()[-1] == (
        "No: the transcript fits together, but a log that was given ends before what its hospital signed for."
    )
    alone = audit(finished, "--egress", f"h1={exported}")
    assert alone.out.count("[old-export]") == alone.out.count("[") == 1
    assert alone.out.splitlines()[-1] == (
        "No: the transcript fits together, but a log that was given ends before the transcript does."
    )


def test_a_copy_of_a_log_from_before_the_end_is_asked_for_anew(audit, finished, tmp_path):
    copy = tmp_path / "egress.sqlite"
    copy.write_bytes((finished / "hospitals/h1/egress.sqlite").read_bytes())
    overwrite(copy, rows(copy)[:5])
    outcome = audit(finished, "--release", finished / "release", "--egress", f"h1={copy}")
    assert outcome.code == TAMPERING
    assert "The copy of h1's egress log that was given has 5 entries, and h1 signed for" in outcome.out
    assert "an older log was put back there, or the log was cut off. Use the new copy, made with" in outcome.out
    assert outcome.out.count("[old-copy]") == outcome.out.count("[") == 1


def as_before(entry):
    """The entry but for its place."""
    fields = {name: value for name, value in msgspec.structs.asdict(entry).items() if name not in CHAINED}
    return partial(EgressEntry, **fields)


def test_of_a_log_that_was_copied_without_the_file_that_its_end_is_in_it_is_said_what_else_to_copy(
    audit, finished, tmp_path
):
    home, copies = HospitalFolder(finished / "hospitals/h1"), tmp_path / "copies"
    identity = Identity.load(home.identity)
    entries = read_egress(home.egress, identity.public_key)
    copies.mkdir()
    home.egress.unlink()
    with EgressLog(home.egress, identity) as log:
        log.record(*map(as_before, entries[:5]))
    with EgressLog(home.egress, identity) as log:
        log.record(*map(as_before, entries[5:]))
        for file in home.egress.parent.glob("egress.sqlite*"):
            shutil.copy(file, copies)
    given = ("--release", finished / "release", "--egress", f"h1={copies / 'egress.sqlite'}")
    assert audit(finished, *given).code == 0
    for suffix in ("-wal", "-shm"):
        (copies / f"egress.sqlite{suffix}").unlink()
    outcome = audit(finished, *given)
    assert outcome.code == TAMPERING
    assert "made with all files beside the log whose names begin like its own. [old-copy]" in outcome.out


def test_a_transcript_that_does_not_fit_together_hides_nothing_that_is_wrong_beside_it(audit, finished, written_anew):
    rewrite(finished, 1)
    outcome = audit(finished, "--release", finished / "release", "--egress", f"h1={written_anew}")
    assert outcome.out.splitlines()[-1] == (
        "No: the transcript does not fit together; the release says otherwise; a log that was given does not go on "
        "from what its hospital signed for."
    )


def test_a_log_that_the_release_has_no_checkpoint_of_rests_on_its_hospitals_word(audit, finished):
    charter = read_verified(finished / "charter")
    said = read_checkpoints(finished / "release", charter)
    resigned(finished, tuple, ("h1", "h2", "h3", "h4"), [said.by_name[name] for name in ("h2", "h3", "h4")])
    outcome = audit(finished, "--release", finished / "release", *egress_of(finished, "h1", "h2"))
    assert outcome.code == 0
    assert "The release has no checkpoint of h1's log: that it is the true one is its own word." in outcome.out
    assert "h2's log" not in outcome.out


def test_a_folder_without_transcripts_or_a_charter_is_unusable(audit, secagg, finished, tmp_path):
    secagg("audit", "transcript", tmp_path, "--charter", finished / "charter").failed(UNUSABLE, "no-transcript")
    transcripts = finished / "coordinator/transcript"
    secagg("audit", "transcript", transcripts, "--charter", tmp_path).failed(UNUSABLE, "unreadable")


@pytest.mark.parametrize(
    ("transcript", "signers"),
    [(tuple, ()), (tuple, ("h1", "h2")), (lambda files: (), ("h1", "h2", "h3", "h4"))],
    ids=["nobody signed", "too few signed", "nothing was signed for"],
)
def test_a_release_that_does_not_vouch_for_the_transcript_is_no_check_of_it(audit, finished, transcript, signers):
    assert audit(finished, "--release", finished / "release").code == 0
    resigned(finished, transcript, signers)
    outcome = audit(finished, "--release", finished / "release", "--json")
    assert outcome.code == TAMPERING
    assert [found["reason"] for found in json.loads(outcome.out)["findings"]] == ["transcript-not-vouched-for"]


def test_control_what_enough_have_signed_for_vouches_for_it(audit, finished):
    resigned(finished, tuple, ("h1", "h2", "h3"))
    assert audit(finished, "--release", finished / "release").code == 0


# A sum that the coordinator writes out of its transcript


def test_a_sum_that_is_gone_from_the_transcript_is_found_by_a_later_one(audit, finished):
    rewrite(finished, 1)
    outcome = audit(finished)
    assert outcome.code == TAMPERING
    assert "Sum 1 of training is not in the transcript" in outcome.out
    assert outcome.out.splitlines()[-1] == "No: the transcript does not fit together."


def test_a_sum_that_is_gone_without_a_hole_in_the_steps_is_found_beside_the_release(audit, finished):
    rewrite(finished, 1, numbered=lambda step: 1)
    outcome = audit(finished, "--release", finished / "release")
    assert outcome.code == TAMPERING
    assert (
        "The release states 2 sums of 4 contributors; the transcript shows 1 of 4. Ask the coordinator for the whole "
        "transcript, and compare it with the hospitals' own logs. [contributors-differ]"
    ) in outcome.out
    assert outcome.out.splitlines()[-1] == "No: the transcript fits together, but the release says otherwise."
    # Control: without the release there is nothing to find it by.
    assert "Yes: all 1 sums" in audit(finished).shown


def test_the_release_of_another_run_is_refused_and_a_folder_without_one_too(audit, simulate, finished, here, tmp_path):
    assert simulate().code == 0
    audit(finished, "--release", here / "run/release").failed(TAMPERING, "other-charter")
    audit(finished, "--release", tmp_path).failed(UNUSABLE, "no-release")


# A release that is not whole


def test_without_the_model_or_with_another_the_transcript_is_compared_all_the_same(audit, finished):
    flip(finished / "release/model.safetensors", 100)
    assert audit(finished, "--release", finished / "release").code == 0
    (finished / "release/model.safetensors").unlink()
    rewrite(finished, 1, numbered=lambda step: 1)
    assert "[contributors-differ]" in audit(finished, "--release", finished / "release").out


def test_checkpoints_alone_vouch_for_the_transcript_and_it_is_said_that_there_is_no_statement(audit, finished):
    (finished / "release/statement.dsse.json").unlink()
    shown = audit(finished, "--release", finished / "release").shown
    assert "The release has no statement.dsse.json: whether sums are missing at the end was not checked." in shown
    (path,) = (finished / "coordinator/transcript").glob("epoch-000001.transcript")
    flip(path, path.stat().st_size // 2)
    assert "[transcript-altered]" in audit(finished, "--release", finished / "release").out


def test_a_release_without_checkpoints_does_not_vouch_for_the_transcript_and_its_statement_is_compared(audit, finished):
    rewrite(finished, 1, numbered=lambda step: 1)
    (finished / "release" / CHECKPOINTS_FILE).unlink()
    outcome = audit(finished, "--release", finished / "release", *egress_of(finished, "h1"))
    assert outcome.code == TAMPERING
    assert "The release does not vouch for the transcript: it has no checkpoints.dsse.json." in outcome.out
    assert "[contributors-differ]" in outcome.out
    assert "The release has no checkpoint of h1's log" in outcome.out


@pytest.mark.parametrize("name", ["statement.dsse.json", CHECKPOINTS_FILE])
def test_what_was_altered_of_a_release_is_found_beside_what_the_rest_of_it_shows(audit, finished, name):
    path = finished / "release" / name
    envelope = json.loads(path.read_text())
    envelope["signatures"][0]["sig"] = envelope["signatures"][1]["sig"]
    path.write_text(json.dumps(envelope))
    outcome = audit(finished, "--release", finished / "release", "--json")
    assert outcome.code == TAMPERING
    told = json.loads(outcome.out)
    assert [row["round"] for row in told["rounds"]] == [1, 2]
    assert len(told["findings"]) == 1
    verdict = audit(finished, "--release", finished / "release").out.splitlines()[-1]
    assert verdict == "No: the transcript fits together, but the release is not what was signed."


@pytest.mark.parametrize("lacking", [True, False], ids=["without the statement", "control: whole"])
def test_the_json_says_too_whether_sums_may_be_missing_at_the_end(audit, finished, lacking):
    if lacking:
        (finished / "release/statement.dsse.json").unlink()
    assert audit(finished, "--release", finished / "release", "--json").json["unstated"] is lacking


# What hospitals have signed for of it


def test_it_is_said_of_how_many_bytes_hospitals_have_signed_for(audit, finished):
    found = audit(finished, "--release", finished / "release", "--json").json
    assert 0 < found["signed_bytes"] < found["file_bytes"]
    shown = audit(finished, "--release", finished / "release").shown
    assert (
        f"Its files have {found['file_bytes']:,} bytes; hospitals have signed for {found['signed_bytes']:,}." in shown
    )
    alone = audit(finished, "--json").json
    assert alone["signed_bytes"] == 0
    assert alone["file_bytes"] == found["file_bytes"]


def of_one_byte(files, run):
    data = (run / "coordinator/transcript/epoch-000001.transcript").read_bytes()[:1]
    return (*files[:-1], msgspec.structs.replace(files[-1], bytes=1, sha256=hashlib.sha256(data).hexdigest()))


KEPT_BACK = {
    "an epoch is not listed": (lambda files, run: files[:1], "epoch-000001.transcript is not among the files"),
    "one byte of an epoch": (
        of_one_byte,
        "epoch-000001.transcript goes on: at the end of the run hospitals signed for",
    ),
    "what is around epochs is not listed": (lambda files, run: files[1:], "epoch-000000.transcript is not among"),
}


@pytest.mark.parametrize(("listed", "told"), KEPT_BACK.values(), ids=KEPT_BACK)
def test_what_the_coordinator_kept_from_those_who_signed_is_found(audit, secagg, finished, tmp_path, listed, told):
    """The attack: whatever no sum follows from could be written anew, and all of it would pass for signed."""
    resigned(finished, partial(listed, run=finished), ("h1", "h2", "h3", "h4"))
    outcome = audit(finished, "--release", finished / "release")
    assert outcome.code == TAMPERING
    assert told in outcome.out
    assert outcome.out.count("[transcript-not-signed-for]") == outcome.out.count("[") == 1
    given = ("--transcript", finished / "coordinator/transcript", "--release", finished / "release")
    home, charter = finished / "hospitals/h1", ("--charter", finished / "charter")
    reported = secagg("audit", "report", home, *charter, *given, "--out", tmp_path / "report.html")
    assert reported.code == TAMPERING
    assert reported.out.count("[transcript-not-signed-for]") == 1


def test_an_epoch_that_comes_after_all_have_signed_is_found(audit, finished):
    folder = finished / "coordinator/transcript"
    (folder / "epoch-000002.transcript").write_bytes((folder / "epoch-000001.transcript").read_bytes())
    outcome = audit(finished, "--release", finished / "release")
    assert "epoch-000002.transcript is not among the files that hospitals signed for" in outcome.out


def test_control_whole_files_and_what_comes_around_epochs_after_it_are_none(audit, finished):
    folder = finished / "coordinator/transcript"
    resigned(finished, lambda files: checkpoint_files(folder), ("h1", "h2", "h3", "h4"))
    refuse(finished, "h2", "odd", 0)
    assert audit(finished, "--release", finished / "release").code == 0


# What hospitals refused


def refuse(run, name, reason, number, message="Its own log says why."):
    """Have the coordinator keep a refusal of a hospital, signed by it."""
    charter = read_verified(run / "charter")
    member = charter.charter.number_of(name)
    sealer = Sealer(charter, member, Identity.load(run / "hospitals" / name / "identity.pem"), 1)
    signed = sealer.seal(Stage.REFUSAL, Refusal(reason, message), round=number)
    TranscriptWriter(run / "coordinator/transcript", AROUND)(Around(member, signed))


def test_what_hospitals_refused_is_shown_and_reaches_no_terminal_as_it_is(audit, finished):
    before = audit(finished, "--json").json["refusals"]
    refuse(finished, "h3", "odd[bold]\x1b", 2, "\x1b]0;title\x07")
    refuse(finished, "h3", "odd[bold]\x1b", 2)
    told = {"round": 2, "member": "h3", "reason": "odd[bold]\ufffd"}
    assert audit(finished, "--json").json["refusals"] == [
        told | {"message": "\ufffd]0;title\ufffd"},
        told | {"message": "Its own log says why."},
        *before,
    ]
    shown = audit(finished).shown
    assert "Refused" in shown
    assert "h3 odd[bold]\ufffd 2 2 \ufffd]0;title\ufffd" in shown
    assert "\x1b" not in shown


def test_a_signed_refusal_of_a_forged_sum_is_found_and_may_be_a_lie(audit, secagg, finished, tmp_path):
    refuse(finished, "h3", "forged-sum", 2)
    outcome = audit(finished, *egress_of(finished, "h1"))
    assert outcome.code == TAMPERING
    assert (
        "h3 signed, when it was in round 2, that it was given a forged sum. The sum of that round in the transcript is "
        "what the messages add up to. Either the coordinator gave h3 another sum than it kept, or a hospital's tag was "
        "false, or h3 says what is not so. [forged-sum]"
    ) in outcome.out
    assert outcome.out.splitlines()[-1] == (
        "No: the transcript fits together, but a hospital has signed that it was given a forged sum."
    )
    (finding,) = json.loads(audit(finished, "--json").out)["findings"]
    assert (finding["epoch"], finding["round"], finding["reason"]) == (1, 2, "forged-sum")
    given = ("--transcript", finished / "coordinator/transcript", "--out", tmp_path / "report.html")
    reported = secagg("audit", "report", finished / "hospitals/h1", "--charter", finished / "charter", *given)
    assert reported.code == TAMPERING
    assert reported.out.count("[forged-sum]") == 1
    page = (tmp_path / "report.html").read_text()
    assert (
        "a hospital has signed that it was given a forged sum; what is said to be wrong says who may be lying" in page
    )


def test_so_is_what_it_says_in_its_export_of_a_sum_that_is_in_no_log(audit, secagg, finished, tmp_path):
    evidence = HospitalFolder(finished / "hospitals/h3").evidence(read_verified(finished / "charter").digest)
    evidence.parent.mkdir(parents=True, exist_ok=True)
    evidence.write_bytes(b"a forged sum")
    out = tmp_path / "h3.json"
    secagg("audit", "export", finished / "hospitals/h3", "--charter", finished / "charter", "--out", out)
    outcome = audit(finished, "--release", finished / "release", "--egress", f"h3={out}")
    assert outcome.code == TAMPERING
    assert "h3 signed, when it showed its records, that it was given a forged sum" in outcome.out
    assert outcome.out.count("[forged-sum]") == outcome.out.count("[") == 1


def test_what_else_a_hospital_signed_as_wrong_is_found_with_its_name(audit, finished, tmp_path):
    path = finished / "hospitals/h1/ledger.sqlite"
    overwrite(path, alter_body(rows(path), 1))
    exported = evidence_without_latch(finished, "h1", tmp_path)
    outcome = audit(finished, "--egress", f"h1={exported}")
    assert outcome.code == TAMPERING
    assert "h1 says: Entry 2 of the ledger" in outcome.out
    assert outcome.out.splitlines()[-1] == (
        "No: the transcript fits together, but a hospital has signed that its own records are not whole."
    )

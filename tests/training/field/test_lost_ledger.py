"""A site whose ledger and latch are gone, as after a restore, does not begin with nothing spent."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import msgspec
import pytest

from dp.ledger import Kind, Ledger
from dp.ledger.entries import LEDGER
from dp.ledger.export import export_ledger, read_export
from secagg.charter.folder import read_verified, write_charter, write_signatures
from secagg.charter.signing import sign_charter
from secagg.egress import Direction, EgressEntry
from secagg.identity import Identity
from tests.support.errors import error_of
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from tests.training.field.conftest import any_kit, lay_out
from tests.training.field.test_sites import finish
from training.field.renewing import NextCharter, renew_hospital
from training.hospital_logs import open_site_ledger, open_site_ledger_to_import, read_site_ledger
from training.lost_ledger import require_ledger_kept

REMEMBERS = ("ledger.sqlite*", "latch.sqlite*")
KEPT = {
    "the list of its patients": "patients/*.bin",
    "its model": "runs/*/checkpoint.safetensors",
    "the checkpoints that it signed": "runs/*/witnessed.json",
    "the release that it is in": "runs/*/release",
    "the log of what left": "egress.sqlite*",
}


@pytest.fixture
def sites(tmp_path):
    """Three sites; what they may spend is enough for one training."""
    return lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)


@pytest.fixture
def following(sites, tmp_path):
    """The same consortium's next charter."""
    agreed = msgspec.structs.replace(sites.charter.charter, nonce=b"2" * len(sites.charter.charter.nonce))
    identities = [Identity.load(site.folder.identity) for site in sites.hospitals.values()]
    write_charter(tmp_path / "next", agreed)
    write_signatures(tmp_path / "next", tuple(sign_charter(agreed, identity) for identity in identities))
    return NextCharter(tmp_path / "next")


@pytest.fixture
def trained(sites, following):
    """A site that has spent its budget."""
    finish(sites)
    return sites.hospitals[1]


def remove(site, *patterns):
    for pattern in patterns:
        for path in site.path.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def begin(site, serial=1000):
    with site.attend(read_verified(site.charter).digest.hex(), serial):
        pass


def refused(operation, *arguments):
    error = error_of(operation, *arguments)
    return error.reason, error.exit_code


@pytest.mark.parametrize("kept", KEPT)
def test_whatever_is_left_of_a_training_shows_that_there_was_a_ledger(trained, following, kept):
    remove(trained, *REMEMBERS, *(pattern for what, pattern in KEPT.items() if what != kept))
    left = min(trained.path.glob(KEPT[kept]))
    error = error_of(renew_hospital, trained, following, any_kit)
    assert (error.reason, error.exit_code) == ("ledger-restored", 4)
    assert str(left) in error.message
    assert "secagg budget import" in error.remedy
    # Neither does it begin under the charter that it has, the second time either.
    for serial in (1000, 1001):
        assert refused(begin, trained, serial) == ("ledger-restored", 4)


def test_control_without_a_look_at_what_is_left_the_budget_is_spent_again(trained, following, monkeypatch):
    remove(trained, *REMEMBERS)
    for user in ("hospital", "hospital_logs"):
        monkeypatch.setattr(f"training.{user}.require_ledger_kept", lambda *_: None)
    assert renew_hospital(trained, following, any_kit) == 0
    begin(trained)


def test_limit_where_nothing_is_left_nobody_can_tell(trained, following):
    remove(trained, *REMEMBERS, *KEPT.values())
    assert renew_hospital(trained, following, any_kit) == 0
    begin(trained)


def test_a_ledger_that_only_the_latch_remembers_is_missed_by_renewal_too(trained, following):
    remove(trained, "ledger.sqlite*", *KEPT.values())
    assert refused(renew_hospital, trained, following, any_kit) == ("ledger-restored", 4)


def test_whoever_reads_or_releases_is_told_so_too(trained):
    remove(trained, *REMEMBERS)
    identity = Identity.load(trained.folder.identity)
    assert refused(read_site_ledger, trained.folder, identity.public_key) == ("ledger-restored", 4)
    trained.folder.ledger.touch()
    assert refused(open_site_ledger(trained.folder, identity).__enter__) == ("ledger-restored", 4)
    assert refused(read_site_ledger, trained.folder, identity.public_key) == ("ledger-restored", 4)


def test_an_export_mends_it_and_an_import_that_failed_hides_nothing(trained, following, tmp_path):
    identity = Identity.load(trained.folder.identity)
    (tmp_path / "export.json").write_bytes(export_ledger(trained.folder.ledger, identity))
    export = read_export(tmp_path / "export.json", identity.public_key)
    remove(trained, *REMEMBERS)
    with pytest.raises(KeyboardInterrupt), open_site_ledger_to_import(trained.folder, identity, export):
        raise KeyboardInterrupt
    assert refused(renew_hospital, trained, following, any_kit) == ("ledger-restored", 4)
    with open_site_ledger_to_import(trained.folder, identity, export) as ledger:
        ledger.take_over(export)
    assert renew_hospital(trained, following, any_kit) == len(export.entries)
    assert refused(begin, trained) == ("budget-exceeded", 3)


@pytest.fixture
def before_the_last_round(trained, tmp_path):
    """The ledger as it was before the last round was charged, and the site's key."""
    identity = Identity.load(trained.folder.identity)
    entries, _ = read_site_ledger(trained.folder, identity.public_key)
    last = max(entry.sequence for entry in entries if entry.kind is Kind.CHARGE)
    copy = tmp_path / "older.sqlite"
    shutil.copy(trained.folder.ledger, copy)
    with closing(sqlite3.connect(copy)) as database, database:
        database.execute("DELETE FROM entries WHERE sequence >= ?", (last,))
    return copy, identity


def exported(ledger, identity):
    file = ledger.with_suffix(".json")
    file.write_bytes(export_ledger(ledger, identity))
    return read_export(file, identity.public_key)


def test_neither_an_older_export_nor_one_of_another_ledger_mends_it(trained, before_the_last_round, tmp_path):
    older, identity = before_the_last_round
    other = Identity.from_seed(bytes(32))
    with Ledger(tmp_path / "other.sqlite", other) as ledger:
        ledger.note_unprotected("1" * 64, "2" * 64, 1, 1e-5, "")
    remove(trained, *REMEMBERS)
    for export in (exported(older, identity), exported(tmp_path / "other.sqlite", other)):
        assert refused(open_site_ledger_to_import(trained.folder, identity, export).__enter__) == ("ledger-restored", 4)
    assert refused(read_site_ledger, trained.folder, identity.public_key) == ("ledger-restored", 4)


def test_an_older_ledger_without_a_latch_lacks_what_has_left(trained, before_the_last_round):
    older, identity = before_the_last_round
    remove(trained, *REMEMBERS)
    shutil.copy(older, trained.folder.ledger)
    error = error_of(read_site_ledger, trained.folder, identity.public_key)
    assert error.reason == "ledger-restored"
    assert str(trained.folder.egress) in error.message
    assert refused(open_site_ledger(trained.folder, identity).__enter__) == ("ledger-restored", 4)
    assert refused(begin, trained) == ("ledger-restored", 4)


def test_control_where_nobody_looks_at_what_has_left_an_older_ledger_passes(
    trained, before_the_last_round, monkeypatch
):
    monkeypatch.setattr("training.lost_ledger._require_charged", lambda *_: None)
    older, identity = before_the_last_round
    remove(trained, *REMEMBERS)
    with open_site_ledger_to_import(trained.folder, identity, exported(older, identity)) as ledger:
        ledger.take_over(exported(older, identity))
    entries, _ = read_site_ledger(trained.folder, identity.public_key)
    assert len(entries) > 0


@pytest.mark.parametrize(
    ("passages", "is_missing"),
    [
        ([("MASKED", round_number) for round_number in range(1, 6)], False),
        ([("MASKED", 1), ("SUM", 1), ("MASKED", 2)], True),
    ],
    ids=["statistics tried again and again", "training"],
)
def test_of_a_run_that_the_ledger_lacks_only_what_is_surely_training_is_missed(
    trained, monkeypatch, passages, is_missing
):
    """Statistics are summed before anything is trained, and nobody pays for them."""
    remove(trained, "latch.sqlite*")
    key = Identity.load(trained.folder.identity).public_key
    log = [entry_of(stage, round_number) for stage, round_number in passages]
    monkeypatch.setattr("training.lost_ledger.read_egress", lambda *_: log)
    if is_missing:
        assert refused(read_site_ledger, trained.folder, key) == ("ledger-restored", 4)
    else:
        read_site_ledger(trained.folder, key)


def entry_of(stage: str, round_number: int) -> EgressEntry:
    return EgressEntry(
        sequence=1,
        previous="0" * 64,
        charter="c" * 64,
        direction=Direction.TOOK if stage == "SUM" else Direction.SENT,
        stage=stage,
        epoch=1,
        round=round_number,
        recipient=0,
        bytes=1,
        sha256="0" * 64,
        time="",
    )


def test_a_whole_ledger_without_its_latch_has_lost_nothing(trained):
    remove(trained, "latch.sqlite*")
    identity = Identity.load(trained.folder.identity)
    entries, _ = read_site_ledger(trained.folder, identity.public_key)
    with open_site_ledger(trained.folder, identity) as ledger:
        assert ledger.entries == entries


def test_an_empty_ledger_whose_latch_is_gone_cannot_be_told_from_one_that_was_cut_off(tmp_path):
    """Opened for a job without differential privacy, and never charged: it is not said to have trained."""
    site = lay_out(tmp_path).hospitals[1]
    begin(site)
    remove(site, "latch.sqlite*")
    error = error_of(read_site_ledger, site.folder, Identity.load(site.folder.identity).public_key)
    assert error.reason == "ledger-restored"
    assert "was opened for a job before" in error.message


# --- No false alarm -----------------------------------------------------------------------------------------------


def test_a_site_that_was_never_opened_has_no_ledger_to_lose(sites, following):
    site = sites.hospitals[1]
    assert renew_hospital(site, following, any_kit) == 0
    begin(site)


def test_a_copy_of_a_release_that_it_is_not_in_shows_nothing(sites, following, tmp_path, trained):
    """A member that was away when the release was made may be given another's."""
    stranger = lay_out(tmp_path / "others", choices=PRIVATE_CHOICES, spec=PRIVATE_TASK).hospitals[1]
    shutil.copytree(trained.release, stranger.path / "runs" / "given" / "release")
    begin(stranger)


def test_one_that_was_opened_and_never_paid_for_a_round_has_lost_nothing(tmp_path):
    """Without differential privacy nothing is reserved: a list of patients, and no entry yet."""
    site = lay_out(tmp_path).hospitals[1]
    for serial in (1, 2):
        begin(site, serial)
    entries, _ = read_site_ledger(site.folder, Identity.load(site.folder.identity).public_key)
    assert (list(site.path.glob("patients/*.bin")) != [], entries) == (True, ())


def test_where_the_latch_knows_its_ledger_to_be_empty_nothing_else_is_asked(trained):
    require_ledger_kept(trained.folder, b"", {LEDGER.reason: LEDGER.place(())}, ())

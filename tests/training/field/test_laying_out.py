"""A site's folder is made whole or not at all, from files that fit together."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from secagg.charter.contradictions import require_consistent
from secagg.errors import InputError, RefusedError
from secagg.identity import Identity
from secagg.policy import Policy, check_charter, load_policy, render_policy
from secagg.policy.needs import needed_policy
from tests.support.hospitals import SCALED_BY_SUMS, tabular_spec
from tests.training.field.conftest import any_kit, lay_out
from training import new_folder
from training.field.hospital_site import HospitalSite
from training.field.laying_out import lay_out_coordinator, lay_out_hospital
from training.field.renewing import NextCharter, renew_hospital
from training.new_folder import make_folder


def refused(sites, tmp_path, kind=InputError, check_kit=any_kit, **changes):
    with pytest.raises(kind) as refusal:
        lay_out_hospital(tmp_path / "new", dataclasses.replace(sites.materials[1], **changes), check_kit)
    assert not (tmp_path / "new").exists()
    return refusal.value.reason


def test_the_policy_that_is_written_accepts_this_charter(sites):
    check_charter(sites.charter.charter, load_policy(sites.hospitals[1].folder.policy))


@pytest.fixture
def agreed_and_later(tmp_path):
    """A site's policy, the charter that it was laid out with, and a later one under which more may collude."""
    sites = lay_out(tmp_path, hospitals=5)
    agreed = sites.charter.charter
    later = msgspec.structs.replace(agreed, nonce=bytes(16), max_colluding=agreed.max_colluding + 1)
    require_consistent(later)
    return load_policy(sites.hospitals[1].folder.policy), agreed, later


def test_that_policy_allows_nothing_beyond_this_charter(agreed_and_later):
    policy, agreed, later = agreed_and_later
    assert policy == needed_policy(agreed)
    with pytest.raises(RefusedError) as refusal:
        check_charter(later, policy)
    assert refusal.value.reason == "too-few-honest"


def test_control_with_the_default_of_one_key_it_would_allow_more(agreed_and_later):
    policy, _, later = agreed_and_later
    check_charter(later, msgspec.structs.replace(policy, minimum_honest=Policy().minimum_honest))


def test_only_its_own_account_can_read_a_site(sites):
    site = sites.hospitals[1]
    assert stat.S_IMODE(site.path.stat().st_mode) == 0o700
    for path in (site.folder.identity, site.folder.policy, site.settings, *site.kit.rglob("*.json")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_stranger_s_key_makes_no_site(sites, tmp_path):
    Identity.generate().save(tmp_path / "stranger.pem")
    assert refused(sites, tmp_path, identity=tmp_path / "stranger.pem") == "unknown-member"


def test_another_member_s_kit_makes_no_site(sites, tmp_path):
    def not_this_one(_folder, number):
        assert number == 1
        raise InputError("other-kit", "It is another's.")

    assert refused(sites, tmp_path, check_kit=not_this_one) == "other-kit"


def test_records_with_a_column_that_cannot_be_summed_make_no_site(tmp_path):
    sites = lay_out(tmp_path, spec=tabular_spec(**SCALED_BY_SUMS))
    rows = "".join(f"{number}e18,1,{number % 2}\n" for number in range(20))
    (tmp_path / "enormous.csv").write_text(f"age,dose,ill\n{rows}")
    settings = msgspec.structs.replace(sites.materials[1].settings, data=str(tmp_path / "enormous.csv"))
    assert refused(sites, tmp_path, settings=settings) == "out-of-range"


def test_a_policy_that_forbids_the_charter_makes_no_site(sites, tmp_path):
    (tmp_path / "strict.toml").write_text("minimum_cohort = 3\n")
    assert refused(sites, tmp_path, RefusedError, policy=tmp_path / "strict.toml") == "unknown-member"


@pytest.fixture
def piped():
    """A pipe with what is in a file, as a shell makes it of ``<(...)``: to be read once."""
    ends = []

    def pipe(file):
        reading, writing = os.pipe()
        os.write(writing, file.read_bytes())
        os.close(writing)
        ends.append(reading)
        return Path(f"/dev/fd/{reading}")

    yield pipe
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("what", ["identity", "policy"])
def test_a_key_or_a_policy_that_can_be_read_only_once_makes_no_site(sites, tmp_path, piped, what):
    """It is checked, and copied afterwards: the site would have an empty one."""
    given = {"identity": sites.materials[1].identity, "policy": sites.hospitals[1].folder.policy}[what]
    assert refused(sites, tmp_path, **{what: piped(given)}) == "not-a-file"
    lay_out_hospital(tmp_path / "new", dataclasses.replace(sites.materials[1], **{what: given}), any_kit)


def test_nor_does_such_a_policy_take_the_place_of_a_site_s(sites, piped):
    site = sites.hospitals[1]
    before = site.folder.policy.read_bytes()
    with pytest.raises(InputError) as refusal:
        renew_hospital(site, NextCharter(sites.materials[1].charter, policy=piped(site.folder.policy)), any_kit)
    assert (refusal.value.reason, site.folder.policy.read_bytes()) == ("not-a-file", before)


def test_records_that_cannot_be_read_make_no_site(sites, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    settings = msgspec.structs.replace(sites.materials[1].settings, data=str(tmp_path / "other.csv"))
    refused(sites, tmp_path, settings=settings)


def test_how_many_rows_are_left_out_is_told_when_a_site_is_made(tmp_path):
    sites = lay_out(tmp_path, spec=tabular_spec(missing="drop-row"))
    path = tmp_path / "sparse.csv"
    path.write_text("age,dose,ill\n" + 10 * "1,2,0\n3,4,1\n" + 40 * "1,,0\n")
    settings = msgspec.structs.replace(sites.materials[1].settings, data=str(path))
    warnings = []
    lay_out_hospital(
        tmp_path / "new", dataclasses.replace(sites.materials[1], settings=settings), any_kit, warnings.append
    )
    (caution,) = warnings
    assert (caution.code, caution.message) == (
        "rows-left-out",
        f"20 of 60 rows of {path} are used; 40 lack a value (dose 40).",
    )


def test_a_charter_that_somebody_has_not_signed_makes_no_site(sites, tmp_path):
    charter = sites.materials[1].charter
    (charter / "charter.signatures.json").unlink()
    assert refused(sites, tmp_path, charter=charter) == "charter-unsigned"


def test_what_is_there_is_never_overwritten(sites):
    before = sites.hospitals[1].folder.identity.read_bytes()
    with pytest.raises(InputError) as refusal:
        lay_out_hospital(sites.hospitals[1].path, sites.materials[1], any_kit)
    assert refusal.value.reason == "folder-not-empty"
    assert sites.hospitals[1].folder.identity.read_bytes() == before
    with pytest.raises(InputError):
        lay_out_coordinator(sites.coordinator.path, sites.materials[1].charter, sites.materials[1].kit, any_kit)


def test_an_empty_folder_that_is_there_is_filled_and_not_replaced(sites, tmp_path):
    """It may be a mount point, with what its file system has, and what a killed `init` left."""
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o755)
    (empty / "lost+found").mkdir()
    (empty / ".partial").mkdir()
    (empty / ".partial" / "half").touch()
    before = empty.stat().st_ino
    site = lay_out_hospital(empty, sites.materials[1], any_kit)
    assert site.settings.exists()
    assert (empty.stat().st_ino, stat.S_IMODE(empty.stat().st_mode)) == (before, 0o700)
    made = {entry.name for entry in sites.hospitals[1].path.iterdir()}
    assert {entry.name for entry in empty.iterdir()} == {*made, "lost+found"}


def test_what_cannot_be_read_leaves_an_empty_folder_as_it_was(sites, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "stranger.pem").write_text("no key")
    with pytest.raises(InputError):
        lay_out_hospital(
            tmp_path / "empty", dataclasses.replace(sites.materials[1], identity=tmp_path / "stranger.pem"), any_kit
        )
    assert not list((tmp_path / "empty").iterdir())


def test_a_kit_is_on_the_disk_before_the_one_that_was_given_may_be_deleted(sites, tmp_path, monkeypatch):
    """Or the machine loses its power, and with it the only copy of the key by which the site connects."""
    flushed, flush = set(), os.fsync

    def spy(descriptor):
        flushed.add(os.fstat(descriptor).st_ino)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    kit = lay_out_hospital(tmp_path / "new", sites.materials[1], any_kit).kit
    assert {path.stat().st_ino for path in (kit, *kit.rglob("*"))} <= flushed


def test_a_kit_of_which_a_part_cannot_be_copied_is_named_as_that(sites, tmp_path):
    """And not the folder of the site, as one that has no room."""
    kit = tmp_path / "kit-2"
    kit.mkdir()
    os.mkfifo(kit / "pipe")
    with pytest.raises(InputError) as refusal:
        lay_out_hospital(tmp_path / "new", dataclasses.replace(sites.materials[1], kit=kit), any_kit)
    assert (refusal.value.reason, refusal.value.culprit) == ("kit-not-copied", str(kit / "pipe"))
    assert not (tmp_path / "new").exists()


class KilledError(BaseException):
    """As if nothing were done any more."""


def cut_off(monkeypatch, error, at):
    """Whoever moves so many files into place comes no further; the names of those that were moved."""
    moved, rename = [], Path.rename

    def until_then(source, target):
        if len(moved) == at:
            raise error
        moved.append(target.name)
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", until_then)
    return moved


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_fails_while_an_empty_folder_is_filled_leaves_it_empty_and_can_be_repeated(
    sites, tmp_path, monkeypatch, error
):
    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as patched:
        cut_off(patched, error, at=3)
        with pytest.raises((KeyboardInterrupt, InputError)):
            lay_out_hospital(tmp_path / "empty", sites.materials[1], any_kit)
    assert not list((tmp_path / "empty").iterdir())
    assert lay_out_hospital(tmp_path / "empty", sites.materials[1], any_kit).settings.exists()


def test_killed_while_an_empty_folder_is_filled_it_is_no_site(sites, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    moved = cut_off(monkeypatch, KilledError(), at=4)
    monkeypatch.setattr(new_folder, "_remove", lambda _: None)
    with pytest.raises(KilledError):
        lay_out_hospital(tmp_path / "empty", sites.materials[1], any_kit)
    assert sorted(moved) == ["charter", "identity.pem", "kit", "policy.toml"]
    with pytest.raises(InputError) as refusal:
        HospitalSite(tmp_path / "empty").require_laid_out()
    assert refusal.value.reason == "no-site"
    with pytest.raises(InputError, match="not empty") as refusal:
        lay_out_hospital(tmp_path / "empty", sites.materials[1], any_kit)
    assert "cut off" in refusal.value.remedy


@pytest.fixture
def unchangeable(monkeypatch):
    """Every folder is another account's, which lets this one write to it."""

    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)


@pytest.mark.usefixtures("unchangeable")
def test_an_empty_folder_of_another_account_that_others_may_read_is_refused_untouched(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir(mode=0o750)
    with pytest.raises(InputError) as refusal:
        make_folder(folder, lambda partial: (partial / "settings").touch(), "settings", 0o700)
    assert (refusal.value.reason, refusal.value.culprit) == ("folder-of-another", str(folder))
    assert "inside it" in refusal.value.remedy
    assert not list(folder.iterdir())


@pytest.mark.usefixtures("unchangeable")
def test_one_whose_mode_is_right_and_cannot_be_set_is_filled(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir(mode=0o700)
    make_folder(folder, lambda partial: (partial / "settings").touch(), "settings", 0o700)
    assert (folder / "settings").exists()


# --- A task of somebody else's code ---------------------------------------------------------------------------

CODE = """
from pathlib import Path
from training.tasks.tabular import TabularTask

def build(spec):
    Path(__file__).with_suffix(".ran").touch()
    return TabularTask(spec)
"""


@pytest.fixture
def code_has_run(tmp_path, monkeypatch):
    """A module that a charter may name; whether its code has run since this was asked last."""
    (tmp_path / "marking_task.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "marking_task", raising=False)
    mark = tmp_path / "marking_task.ran"

    def asked() -> bool:
        has_run = mark.exists()
        mark.unlink(missing_ok=True)
        return has_run

    return asked


@pytest.fixture
def marked_sites(tmp_path, code_has_run):
    sites = lay_out(tmp_path, spec=msgspec.structs.replace(tabular_spec(), kind="marking_task:build"))
    assert code_has_run()
    return sites


def without_the_task(sites) -> bytes:
    return render_policy(msgspec.structs.replace(needed_policy(sites.charter.charter), allowed_tasks=frozenset()))


def test_a_policy_that_forbids_a_task_is_asked_before_its_code_runs(marked_sites, code_has_run, tmp_path):
    strict = tmp_path / "strict.toml"
    strict.write_bytes(without_the_task(marked_sites))
    assert refused(marked_sites, tmp_path, RefusedError, policy=strict) == "task-not-allowed"
    site = marked_sites.hospitals[1]
    site.folder.policy.write_bytes(without_the_task(marked_sites))
    with pytest.raises(RefusedError) as refusal, site.attend(marked_sites.charter.digest.hex(), 1):
        pass
    assert refusal.value.reason == "task-not-allowed"
    assert not code_has_run()


def test_limit_without_a_policy_the_code_of_a_charter_runs_before_one_is_written(marked_sites, code_has_run, tmp_path):
    (tmp_path / "new").write_text("in the way")
    with pytest.raises(InputError):
        lay_out_hospital(tmp_path / "new", marked_sites.materials[1], any_kit)
    assert code_has_run()

"""`init` and `status` of `secagg hospital` and `secagg coordinator`: sites from what administrators were given."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from secagg.charter.folder import read_verified
from secagg.identity import Identity
from secagg.latch import Latch
from tests.cli.outcome import FAILED, REFUSED, TAMPERING, UNUSABLE, nothing_written
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK, choices_of, prepared, settings_for
from tests.training.field.conftest import lay_out
from tests.training.field.test_sites import epoch, finish
from training.field.settings import HospitalSettings, read_settings
from training.field.status import SiteState, SiteStatus, StatusFile, waiting
from training.run_lock import alone
from training.simulation_folder import prepare
from training.task import TaskSpec

CHARTER = "ab" * 32


@dataclass(frozen=True)
class Given:
    """What was agreed on and provisioned for three hospitals; read only."""

    run: Path
    data: Path
    kits: Path

    def of(self, number: int, kit: int | None = None) -> tuple[object, ...]:
        home = self.run / "hospitals" / f"h{number}"
        return (
            *("--charter", self.run / "charter", "--identity", home / "identity.pem"),
            *("--kit", self.kits / f"hospital-0{kit or number}", "--data", self.data / f"h{number}.csv"),
        )


def provisioned(folder, **choices):
    from training.engines.nvflare.provisioning import Address, provision

    run = prepared(folder, 3, choices_of(**choices))
    provision(read_verified(run / "charter"), Address("localhost"), folder / "out")
    return Given(run, folder / "data", folder / "out" / "kits")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return provisioned(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def with_one_key(tmp_path_factory):
    """The same under a scheme with one key for all, which the hospitals' policies allow by its name."""
    return provisioned(tmp_path_factory.mktemp("with_one_key"), scheme="bfv")


def test_a_hospital_s_site_is_made_from_what_it_was_given(secagg, given, here):
    outcome = secagg("hospital", "init", "site", *given.of(2))
    assert outcome.code == 0
    assert "Next: secagg hospital check site" in outcome.out
    assert {entry.name for entry in Path("site").iterdir()} == {
        *("charter", "kit", "hospital.toml", "identity.pem", "policy.toml")
    }


def test_one_that_was_never_in_a_training_is_renewed_without_a_word_of_what_was_spent(secagg, given, here):
    secagg("hospital", "init", "site", *given.of(2))
    renewed = secagg("hospital", "renew", "site", "--charter", given.run / "charter")
    assert renewed.code == 0
    assert "Its ledger is empty" in renewed.out
    assert "secagg budget import" in renewed.out


class KilledError(BaseException):
    """As if nothing were done any more."""


@pytest.mark.parametrize("folder", ["kit", "charter"])
def test_a_site_whose_renewal_was_killed_is_told_so_until_that_is_repeated(secagg, given, here, monkeypatch, folder):
    assert secagg("hospital", "init", "my-site", *given.of(2)).code == 0
    renew = ("hospital", "renew", "my-site", "--charter", given.run / "charter", "--kit", given.kits / "hospital-02")
    move = Path.rename

    def killed(path, target):
        if path.name == f".{folder}.new":
            raise KilledError
        return move(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KilledError):
            secagg(*renew)
    for command in ("run", "check"):
        outcome = secagg("hospital", command, "my-site")
        outcome.failed(UNUSABLE, "renewal-cut-off", f"my-site/{folder}", "secagg hospital renew", "my-site --charter")
    shown = secagg("hospital", "status", "my-site")
    assert (shown.code, "[renewal-cut-off]" in shown.out) == (FAILED, True)
    assert secagg(*renew).code == 0
    assert secagg("hospital", "check", "my-site").code == 0


def test_one_key_for_all_is_told_to_who_sets_up_a_site_or_renews_it(secagg, with_one_key, here):
    init = ("hospital", "init", "site", *with_one_key.of(2), "--policy", with_one_key.run / "hospitals/h2/policy.toml")
    renew = ("hospital", "renew", "site", "--charter", with_one_key.run / "charter")
    kits = ("--charter", with_one_key.run / "charter", "--kit", with_one_key.kits / "coordinator")
    for outcome in (secagg(*init), secagg(*renew), secagg("coordinator", "init", "sum", *kits)):
        assert outcome.code == 0
        assert outcome.err.count("\n") == 1
        assert outcome.err.startswith("Warning: Under the scheme bfv all hospitals have one key:")
    again = ("hospital", "init", "again", *init[3:])
    for command in (again, renew, ("coordinator", "init", "again-sum", *kits)):
        assert [warning["code"] for warning in secagg(*command, "--json").json["warnings"]] == ["shared-key"]


def test_a_site_without_a_policy_allows_no_scheme_with_one_key_for_all(secagg, with_one_key, here):
    with nothing_written(here):
        outcome = secagg("hospital", "init", "site", *with_one_key.of(2))
    outcome.failed(REFUSED, "scheme-not-allowed", "is bfv", "Choose the scheme double-lock", "with --policy")


def test_records_of_one_class_only_are_told_of_on_the_spot_and_to_nobody_else(secagg, given, here):
    lines = (given.data / "h2.csv").read_text().splitlines()
    Path("ill.csv").write_text("\n".join([lines[0], *(line.rsplit(",", 1)[0] + ",1" for line in lines[1:])]))
    made = secagg("hospital", "init", "site", *given.of(2)[:-1], "ill.csv")
    renew = ("hospital", "renew", "site", "--charter", given.run / "charter")
    for outcome in (made, secagg(*renew)):
        assert outcome.code == 0
        assert outcome.err.startswith("Warning: Every record of")
        assert outcome.err.endswith("[one-class-site]\n")
    assert [warning["code"] for warning in secagg(*renew, "--json").json["warnings"]] == ["one-class-site"]
    assert secagg("hospital", "init", "other", *given.of(2)).err == ""


@contextmanager
def through_a_pipe(text: str):
    """What `<(...)` gives a command."""
    read, write = os.pipe()
    try:
        with os.fdopen(write, "w") as file:
            file.write(text)
        yield f"/dev/fd/{read}"
    finally:
        os.close(read)


@pytest.fixture
def with_a_passphrase(given, here):
    """What hospital 2 was given, its key encrypted, and a file with the passphrase."""
    Identity.load(given.run / "hospitals/h2/identity.pem").save(here / "locked.pem", b"correct horse")
    (here / "passphrase.txt").write_text("correct horse\n")
    return ("--charter", given.run / "charter", "--identity", "locked.pem", *given.of(2)[4:])


def test_a_passphrase_that_came_through_a_pipe_is_not_looked_for_there_again(secagg, with_a_passphrase, here):
    with through_a_pipe("correct horse\n") as pipe:
        made = secagg("hospital", "init", "site", *with_a_passphrase, "--passphrase-file", pipe)
    assert made.code == 0
    assert f"{pipe} will be gone: say in site/hospital.toml where the passphrase is (passphrase_file)." in made.out
    assert "passphrase_file" not in Path("site/hospital.toml").read_text()
    secagg("hospital", "run", "site").failed(UNUSABLE, "wrong-passphrase", "passphrase_file in a site's hospital.toml")


def test_a_passphrase_in_a_file_is_read_from_there_from_then_on(secagg, with_a_passphrase, here):
    made = secagg("hospital", "init", "site", *with_a_passphrase, "--passphrase-file", "passphrase.txt")
    assert "will be gone" not in made.out
    assert read_settings(here / "site/hospital.toml", HospitalSettings).passphrase_file == str(here / "passphrase.txt")


def test_a_site_whose_passphrase_is_there_only_while_it_runs_is_renewed_with_another_file(
    secagg, with_a_passphrase, given, here
):
    secagg("hospital", "init", "site", *with_a_passphrase, "--passphrase-file", "passphrase.txt")
    Path("passphrase.txt").unlink()
    renew = ("hospital", "renew", "site", "--charter", given.run / "charter")
    secagg(*renew).failed(UNUSABLE, "unreadable", "passphrase.txt")
    with through_a_pipe("correct horse\n") as pipe:
        assert secagg(*renew, "--passphrase-file", pipe).code == 0
    assert read_settings(here / "site/hospital.toml", HospitalSettings).passphrase_file == str(here / "passphrase.txt")


def test_records_at_a_path_that_is_no_text_are_named_before_anything_is_written(secagg, given, here):
    path = here / os.fsdecode(b"h\xff.csv")
    path.write_bytes((given.data / "h2.csv").read_bytes())
    error = secagg("hospital", "init", "site", *given.of(2)[:-1], path, "--json").error
    assert error["reason"] == "path-not-text"
    assert error["culprit"] == f"{here}/h\\udcff.csv"
    assert not Path("site").exists()


def test_another_hospital_s_kit_is_found_out(secagg, given, here):
    secagg("hospital", "init", "site", *given.of(2, kit=3)).failed(UNUSABLE, "other-kit", "hospital-03", "hospital-02")
    assert not Path("site").exists()


def test_a_site_s_records_may_be_one_split_of_an_archive(secagg, tmp_path, here):
    from training.engines.nvflare.provisioning import Address, provision

    images = np.random.default_rng(1).integers(0, 256, (16, 8, 8), np.uint8)
    splits = [tmp_path / f"h{number}.npz::train" for number in (1, 2, 3)]
    for split in splits:
        np.savez(str(split).removesuffix("::train"), train_images=images, train_labels=np.arange(16) % 2)
    run, out = tmp_path / "run", tmp_path / "out"
    spec = TaskSpec.from_settings("image-classification", b'{"data":{"image_size":8}}')
    prepare(run, settings_for(splits, choices_of(), spec))
    charter = read_verified(run / "charter")
    provision(charter, Address("localhost"), out)
    identity = run / "hospitals" / charter.charter.members[0].name / "identity.pem"
    given = ("--charter", run / "charter", "--identity", identity, "--kit", out / "kits" / "hospital-01")
    assert secagg("hospital", "init", "site", *given, "--data", splits[0]).code == 0
    assert f'"{splits[0]}"' in Path("site/hospital.toml").read_text()
    absent = tmp_path / "absent.npz::train"
    secagg("hospital", "init", "other", *given, "--data", absent).failed(UNUSABLE, "unreadable-file", "absent.npz")


def test_the_coordinator_s_site_is_made_from_both_of_its_kits(secagg, given, here):
    arguments = ("coordinator", "init", "site", "--charter", given.run / "charter")
    assert secagg(*arguments, "--kit", given.kits / "coordinator").code == 0
    secagg(*arguments[:2], "other", *arguments[3:], "--kit", given.kits).failed(UNUSABLE, "no-kit")


def test_a_site_that_is_there_is_left_as_it_is(secagg, given, here):
    secagg("hospital", "init", "site", *given.of(1))
    secagg("hospital", "init", "site", *given.of(1)).failed(UNUSABLE, "folder-not-empty")


def test_a_site_that_never_ran_is_not_running_and_says_how_to_start_it(secagg, given, here):
    secagg("hospital", "init", "site", *given.of(1))
    secagg("hospital", "status", "site").failed(FAILED, "never-run", "secagg hospital run site")


def test_a_folder_without_a_site_has_no_state(secagg, here):
    for role, reason in (("hospital", "no-site"), ("coordinator", "no-coordinator")):
        for folder in ("nowhere", "data"):
            secagg(role, "status", folder).failed(UNUSABLE, reason, f"`secagg {role} init`")
    secagg("hospital", "run", "data").failed(UNUSABLE, "no-site", "data", "`secagg hospital init`")


@pytest.mark.parametrize(
    ("state", "running", "code"),
    [
        (SiteState.WAITING, True, 0),
        (SiteState.TRAINING, True, 0),
        (SiteState.WAITING, False, FAILED),
        (SiteState.RELEASED, False, 0),
        (SiteState.FAILED, True, FAILED),
        (SiteState.REFUSED, True, REFUSED),
        (SiteState.STOPPED, False, TAMPERING),
    ],
)
def test_health_is_an_exit_code(secagg, here, state, running, code):
    status = SiteStatus(state=state, since="now", updated="now", charter=CHARTER, name="h1", steps=2, steps_due=3)
    StatusFile(Path("site/status.json")).write(status)
    with alone(Path("site")) if running else nullcontext():
        outcome = secagg("hospital", "status", "site", "--json")
    assert outcome.code == code
    assert json.loads(outcome.out) == {"running": running, "status": msgspec.to_builtins(status)}


def test_a_site_that_ends_while_it_is_asked_is_not_unwell(secagg, here, monkeypatch):
    status = SiteStatus(state=SiteState.TRAINING, since="now", updated="now", charter=CHARTER)
    file = StatusFile(Path("site/status.json"))
    file.write(status)

    def just_ended(_site):
        file.write(msgspec.structs.replace(status, state=SiteState.RELEASED))
        return False

    monkeypatch.setattr("cli.hospital.is_running", just_ended)
    assert "released since now" in secagg("hospital", "status", "site").shown


def test_a_site_without_a_name_is_called_by_its_path_as_it_is(secagg, here):
    site = Path("a:cd:[red]b")
    StatusFile(site / "status.json").write(
        SiteStatus(state=SiteState.FAILED, since="now", updated="now", charter=CHARTER)
    )
    assert secagg("hospital", "status", site).out.startswith("a:cd:[red]b: failed since now\n")


@pytest.mark.parametrize(("privacy", "told"), [(PRIVATE_CHOICES, False), (None, True)])
def test_that_there_is_no_epsilon_is_said_only_where_the_charter_promises_none(secagg, tmp_path, privacy, told):
    """And not of a site that waits for its first job."""
    sites = lay_out(tmp_path / "field", choices=privacy, spec=PRIVATE_TASK if privacy else None)
    site = sites.hospitals[1]
    site.status.write(waiting("h1", sites.charter, None))
    shown = secagg("hospital", "status", site.path)
    assert "sums      0 of" in shown.out
    assert ("epsilon   none in this run" in shown.out) == told
    assert told or "epsilon" not in shown.out


def test_a_hospital_that_was_given_a_forged_sum_ends_with_the_same_code_and_reason_however_often_it_is_started(
    secagg, given, here
):
    secagg("hospital", "init", "site", *given.of(1))
    with Latch(Path("site/latch.sqlite")) as latch:
        latch.record_stopped(read_verified(given.run / "charter").digest)
    for _ in range(2):
        secagg("hospital", "run", "site").failed(TAMPERING, "forged-sum", "agree on a new charter")
        shown = secagg("hospital", "status", "site")
        assert (shown.code, "[forged-sum]" in shown.out) == (TAMPERING, True)


@pytest.fixture
def coordinator(tmp_path):
    """Three hospitals and a coordinator in the field, of whose charter two sums of three are made."""
    sites = lay_out(tmp_path / "field")
    epoch(sites, 1)
    return sites


def test_a_coordinator_s_health_is_an_exit_code(secagg, coordinator):
    site = coordinator.coordinator.path
    stopped = secagg("coordinator", "status", site, "--json")
    assert (stopped.code, json.loads(stopped.out)["running"]) == (FAILED, False)
    with alone(site):
        found = secagg("coordinator", "status", site, "--json").json
        shown = secagg("coordinator", "status", site).shown
    assert found["running"]
    known = {"state": "training", "epochs": 1, "rounds": 2, "steps": 2, "steps_due": 3, "reason": None}
    assert {key: found["status"][key] for key in known} == known
    for told in (": training", "process running", "epochs 1", "rounds 2", "sums 2 of 3"):
        assert told in shown, shown
    finish(coordinator, 2)
    released = secagg("coordinator", "status", site, "--json").json
    assert (released["running"], released["status"]["state"]) == (False, "released")


def test_a_coordinator_s_last_word_as_json_is_a_line_as_all_before_it(secagg, coordinator):
    site = coordinator.coordinator
    finish(coordinator, 2)
    (line,) = secagg("coordinator", "run", site.path, "--json").out.splitlines()
    assert json.loads(line) == {"release": str(site.release)}


def test_a_coordinator_names_the_members_that_are_not_connected_while_it_runs(secagg, coordinator):
    site = coordinator.coordinator
    site.note_missing(("h1", "h3"))
    stopped = secagg("coordinator", "status", site.path).out
    with alone(site.path):
        assert "missing h1, h3: not connected" in secagg("coordinator", "status", site.path).shown
        assert secagg("coordinator", "status", site.path, "--json").json["status"]["missing"] == ["h1", "h3"]
        site.note_missing(())
        assert "missing" not in secagg("coordinator", "status", site.path).shown
    assert "missing" not in stopped


def test_a_coordinator_whose_charter_was_altered_is_not_merely_unwell(secagg, coordinator):
    site = coordinator.coordinator
    path = site.charter / "charter.toml"
    path.write_text(path.read_text().replace("\nrounds = 3\n", "\nrounds = 4\n"))
    with alone(site.path):
        secagg("coordinator", "status", site.path).failed(TAMPERING, "charter-altered")
    told = secagg("coordinator", "status", "--help").shown
    assert f"{TAMPERING} if its charter or its state was altered" in told


def test_a_coordinator_says_why_its_last_epoch_came_to_nothing(secagg, coordinator):
    epoch(coordinator, 2, without=(1, 2))
    outcome = secagg("coordinator", "status", coordinator.coordinator.path)
    assert outcome.code == FAILED
    assert "why" in outcome.out


def test_a_folder_of_something_else_is_no_coordinator_s(secagg, coordinator):
    hospital = coordinator.hospitals[1].path
    secagg("coordinator", "status", hospital).failed(UNUSABLE, "no-coordinator", hospital, "secagg coordinator init")


def test_a_damaged_status_is_named(secagg, here):
    Path("site").mkdir()
    Path("site/status.json").write_text("{")
    secagg("hospital", "status", "site").failed(UNUSABLE, "malformed-status", "status.json")


def test_without_the_extra_no_site_is_set_up_or_started(secagg, given, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvflare", None)
    for_the_coordinator = ("--charter", given.run / "charter", "--kit", given.kits / "coordinator")
    with nothing_written(here):
        for command in (
            ("hospital", "init", "site", *given.of(1)),
            ("hospital", "renew", "site", "--charter", given.run / "charter"),
            ("hospital", "run", "site"),
            ("coordinator", "init", "site", *for_the_coordinator),
            ("coordinator", "run", "site"),
        ):
            secagg(*command).failed(UNUSABLE, "extra-missing", "in the checkout, `pip install '.[nvflare]'`")

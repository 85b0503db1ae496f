"""`secagg hospital init|status` and `secagg coordinator init`: sites from what their administrators were given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from secagg.charter.folder import read_verified
from secagg.files import lock
from tests.cli.outcome import FAILED, REFUSED, TAMPERING, UNUSABLE
from tests.support.hospitals import choices_of, prepared
from training.field.status import SiteState, SiteStatus, StatusFile

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


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    from training.engines.nvflare.provisioning import Address, provision

    folder = tmp_path_factory.mktemp("given")
    run = prepared(folder, 3, choices_of())
    provision(read_verified(run / "charter"), Address("localhost"), folder / "out")
    return Given(run, folder / "data", folder / "out" / "kits")


def test_a_hospital_s_site_is_made_from_what_it_was_given(secagg, given, here):
    outcome = secagg("hospital", "init", "site", *given.of(2))
    assert outcome.code == 0
    assert "Next: secagg hospital check site" in outcome.out
    assert {entry.name for entry in Path("site").iterdir()} == {
        *("charter", "kit", "hospital.toml", "identity.pem", "policy.toml")
    }


def test_another_hospital_s_kit_is_found_out(secagg, given, here):
    secagg("hospital", "init", "site", *given.of(2, kit=3)).failed(UNUSABLE, "other-kit", "hospital-03", "hospital-02")
    assert not Path("site").exists()


def test_the_coordinator_s_site_is_made_from_both_of_its_kits(secagg, given, here):
    arguments = ("coordinator", "init", "site", "--charter", given.run / "charter")
    assert secagg(*arguments, "--kit", given.kits / "coordinator").code == 0
    secagg(*arguments[:2], "other", *arguments[3:], "--kit", given.kits).failed(UNUSABLE, "no-kit")


def test_a_site_that_is_there_is_left_as_it_is(secagg, given, here):
    secagg("hospital", "init", "site", *given.of(1))
    secagg("hospital", "init", "site", *given.of(1)).failed(UNUSABLE, "folder-not-empty")


def test_a_site_that_never_ran_says_how_to_start_it(secagg, here):
    secagg("hospital", "status", "site").failed(UNUSABLE, "never-run", "secagg hospital run site")


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
    lock(Path("site/running")) if running else None
    outcome = secagg("hospital", "status", "site", "--json")
    assert outcome.code == code
    assert json.loads(outcome.out) == {"running": running, "status": msgspec.to_builtins(status)}


def test_a_damaged_status_is_named(secagg, here):
    Path("site").mkdir()
    Path("site/status.json").write_text("{")
    secagg("hospital", "status", "site").failed(UNUSABLE, "malformed-status", "status.json")

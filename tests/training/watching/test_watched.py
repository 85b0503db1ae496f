"""What is seen of a training from its folder, whichever of the three it is, and that no secret is."""

from __future__ import annotations

import msgspec
import pytest

from secagg.errors import InputError
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK, choices_of, prepared
from tests.training.field.conftest import lay_out
from tests.training.field.test_sites import epoch, finish
from training.run_lock import alone
from training.simulation import Observer, run
from training.watching.watched import read_watched


def test_a_simulation_is_seen_while_it_runs_and_when_it_is_over(tmp_path):
    folder, seen = prepared(tmp_path, 3, PRIVATE_CHOICES, PRIVATE_TASK), []
    before = read_watched(folder)
    assert (before.state, before.steps, before.steps_due, before.epsilon) == ("not running", 0, 3, 0.0)
    run(folder, Observer(on_round=lambda _result: seen.append(read_watched(folder))))
    after = read_watched(folder)
    assert [found.steps for found in seen] == [1, 2, 3]
    assert [found.state for found in seen] == ["training"] * 3
    assert 0 < seen[0].epsilon < seen[1].epsilon < after.epsilon <= after.budget == 8
    assert (after.state, after.is_over, after.steps) == ("released", True, 3)
    assert [row.cohort for row in after.rounds] == [3, 3, 3]
    assert all(row.accuracy is not None for row in after.rounds)


def test_a_hospital_and_a_coordinator_are_seen_in_the_field(tmp_path):
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    hospital, coordinator = sites.hospitals[1].path, sites.coordinator.path
    with alone(hospital), alone(coordinator):
        assert (read_watched(hospital).state, read_watched(coordinator).state) == ("waiting", "waiting")
        epoch(sites, 1)
        seen, middle = read_watched(hospital), read_watched(coordinator)
    assert (seen.kind, seen.name, seen.state, seen.steps, seen.steps_due) == ("hospital", "h1", "waiting", 2, 3)
    assert 0 < seen.epsilon < 8
    assert (seen.use.budget, seen.alert) == (8, 100)
    assert (middle.state, middle.steps, [row.cohort for row in middle.rounds]) == ("training", 2, [3, 3])
    finish(sites, 2)
    assert read_watched(hospital).is_over
    assert read_watched(coordinator).is_over
    shown = msgspec.json.encode([read_watched(hospital), read_watched(coordinator)])
    for site in sites.hospitals.values():
        secrets = site.folder.identity.read_text().splitlines()[1:-1]
        assert secrets
        assert not [secret for secret in secrets if secret.encode() in shown]


def test_who_was_cut_off_after_sending_is_in_the_sum_and_not_missing_from_it(tmp_path):
    folder = prepared(tmp_path, 4, choices_of(), drop_outs=("h2:1:mask", "h3:2:reveal"))
    run(folder, Observer())
    first, second, _ = read_watched(folder).rounds
    assert (first.cohort, first.dropped, first.silent, first.dropped_out) == (3, ("h2",), (), "h2")
    assert (second.cohort, second.dropped, second.silent) == (4, (), ("h3",))
    assert second.dropped_out == "h3, after sending"


def test_what_has_ended_without_a_release_is_over_and_said_not_to_run(tmp_path):
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    for folder in (sites.hospitals[1].path, sites.coordinator.path):
        with alone(folder):
            assert not read_watched(folder).is_over
    epoch(sites, 1)
    for folder in (sites.hospitals[1].path, sites.coordinator.path):
        found = read_watched(folder)
        assert (found.state, found.running, found.is_over, found.steps) == ("not running", False, True, 2)


def test_a_simulation_that_failed_is_over(tmp_path):
    folder, seen = prepared(tmp_path, 3, PRIVATE_CHOICES, PRIVATE_TASK), []

    def fail(_result):
        seen.append(read_watched(folder))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run(folder, Observer(on_round=fail))
    assert [(found.state, found.is_over) for found in seen] == [("training", False)]
    after = read_watched(folder)
    assert (after.state, after.is_over, after.steps) == ("not running", True, 1)


def test_who_refuses_says_why(tmp_path):
    sites = lay_out(tmp_path, choices=choices_of())
    site = sites.hospitals[1]
    site.folder.policy.write_text("minimum_cohort = 9\n")
    with pytest.raises(Exception, match="policy"), site.attend(sites.charter.digest.hex(), 1):
        pass
    found = read_watched(site.path)
    assert found.state == "refused"
    assert "policy" in found.message


def test_only_what_anybody_may_read_is_opened(tmp_path, monkeypatch):
    """A simulation's keys, ledgers, latches and records may as well not be there."""
    folder = prepared(tmp_path, 3, choices_of())
    run(folder, Observer())
    (folder / "hospitals").rename(tmp_path / "gone")
    (folder / "coordinator").rename(tmp_path / "gone too")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert read_watched(folder).steps == 3


def test_of_a_hospital_s_site_only_charter_status_and_settings_are_opened(tmp_path):
    site = (sites := lay_out(tmp_path)).hospitals[1]
    epoch(sites, 1)
    read = {site.charter, site.path / "status.json", site.settings}
    for path in set(site.path.iterdir()) - read:
        path.rename(tmp_path / f"gone {path.name}")
    assert read_watched(site.path).steps == 2


def test_a_folder_of_something_else_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        read_watched(tmp_path)
    assert caught.value.reason == "nothing-to-watch"

"""A coordinator that is started again with the release made: who gets it, and who signs for one another's logs."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from unittest.mock import Mock

import pytest

from secagg.release.checkpoints import CHECKPOINTS_FILE
from tests.support.hospitals import choices_of, training_of
from tests.training.field.conftest import lay_out
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.engines.nvflare import coordinator_service, gathering
from training.engines.nvflare.coordinator_service import serve_coordinator
from training.field.settings import CoordinatorSettings

ONE_EPOCH = choices_of(training_of(rounds=1))


class KilledError(BaseException):
    """The job's process is gone: it leaves no word."""


class KilledAt:
    """Delivers everything until the ``nth`` exchange of a phase."""

    def __init__(self, engine, phase, nth):
        self.engine, self.phase, self.left = engine, phase, nth

    def exchange(self, phase, outbox, round_number):
        if phase is self.phase:
            self.left -= 1
            if not self.left:
                raise KilledError
        return self.engine.exchange(phase, outbox, round_number)


class Jobs:
    """Jobs at a server to which hospitals connect one after another; who has all leaves after one in order.

    Attributes:
        connections: who is connected, each time somebody asks; then the last answer again.
        begun: with whom each job was begun.
        kills: where each job's process is killed.
        lost: what does not get through.
    """

    def __init__(self, sites, *connections, kills=(None, 0), lost=()):
        self.sites, self.connections, self.kills, self.lost = sites, list(connections), kills, lost
        self.begun, self.gone = [], set()

    def connected(self):
        now = self.connections.pop(0) if len(self.connections) > 1 else self.connections[0]
        return frozenset(now - self.gone)

    def run(self, job, _is_over):
        there = self.connected()
        self.begun.append(set(there))
        charter = self.sites.charter
        with ExitStack() as stack:
            parties = {
                number: stack.enter_context(self.sites.hospitals[number].attend(charter.digest.hex(), job.serial))
                for number in there
            }
            try:
                engine = KilledAt(EmbeddedEngine(parties, self.lost), *self.kills)
                self.sites.coordinator.run_epoch(charter, engine, job.serial, {}, lambda _record: None)
            except KilledError:
                return "FINISHED:EXECUTION_EXCEPTION"
        self.gone |= {number for number in there if (self.sites.hospitals[number].release / CHECKPOINTS_FILE).exists()}
        return "FINISHED:COMPLETED"


@pytest.fixture
def serve(monkeypatch):
    """Serves over such jobs, with little patience; what it was warned of."""
    monkeypatch.setattr(coordinator_service, "require_coordinator_kits", lambda *_: (Mock(), Mock()))
    monkeypatch.setattr(coordinator_service, "require_free", lambda *_: None)
    monkeypatch.setattr(coordinator_service, "Expiry", lambda *_: Mock())
    monkeypatch.setattr(coordinator_service, "running", lambda *_: nullcontext(Mock()))
    monkeypatch.setattr(coordinator_service, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(coordinator_service, "_PARTING_SECONDS", 0.0)
    monkeypatch.setattr(gathering, "LINGERING", 1.0)
    monkeypatch.setattr(gathering, "_FOR_ALL", 0.2)

    def serve(jobs):
        site = jobs.sites.coordinator
        monkeypatch.setattr(type(site), "read_settings", lambda _: CoordinatorSettings(gather=1.0, patience=1.0))
        monkeypatch.setattr(coordinator_service, "open_jobs", lambda *_: nullcontext(jobs))
        watcher = Mock()
        assert serve_coordinator(site, lambda: None, watcher) == site.release
        assert site.release.exists()
        return [call.args[0].reason for call in watcher.on_warning.mock_calls]

    return serve


def killed_at(folder, phase, nth=1, hospitals=4):
    """Sites whose coordinator was killed at the ``nth`` exchange of a phase."""
    sites = lay_out(folder, hospitals, ONE_EPOCH)
    Jobs(sites, set(sites.hospitals), kills=(phase, nth)).run(Mock(serial=1), None)
    return sites


def who_has(sites, name):
    return {number for number, site in sites.hospitals.items() if (site.release / name).exists()}


@pytest.mark.parametrize("nth", [1, 2], ids=["before they sign", "before they are given the signatures"])
def test_those_who_have_it_and_stay_for_that_sign_for_one_anothers_logs(tmp_path, serve, nth):
    sites = killed_at(tmp_path, Phase.WITNESS, nth)
    assert who_has(sites, "model.safetensors") == {1, 2, 3, 4}
    jobs = Jobs(sites, {1}, {1, 2, 3, 4})
    assert serve(jobs) == []
    assert jobs.begun == [{1, 2, 3, 4}]
    assert who_has(sites, CHECKPOINTS_FILE) == {1, 2, 3, 4}
    assert sites.coordinator.store(sites.charter).state.witnessed


def test_as_many_do_as_it_takes_where_one_has_left(tmp_path, serve):
    sites = killed_at(tmp_path, Phase.WITNESS)
    jobs = Jobs(sites, {1, 2, 3})
    assert serve(jobs) == []
    assert jobs.begun == [{1, 2, 3}]
    assert who_has(sites, CHECKPOINTS_FILE) == {1, 2, 3}


@pytest.mark.parametrize("there", [set(), {1, 2}])
def test_where_too_few_are_left_it_ends_after_a_while_and_says_so(tmp_path, serve, there):
    sites = killed_at(tmp_path, Phase.WITNESS)
    jobs = Jobs(sites, there)
    assert serve(jobs) == ["logs-not-signed"]
    assert not jobs.begun


def test_once_a_job_has_ended_in_order_only_those_who_lack_it_are_waited_for(tmp_path, serve, monkeypatch):
    """The others were asked to sign, and did not."""
    monkeypatch.setattr(gathering, "LINGERING", 3600.0)
    sites = lay_out(tmp_path, 4, ONE_EPOCH)
    jobs = Jobs(sites, {1, 2, 3}, lost=[DropOut(number, 0, Phase.WITNESS) for number in (1, 2, 3)])
    jobs.run(Mock(serial=1), None)
    jobs.connections = [{4}]
    assert serve(jobs) == ["logs-not-signed"]
    assert jobs.begun == [{1, 2, 3}, {4}]


def test_a_coordinator_whose_every_job_is_killed_there_ends_with_the_release_that_all_have(tmp_path, serve):
    sites = killed_at(tmp_path, Phase.WITNESS)
    jobs = Jobs(sites, {1, 2, 3, 4}, kills=(Phase.WITNESS, 1))
    assert serve(jobs) == ["logs-not-signed"]
    assert len(jobs.begun) > 1


def test_a_release_that_nobody_has_is_given_to_all_who_come_back_within_a_while_in_one_job(tmp_path, serve):
    """Else the first to be back would take it and leave, and be in no list of checkpoints."""
    sites = killed_at(tmp_path, Phase.RELEASE, hospitals=3)
    jobs = Jobs(sites, {1}, {1}, {1, 2, 3})
    assert serve(jobs) == []
    assert jobs.begun == [{1, 2, 3}]
    assert who_has(sites, CHECKPOINTS_FILE) == {1, 2, 3}


def test_one_that_is_alone_is_given_it_all_the_same(tmp_path, serve):
    sites = killed_at(tmp_path, Phase.RELEASE, hospitals=3)
    jobs = Jobs(sites, {3})
    assert serve(jobs) == ["logs-not-signed"]
    assert jobs.begun == [{3}]
    assert who_has(sites, "model.safetensors") == {3}

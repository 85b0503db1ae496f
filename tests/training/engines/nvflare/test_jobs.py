"""What the coordinator's service makes of a server that is away, and of epochs that give no sum."""

from __future__ import annotations

import json

import pytest

from secagg.errors import ProtocolError
from secagg.masking import Purpose
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training.coordinator_store import CoordinatorStore
from training.engines.nvflare.controller import _log_round
from training.engines.nvflare.coordinator_service import _Rounds, _Trying
from training.engines.nvflare.jobs import Jobs
from training.field.coordinator_site import CoordinatorSite
from training.field.site_log import site_log
from training.field.supervisor import StopRequestedError
from training.field.watcher import SiteWatcher
from training.round_record import RefusalRecord, RoundRecord


class Session:
    """Says what became of a job, once it has failed to answer so many times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.aborted: list[str] = []

    def submit_job(self, _folder):
        return "a job"

    def abort_job(self, job):
        self.aborted.append(job)

    status = "FINISHED:COMPLETED"

    def get_job_meta(self, _job):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the server is away")
        return {"status": self.status}

    get_system_info = get_job_meta


class Job:
    def write(self, folder):
        folder.mkdir()


def test_a_server_that_is_away_for_a_moment_is_asked_again():
    assert Jobs(Session(failures=2), lambda: None).run(Job(), lambda: False) == "FINISHED:COMPLETED"


def test_a_server_that_stays_away_ends_the_job_with_a_reason_and_no_traceback():
    session = Session(failures=9)
    with pytest.raises(ProtocolError) as caught:
        Jobs(session, lambda: None, patience=0).run(Job(), lambda: False)
    assert caught.value.reason == "server-lost"
    assert session.aborted == ["a job"]


@pytest.mark.parametrize("status", ["SUBMITTED", "DISPATCHED"])
def test_a_job_that_does_not_start_is_called_off(status):
    session = Session(failures=0)
    session.status = status
    assert Jobs(session, lambda: None, starting=0).run(Job(), lambda: False) == status
    assert session.aborted == ["a job"]


def test_a_job_that_has_started_may_take_its_time():
    session, looked = Session(failures=0), []
    session.status = "RUNNING"
    Jobs(session, lambda: looked.append(1), starting=0).run(Job(), lambda: len(looked) > 2)
    assert not session.aborted


def test_who_waits_for_hospitals_is_told_of_a_server_that_stays_away():
    with pytest.raises(ProtocolError) as caught:
        Jobs(Session(failures=9), lambda: None, patience=0).connected()
    assert caught.value.reason == "server-lost"


def test_a_site_that_is_told_to_stop_does_not_wait_for_a_server_that_is_away():
    def stop():
        raise StopRequestedError

    with pytest.raises(StopRequestedError):
        Jobs(Session(failures=9), stop, patience=60).connected()


def test_each_epoch_without_a_sum_is_followed_by_a_longer_pause():
    """Each may cost every hospital a round of its budget."""
    trying, error = _Trying(patience=600), ProtocolError("no-sum", "No sum.")
    assert [trying.pause_after(error) for _ in range(7)] == [5, 10, 20, 40, 80, 120, 120]


def test_a_sum_that_is_made_again_is_no_progress(tmp_path):
    """No hospital took it, and each has paid for it twice."""
    identities = make_identities(3)
    charter = sign_by_all(make_charter(identities), identities)
    site = CoordinatorSite(tmp_path)
    reached = []
    for step in (1, 1, 0, 1, 2):
        store = CoordinatorStore(site.state, charter.digest)
        record = RoundRecord(1, Purpose.TRAINING, step, (), (), (), (), None, 0, 0, 0.0)
        store.add_round(record)
        reached.append(_Rounds(site.rounds, SiteWatcher()).sums)
    assert reached == [1, 1, 1, 1, 2]


FAILED = RoundRecord(
    4,
    Purpose.TRAINING,
    0,
    (),
    ("h2",),
    (),
    (
        RefusalRecord("h2", "wrong-dealing", "The shares that h2 dealt do not give what it committed to."),
        RefusalRecord("h3", "budget-exceeded", "This hospital's own log says why."),
    ),
    "wrong-dealing",
    0,
    0,
    0.0,
)


def test_the_log_says_of_each_round_who_refused_and_who_was_found_out(tmp_path):
    with site_log(tmp_path / "coordinator.jsonl") as logger:
        _log_round(logger, FAILED)
    (line,) = (tmp_path / "coordinator.jsonl").read_text().splitlines()
    told = [(refusal["member"], refusal["reason"]) for refusal in json.loads(line)["refusals"]]
    assert told == [("h2", "wrong-dealing"), ("h3", "budget-exceeded")]


def test_the_reason_is_told_once_epochs_have_failed_for_too_long():
    trying, error = _Trying(patience=-1), ProtocolError("too-few-masked", "Too few.")
    with pytest.raises(ProtocolError) as caught:
        trying.pause_after(error)
    assert caught.value is error

"""A coordinator whose own site has to be put right ends at once: another epoch could cost every hospital a round."""

from __future__ import annotations

from contextlib import nullcontext
from unittest.mock import Mock

import pytest

from secagg.errors import InputError, ProtocolError
from tests.support.hospitals import choices_of, training_of
from tests.training.field.conftest import lay_out
from tests.training.field.test_sites import epoch
from training.engines.nvflare import coordinator_service
from training.engines.nvflare.coordinator_service import _run_epoch, serve_coordinator
from training.field.coordinator_site import Outcome
from training.field.coordinator_status import read_status
from training.field.settings import CoordinatorSettings
from training.field.watcher import SiteWatcher


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serves over a server that is not there, with epochs that all end so; how many there were, and what was said."""
    site = lay_out(tmp_path).coordinator
    site.settings.write_text("patience = 1\n")
    monkeypatch.setattr(coordinator_service, "require_coordinator_kits", lambda *_: (Mock(), Mock()))
    monkeypatch.setattr(coordinator_service, "require_free", lambda *_: None)
    monkeypatch.setattr(coordinator_service, "Expiry", lambda *_: Mock())
    monkeypatch.setattr(coordinator_service, "running", lambda *_: nullcontext(Mock()))
    monkeypatch.setattr(coordinator_service, "_RETRY_SECONDS", 0.01)

    def serve(outcome):
        epochs, watcher = [], Mock()
        monkeypatch.setattr(coordinator_service, "_run_epoch", lambda *_: epochs.append(1) or outcome)
        with pytest.raises((InputError, ProtocolError)) as caught:
            serve_coordinator(site, lambda: None, watcher)
        return caught.value, len(epochs), watcher

    return serve


def test_one_whose_disk_is_full_ends_after_one_epoch_and_says_that_it_is_its_own(serve):
    error, epochs, watcher = serve(Outcome(serial=1, reason="unwritable", unusable=True))
    assert (error.reason, error.exit_code, epochs) == ("unwritable", 2, 1)
    watcher.on_retry.assert_not_called()


def test_control_what_hospitals_failed_to_do_is_tried_again(serve):
    error, epochs, watcher = serve(Outcome(serial=1, reason="too-few-masked"))
    assert (error.reason, error.exit_code) == ("too-few-masked", 1)
    assert epochs > 1
    watcher.on_retry.assert_called()


@pytest.fixture
def lose(monkeypatch):
    """Runs an epoch whose server cannot be reached, or whose job ends without a word; how it ended."""

    def lose(site, jobs):
        monkeypatch.setattr(coordinator_service, "open_jobs", jobs)
        arguments = (site.read_charter(), Mock(), CoordinatorSettings(gather=1.0), lambda: None, SiteWatcher())
        return _run_epoch(site, *arguments)

    return lose


def no_server(*_):
    raise ProtocolError("server-not-reached", "It cannot be reached.", remedy="Its log says why.")


def no_word(*_):
    return nullcontext(Mock(connected=lambda: frozenset({1, 2, 3}), run=lambda *_: "FINISHED:EXECUTION_EXCEPTION"))


@pytest.mark.parametrize(("jobs", "reason"), [(no_server, "server-not-reached"), (no_word, "job-lost")])
def test_the_coordinators_status_says_why_it_gave_up_also_where_no_job_could_say_so(tmp_path, lose, jobs, reason):
    site = lay_out(tmp_path).coordinator
    error = lose(site, jobs).as_error()
    status = read_status(site)
    assert (status.reason, status.message, status.remedy) == (reason, error.message, error.remedy)


def test_but_goes_on_naming_who_lacks_the_release(tmp_path, lose):
    sites = lay_out(tmp_path, 4, choices_of(training_of(rounds=1)))
    assert epoch(sites, 1, without=(4,)).lacking == ("h4",)
    assert lose(sites.coordinator, no_server).reason == "server-not-reached"
    status = read_status(sites.coordinator)
    assert (status.lacking, status.reason) == (("h4",), "release-not-taken")

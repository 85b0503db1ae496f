"""A coordinator whose own site has to be put right ends at once: another epoch could cost every hospital a round."""

from __future__ import annotations

from contextlib import nullcontext
from unittest.mock import Mock

import pytest

from secagg.errors import InputError, ProtocolError
from tests.training.field.conftest import lay_out
from training.engines.nvflare import coordinator_service
from training.engines.nvflare.coordinator_service import serve_coordinator
from training.field.coordinator_site import Outcome


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

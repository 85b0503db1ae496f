"""The coordinator's server ends no job because one hospital's process of it has ended."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from nvflare.fuel.common.exit_codes import ProcessExitCode
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.message import Message
from nvflare.private.defs import CellMessageHeaderKeys, JobFailureMsgKey
from nvflare.private.fed.server.fed_server import FederatedServer

from training.engines.nvflare.server_process import go_on_without_who_failed

TOKEN = "of hospital-02"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    monkeypatch.setattr(FederatedServer, "process_job_failure", FederatedServer.process_job_failure)


def server() -> SimpleNamespace:
    """What NVFlare's own method needs of a server with one hospital at work."""
    jobs = Mock()
    jobs.is_client_outcome_pending.return_value = True
    clients = Mock(clients={TOKEN: SimpleNamespace(name="hospital-02")})
    clients.is_from_authorized_client.side_effect = lambda token: token == TOKEN
    engine = SimpleNamespace(job_runner=jobs, new_context=lambda: nullcontext())
    return SimpleNamespace(client_manager=clients, engine=engine, logger=Mock())


def report(token: str = TOKEN) -> Message:
    """That a hospital's process was killed."""
    headers = {MessageHeaderKey.ORIGIN: "hospital-02", CellMessageHeaderKeys.TOKEN: token}
    payload = {JobFailureMsgKey.JOB_ID: "job", JobFailureMsgKey.CODE: ProcessExitCode.EXCEPTION}
    return Message(headers, payload)


def test_a_hospital_whose_process_was_killed_has_dropped_out_and_the_job_goes_on():
    go_on_without_who_failed()
    at = server()
    reply = FederatedServer.process_job_failure(at, report())
    assert reply.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.OK
    at.engine.job_runner.fail_run.assert_not_called()
    at.engine.job_runner.stop_run.assert_not_called()
    at.engine.job_runner.resolve_client_outcome.assert_called_once_with("job", "hospital-02")


def test_control_nvflare_itself_fails_the_job_for_everybody():
    at = server()
    FederatedServer.process_job_failure(at, report())
    at.engine.job_runner.fail_run.assert_called_once()


def test_a_report_of_nobody_known_still_counts_for_nothing():
    go_on_without_who_failed()
    at = server()
    reply = FederatedServer.process_job_failure(at, report("stolen"))
    assert reply.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.UNAUTHENTICATED
    at.engine.job_runner.resolve_client_outcome.assert_not_called()


def test_what_is_no_report_is_dropped_as_before():
    go_on_without_who_failed()
    at = server()
    message = report()
    message.payload = b"no dictionary"
    reply = FederatedServer.process_job_failure(at, message)
    assert reply.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.INVALID_REQUEST

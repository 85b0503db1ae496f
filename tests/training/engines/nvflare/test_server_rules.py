"""The coordinator's server bears a hospital that fails: the job goes on for the others."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from nvflare.apis.shareable import Shareable
from nvflare.fuel.common.exit_codes import ProcessExitCode
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, MessagePropKey, ReturnCode
from nvflare.fuel.f3.message import Message
from nvflare.private.admin_defs import Message as AdminMessage
from nvflare.private.admin_defs import MsgHeader
from nvflare.private.admin_defs import ReturnCode as AdminReturnCode
from nvflare.private.defs import ERROR_MSG_PREFIX, CellMessageHeaderKeys, JobFailureMsgKey, TrainingTopic
from nvflare.private.fed.server import job_runner
from nvflare.private.fed.server.fed_server import FederatedServer
from nvflare.private.fed.server.job_runner import JobRunner
from nvflare.private.fed.server.message_send import ClientReply
from nvflare.private.fed.server.server_engine import ServerEngine
from nvflare.private.scheduler_constants import ShareableHeader

from secagg.errors import SecaggError
from training.engines.nvflare import server_rules
from training.engines.nvflare.server_rules import go_on_without_who_failed, sites_not_started

ROOT = Path(__file__).parents[4]
TOKEN = "of hospital-02"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    for owner, name in server_rules._CHANGED:
        monkeypatch.setattr(owner, name, getattr(owner, name))


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


# A job's process ends


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


# Who speaks


def spoken(origin: str, destination: str, certificate: str | None = "hospital-02") -> Message:
    """What comes over a connection, of which NVFlare knows whose certificate it was opened with."""
    message = Message({MessageHeaderKey.ORIGIN: origin, MessageHeaderKey.DESTINATION: destination}, b"")
    if certificate:
        message.set_prop(MessagePropKey.COMMON_NAME, certificate)
    return message


def is_heard(message: Message) -> bool:
    """Whether NVFlare's own check, for which all tokens are good, is asked and is the only one."""
    at = SimpleNamespace(_get_id_asserter=lambda: None, _strip_peer_transit_headers=lambda _message: None)
    return FederatedServer._validate_auth_headers(at, message) is None


FALSE = [
    pytest.param("server", "hospital-03", id="a hospital as the coordinator"),
    pytest.param("server.job", "hospital-03.job", id="a hospital as the coordinator's job"),
    pytest.param("hospital-03", "server", id="a hospital as another"),
    pytest.param("hospital-02", "hospital-03", id="a hospital to another"),
]


@pytest.mark.parametrize(("origin", "destination"), FALSE)
def test_a_hospital_is_heard_only_as_itself_and_only_by_the_coordinator(origin, destination):
    go_on_without_who_failed()
    assert not is_heard(spoken(origin, destination))


@pytest.mark.parametrize(("origin", "destination"), FALSE)
def test_control_nvflare_itself_passes_on_what_a_known_token_comes_with(origin, destination):
    assert is_heard(spoken(origin, destination))


@pytest.mark.parametrize(
    "message",
    [
        spoken("hospital-02", "server"),
        spoken("hospital-02.job", "server.job"),
        spoken("lead@secagg", "server", "lead@secagg"),
        spoken("server.job", "hospital-02.job", None),
    ],
    ids=["a site", "a site's process of a job", "who submits jobs", "the server's own process of a job"],
)
def test_what_is_as_it_should_be_is_left_to_nvflare_s_own_check(message):
    go_on_without_who_failed()
    assert is_heard(message)


# A job's process does not start


def started(**bodies: object) -> list[ClientReply]:
    """What sites said when they were to start a job."""
    replies = {site: None if body is None else AdminMessage("reply", body) for site, body in bodies.items()}
    return [ClientReply("token", site, AdminMessage("start", ""), reply) for site, reply in replies.items()]


def test_a_site_that_cannot_start_a_job_or_does_not_answer_is_left_out():
    replies = started(one="ok", two=f"{ERROR_MSG_PREFIX}: no memory", three=None)
    assert sites_not_started(replies, ["one", "two", "three", "four"], command="start job", strict=True) == [
        "two",
        "three",
        "four",
    ]


def test_a_site_that_refuses_to_start_a_job_is_left_out():
    replies = started(one="ok", two="no")
    replies[1].reply.set_header(MsgHeader.RETURN_CODE, AdminReturnCode.ERROR)
    assert sites_not_started(replies, ["one", "two"], command="start job") == ["two"]


def test_control_nvflare_itself_starts_the_job_for_nobody():
    with pytest.raises(RuntimeError, match="no memory"):
        job_runner.check_client_replies(
            started(one="ok", two=f"{ERROR_MSG_PREFIX}: no memory"), ["one", "two"], command="start job"
        )


def test_the_starting_of_jobs_is_judged_so():
    go_on_without_who_failed()
    assert job_runner.check_client_replies is sites_not_started


# A site answers nonsense


def asked_for_room(body: object) -> dict[str, tuple[bool, str]]:
    """What the server makes of a site's answer to whether it has room for a job."""
    admin = Mock()
    admin.send_requests.return_value = started(**{"hospital-02": body})
    engine = SimpleNamespace(
        server=SimpleNamespace(admin_server=admin),
        get_client_from_name=lambda name: SimpleNamespace(token="token", name=name),
        _make_message_for_check_resource=lambda *_: AdminMessage(TrainingTopic.CHECK_RESOURCE, ""),
        logger=Mock(),
    )
    engine._send_admin_requests = lambda *asked: ServerEngine._send_admin_requests(engine, *asked)
    return ServerEngine.check_client_resources(engine, Mock(), {"hospital-02": {}}, Mock())


def test_a_site_that_answers_nonsense_has_no_room_for_a_job():
    go_on_without_who_failed()
    assert asked_for_room("nonsense") == {"hospital-02": (False, "")}


def test_control_nvflare_itself_would_try_for_ever():
    with pytest.raises(AttributeError):
        asked_for_room("nonsense")


def test_a_site_that_has_room_is_believed():
    go_on_without_who_failed()
    answer = Shareable({})
    answer.set_header(ShareableHeader.IS_RESOURCE_ENOUGH, True)
    answer.set_header(ShareableHeader.RESOURCE_RESERVE_TOKEN, "reserved")
    assert asked_for_room(answer) == {"hospital-02": (True, "reserved")}


# The server was started again


def test_a_job_that_an_earlier_server_ran_is_abandoned_before_any_is_begun(monkeypatch):
    order = []
    monkeypatch.setattr(JobRunner, "update_unfinished_jobs", lambda *_: order.append("abandoned"))
    monkeypatch.setattr(JobRunner, "run", lambda *_: order.append("run"))
    go_on_without_who_failed()
    JobRunner.run(JobRunner.__new__(JobRunner), Mock())
    assert order == ["abandoned", "run"]


# Many hospitals


def connections_taken(server: str, wanted: int) -> int:
    command = (sys.executable, "-m", "tests.support.nvflare_streams", server, str(wanted))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return int(done.stdout.split()[-1])


def test_more_than_fifty_hospitals_can_be_connected_with_a_job_each():
    assert connections_taken("mended", 120) == 120


def test_control_nvflare_itself_hears_a_hundred_connections_and_no_more():
    assert connections_taken("plain", 120) == 100


# Another version


def test_another_nvflare_is_not_started(monkeypatch):
    monkeypatch.delattr(JobRunner, "update_unfinished_jobs")
    with pytest.raises(SecaggError) as refused:
        go_on_without_who_failed()
    assert refused.value.reason == "other-nvflare"

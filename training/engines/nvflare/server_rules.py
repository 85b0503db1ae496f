"""What NVFlare's server does when one hospital fails: that hospital has dropped out, and the others go on.

NVFlare fails a job for everybody where one site cannot start its process of the job or reports that it ended with an
error, and tries a job for ever where one site answers nonsense. Nobody else's sum should depend on it: the protocol
bears hospitals that drop out. Nor should it on how many there are, nor on what one hospital sends in another's name:
NVFlare passes on what parties send each other; nor on another coordinator of this machine, which gRPC lets listen on
the same port. No setting changes that, so it is changed in the server's process, before NVFlare starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
from nvflare.apis.shareable import Shareable
from nvflare.fuel.f3.cellnet.core_cell import make_reply
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, MessagePropKey
from nvflare.fuel.f3.cellnet.defs import ReturnCode as CellReturnCode
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver
from nvflare.private.admin_defs import Message as AdminMessage
from nvflare.private.admin_defs import MsgHeader, ReturnCode
from nvflare.private.defs import ERROR_MSG_PREFIX, JobFailureMsgKey, TrainingTopic
from nvflare.private.fed.server import job_runner
from nvflare.private.fed.server.fed_server import FederatedServer
from nvflare.private.fed.server.job_runner import JobRunner
from nvflare.private.fed.server.server_engine import ServerEngine

from secagg.charter.sections import MOST_MEMBERS
from training.engines.nvflare.extra import other_nvflare
from training.engines.nvflare.listening import is_taken
from training.engines.nvflare.process import PORT_TAKEN
from training.engines.nvflare.site_kits import SERVER
from training.engines.nvflare.sites import SITE_PREFIX

if TYPE_CHECKING:
    from nvflare.apis.fl_context import FLContext
    from nvflare.fuel.f3.drivers.driver import ConnectorInfo
    from nvflare.fuel.f3.message import Message
    from nvflare.private.fed.server.admin import ClientReply

_NO_FAILURE: Final = 0
_MOST_STREAMS: Final = 4 * MOST_MEMBERS
"""Each hospital's site has one open for as long as it is connected, and one more in a job; each holds a thread."""
_CHANGED: Final = (
    (job_runner, "check_client_replies"),
    (FederatedServer, "process_job_failure"),
    (FederatedServer, "_validate_auth_headers"),
    (ServerEngine, "_send_admin_requests"),
    (JobRunner, "run"),
    (JobRunner, "update_unfinished_jobs"),
    (GrpcDriver, "listen"),
    (grpc, "server"),
)


def go_on_without_who_failed() -> None:
    """Have this process's NVFlare server bear hospitals that fail, and remember no job of an earlier process.

    Raises:
        SecaggError: ``other-nvflare`` if what is changed is not there: this was written for another NVFlare.
    """
    missing = [name for owner, name in _CHANGED if not hasattr(owner, name)]
    if missing:
        raise other_nvflare(missing)
    job_runner.check_client_replies = sites_not_started
    _end_no_job_because_a_process_ended()
    _take_nonsense_for_no()
    _hear_hospitals_only_as_themselves()
    _abandon_what_an_earlier_server_ran()
    _hold_streams_for_everybody()
    _listen_alone()


def sites_not_started(replies: Sequence[ClientReply], client_sites: Sequence[str], **_told: str | bool) -> list[str]:
    """Those of ``client_sites`` whose process of a job has not started; NVFlare's own function raises for them.

    The caller leaves them out, and starts no job that too few are left for.
    """
    started = {reply.client_name for reply in replies if _has_started(reply.reply)}
    return [site for site in client_sites if site not in started]


def _has_started(reply: AdminMessage | None) -> bool:
    if reply is None or reply.get_header(MsgHeader.RETURN_CODE, ReturnCode.OK) != ReturnCode.OK:
        return False
    return not (isinstance(reply.body, str) and reply.body.startswith(ERROR_MSG_PREFIX))


def _end_no_job_because_a_process_ended() -> None:
    """A report is checked and counted as NVFlare does; that the hospital is gone, the job hears by a heartbeat."""
    take_report = FederatedServer.process_job_failure

    def take_as_drop_out(server: FederatedServer, request: Message) -> Message:
        if isinstance(request.payload, dict):
            request.payload = request.payload | {JobFailureMsgKey.CODE: _NO_FAILURE}
        return take_report(server, request)

    FederatedServer.process_job_failure = take_as_drop_out


def _take_nonsense_for_no() -> None:
    """A site that is asked whether it has room for a job, and answers with something else, has none."""
    send = ServerEngine._send_admin_requests

    def send_and_sort(
        engine: ServerEngine, requests: Mapping[str, AdminMessage], *args: Any, **kwargs: Any
    ) -> list[ClientReply]:
        replies: list[ClientReply] = send(engine, requests, *args, **kwargs)
        if any(request.topic == TrainingTopic.CHECK_RESOURCE for request in requests.values()):
            for reply in replies:
                if reply.reply is not None and not isinstance(reply.reply.body, Shareable):
                    reply.reply = None
        return replies

    ServerEngine._send_admin_requests = send_and_sort


def _hear_hospitals_only_as_themselves() -> None:
    """A hospital speaks under its own name, and to the server: what its certificate says counts, no header.

    Else it could give out sums as the coordinator, or end another's process: NVFlare binds a name to a token only for
    as long as the token is the newest.
    """
    validate = FederatedServer._validate_auth_headers

    def validate_speaker(server: FederatedServer, message: Message) -> Message | None:
        refused: Message | None = _false_speaker(message) or validate(server, message)
        return refused

    FederatedServer._validate_auth_headers = validate_speaker


def _false_speaker(message: Message) -> Message | None:
    """The refusal of a message from a hospital's connection that says to be from, or is for, somebody else."""
    speaker = message.get_prop(MessagePropKey.COMMON_NAME) or ""
    origin = FQCN.get_root(message.get_header(MessageHeaderKey.ORIGIN))
    destination = FQCN.get_root(message.get_header(MessageHeaderKey.DESTINATION))
    if not speaker.startswith(SITE_PREFIX) or (origin, destination) == (speaker, SERVER):
        return None
    return make_reply(
        CellReturnCode.UNAUTHENTICATED, f"{speaker} may speak only for itself and only to the coordinator"
    )


def _abandon_what_an_earlier_server_ran() -> None:
    """Else its jobs would be on record as running, and waited for without end."""
    run = JobRunner.run

    def abandon_and_run(runner: JobRunner, fl_ctx: FLContext) -> None:
        runner.update_unfinished_jobs(fl_ctx)
        run(runner, fl_ctx)

    JobRunner.run = abandon_and_run


def _hold_streams_for_everybody() -> None:
    """NVFlare's server has a hundred threads for them: fifty hospitals would take them all, and no other be heard."""
    listen = GrpcDriver.listen

    def listen_to_all(driver: GrpcDriver, connector: ConnectorInfo) -> None:
        driver.max_workers = _MOST_STREAMS
        listen(driver, connector)

    GrpcDriver.listen = listen_to_all


def _listen_alone() -> None:
    """gRPC lets two servers listen on one port, and Linux then splits the hospitals between them."""
    make = grpc.server

    def make_alone(*args: Any, options: Sequence[tuple[str, Any]] | None = None, **kwargs: Any) -> grpc.Server:
        server = make(*args, options=[*(options or ()), ("grpc.so_reuseport", 0)], **kwargs)
        server.add_secure_port = partial(_listen_or_end, server.add_secure_port)
        server.add_insecure_port = partial(_listen_or_end, server.add_insecure_port)
        return server

    grpc.server = make_alone


def _listen_or_end(add_port: Callable[..., int], address: str, **kwargs: Any) -> int:
    """NVFlare's server would go on with no port at all, where no hospital finds it."""
    try:
        return add_port(address, **kwargs)
    except RuntimeError as error:
        print(f"Cannot listen on {address}: {error}", file=sys.stderr, flush=True)
        host, _, port = address.rpartition(":")
        # Not an exception: NVFlare catches it, or it ends no more than a thread.
        os._exit(PORT_TAKEN if is_taken(host, int(port)) else 1)

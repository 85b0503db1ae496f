"""A hospital's side of a job: the state machine that answers, behind NVFlare's cell.

Runs in NVFlare's job process at the hospital, and takes nothing from the job but a charter's digest and a serial
number: what it trains on and by which rules is in the hospital's own folder. Whatever goes wrong is answered, never
raised: an exception would end the job for everybody.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.message import Message

from secagg.errors import SecaggError
from training.engines.nvflare.tether import end_job_with_site
from training.engines.nvflare.transport import CHANNEL, DELIVER, READY, pack, pack_failure, pack_reply, unpack
from training.field.attendance import Attendance
from training.field.hospital_site import HospitalSite

_log = logging.getLogger(__name__)


class HospitalExecutor(Executor):  # type: ignore[misc]
    """Answers for one hospital, from the job's start to its end.

    Args:
        charter: hex digest of the charter that the job is for.
        serial: the job's number; a hospital takes each number once, in rising order.
    """

    def __init__(self, charter: str, serial: int) -> None:
        super().__init__()
        self._charter = charter
        self._serial = serial
        # One thread: a hospital's files and state machine are no concern of two at once.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hospital")
        self._opened = ExitStack()
        self._attendance: Attendance | None = None
        self._failure = "not-started"

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Open the hospital when the job starts, close it when it ends."""
        if event_type == EventType.START_RUN:
            end_job_with_site()
            engine = fl_ctx.get_engine()
            cell = engine.get_cell()
            site = HospitalSite(Path(engine.get_workspace().get_root_dir()).parent)
            server = FQCN.join([FQCN.ROOT_SERVER, fl_ctx.get_job_id()])
            cell.register_request_cb(channel=CHANNEL, topic=DELIVER, cb=self._on_request)
            self._thread.submit(self._start, cell, site, server)
        elif event_type == EventType.END_RUN:
            self._thread.submit(self._opened.close).result()
            self._thread.shutdown()

    def execute(self, _name: str, _data: Shareable, _context: FLContext, _aborted: Signal) -> Shareable:
        """Do nothing: this project's jobs have no tasks."""
        return make_reply(ReturnCode.TASK_UNKNOWN)

    def _start(self, cell: object, site: HospitalSite, server: str) -> None:
        try:
            self._attendance = self._opened.enter_context(site.attend(self._charter, self._serial))
            ready = pack([])
        except SecaggError as error:
            ready = self._failed(error.reason)
        except Exception:
            _log.exception("the hospital could not be opened")
            ready = self._failed("internal")
        cell.fire_and_forget(channel=CHANNEL, topic=READY, targets=server, message=ready)  # type: ignore[attr-defined]

    def _failed(self, reason: str) -> Message:
        self._failure = reason
        return pack_failure(reason)

    def _on_request(self, request: Message) -> Future[Message]:
        return self._thread.submit(self._answer, request)

    def _answer(self, request: Message) -> Message:
        if self._attendance is None:
            return pack_failure(self._failure)
        try:
            return pack_reply([reply for message in unpack(request) for reply in self._attendance.receive(message)])
        except SecaggError as error:
            self._attendance.note(error)
            return pack_failure(error.reason)
        except Exception:
            _log.exception("a message could not be answered")
            return pack_failure("internal")

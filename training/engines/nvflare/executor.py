"""A hospital's side of a job: the state machine that answers, behind NVFlare's cell.

Runs in NVFlare's job process at the hospital, and takes nothing from the job but a charter's digest and a serial
number: what it trains on and by which rules is in the hospital's own folder.
"""

from __future__ import annotations

from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.fqcn import FQCN

from training.engines.nvflare.responder import Responder
from training.engines.nvflare.tether import end_job_with_site
from training.engines.nvflare.transport import CHANNEL, DELIVER, PULSE, READY
from training.field.hospital_site import HospitalSite


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
        self._responder: Responder | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Open the hospital when the job starts, close it when it ends."""
        if event_type == EventType.START_RUN:
            end_job_with_site()
            engine = fl_ctx.get_engine()
            cell = engine.get_cell()
            site = HospitalSite(Path(engine.get_workspace().get_root_dir()).parent)
            server = FQCN.join([FQCN.ROOT_SERVER, fl_ctx.get_job_id()])
            self._responder = Responder(server)
            cell.register_request_cb(channel=CHANNEL, topic=DELIVER, cb=self._responder.answer)
            cell.register_request_cb(channel=CHANNEL, topic=PULSE, cb=self._responder.answer_pulse)
            self._responder.open(
                lambda: site.attend(self._charter, self._serial),
                lambda ready: cell.fire_and_forget(channel=CHANNEL, topic=READY, targets=server, message=ready),
            )
        elif event_type == EventType.END_RUN and self._responder:
            self._responder.close()

    def execute(self, _name: str, _data: Shareable, _context: FLContext, _aborted: Signal) -> Shareable:
        """Do nothing: this project's jobs have no tasks."""
        return make_reply(ReturnCode.TASK_UNKNOWN)

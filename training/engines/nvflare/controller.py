"""The coordinator's side of a job: one epoch of the run, from the site's own folder.

Runs in NVFlare's job process at the coordinator. Waits until the hospitals' job processes have opened, then lets the
coordinator talk to them; how it ended is in the folder for whoever began the job.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.message import Message

from secagg.errors import InputError, RemoteProtocolError
from secagg.files import lock
from training.engines.nvflare.deadlines import Deadlines
from training.engines.nvflare.engine import NvflareEngine
from training.engines.nvflare.sites import member_number, site_name
from training.engines.nvflare.tether import end_job_with_site
from training.engines.nvflare.transport import CHANNEL, READY, require_going
from training.field.coordinator_site import CoordinatorSite
from training.field.site_log import site_log
from training.round_record import RoundRecord

_POLL_SECONDS = 0.05


class SumController(Controller):  # type: ignore[misc]
    """Runs one epoch.

    Args:
        serial: the job's number.
        wait: how many seconds the hospitals' processes may take to open.
    """

    def __init__(self, serial: int, wait: float) -> None:
        super().__init__()
        self._serial = serial
        self._wait = wait
        self._job = ""
        self._arrived = threading.Condition()
        self._cells: dict[int, str] = {}
        self._unwilling: dict[int, str] = {}
        self._engine: NvflareEngine | None = None
        self._conducting: int | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Listen for the hospitals before any can be there, wait for none that has ended, and let go at the end."""
        if event_type == EventType.START_RUN:
            end_job_with_site()
            self._job = fl_ctx.get_job_id()
            fl_ctx.get_engine().get_cell().register_request_cb(channel=CHANNEL, topic=READY, cb=self._on_ready)
        elif event_type == EventType.CLIENT_DISCONNECTED:
            self._on_ended(member_number(fl_ctx.get_prop(FLContextKey.DISCONNECTED_CLIENT_NAME)))
        elif event_type == EventType.END_RUN and self._conducting is not None:
            # NVFlare has sent the hospitals' processes word of it just before.
            os.close(self._conducting)
            self._conducting = None

    def start_controller(self, fl_ctx: FLContext) -> None:
        """See `Controller`."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """See `Controller`."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the epoch."""
        nvflare = fl_ctx.get_engine()
        site = CoordinatorSite(Path(nvflare.get_workspace().get_root_dir()).parent.parent)
        self._conducting = lock(site.conducting)
        charter, settings = site.read_charter(), site.read_settings()
        names = {number: member.name for number, member in enumerate(charter.charter.members, start=1)}
        # A member of an earlier charter may be connected too: its certificate is of the same authority.
        expected = {member_number(client.name) for client in nvflare.get_clients()} & names.keys()
        with site_log(site.log) as logger:
            self._await(expected, abort_signal)
            # Hospitals that come from here on come too late for this epoch; those that end are parted with.
            with self._arrived:
                cells = {number: cell for number, cell in self._cells.items() if number in names}
                self._engine = engine = NvflareEngine(
                    nvflare.get_cell(),
                    cells,
                    Deadlines(settings.work, settings.answer),
                    abort_signal,
                    lambda member, error: _log_failure(logger, names[member], error),
                )
            missing = names.keys() - cells.keys()
            absent = {names[number]: self._why_absent(number, expected) for number in sorted(missing)}
            logger.info("epoch", extra={"fields": {"job": self._serial, "present": len(cells), "absent": absent}})
            for number in sorted((missing & expected) - self._unwilling.keys()):
                logger.warning("did not open in time", extra={"fields": {"member": names[number], **self._too_slow()}})
            outcome = site.run_epoch(charter, engine, self._serial, absent, lambda record: _log_round(logger, record))
            logger.info("epoch over", extra={"fields": {"finished": outcome.finished, "reason": outcome.reason}})
            if outcome.finished and not site.store(charter).state.witnessed:
                logger.warning("too few hospitals have signed for the logs and the transcript of this run")

    def _await(self, expected: set[int], abort_signal: Signal) -> None:
        deadline = time.monotonic() + self._wait
        with self._arrived:
            while not expected <= self._cells.keys() | self._unwilling.keys():
                if abort_signal.triggered or time.monotonic() > deadline:
                    return
                self._arrived.wait(_POLL_SECONDS)

    def _on_ready(self, message: Message) -> None:
        cell = message.get_header(MessageHeaderKey.ORIGIN, "")
        try:
            member = member_number(FQCN.split(cell)[0])
        except InputError:
            return
        if cell != FQCN.join([site_name(member), self._job]):
            # NVFlare does not check who a message says it is from: let nobody have another's messages sent elsewhere.
            return
        with self._arrived:
            try:
                require_going(message)
                self._cells[member] = cell
            except RemoteProtocolError as error:
                self._unwilling[member] = error.message
            self._arrived.notify()

    def _on_ended(self, member: int) -> None:
        with self._arrived:
            self._unwilling.setdefault(member, "ended")
            self._cells.pop(member, None)
            self._arrived.notify()
            engine = self._engine
        if engine:
            engine.part_with(member)

    def _why_absent(self, number: int, expected: set[int]) -> str:
        return self._unwilling.get(number, "did not open" if number in expected else "not connected")

    def _too_slow(self) -> dict[str, str]:
        return {
            "message": f"It is connected, and was not ready {self._wait:g} seconds after it was asked.",
            "remedy": "If it needs longer to read its records, raise `open` in coordinator.toml.",
        }


def _log_failure(logger: logging.Logger, member: str, error: RemoteProtocolError) -> None:
    logger.warning("no answer", extra={"fields": {"member": member, "reason": error.reason, "message": error.message}})


def _log_round(logger: logging.Logger, record: RoundRecord) -> None:
    fields = {
        "round": record.round,
        "step": record.step,
        "in_the_sum": len(record.survivors),
        "dropped": list(record.dropped),
        "reason": record.reason,
        "refusals": list(record.refusals),
        "seconds": round(record.seconds, 3),
    }
    logger.info("round", extra={"fields": fields})

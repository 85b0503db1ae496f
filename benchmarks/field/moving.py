"""The same bytes to four sites and back, in one job: by NVFlare's own tasks, and by this project's engine.

NVFlare moves them as what it is made for, a DXO of one array, with the intervals tuned that make its tasks quick.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.message import Message

from training.engines.base import Phase
from training.engines.nvflare.deadlines import Deadlines
from training.engines.nvflare.engine import NvflareEngine
from training.engines.nvflare.sites import member_number
from training.engines.nvflare.transport import CHANNEL, DELIVER, pack_reply

MOVE: Final = "move"
_PATIENCE: Final = 300


class Moved(msgspec.Struct, frozen=True):
    """Seconds of each repetition, in which every site was sent and gave back ``size`` bytes."""

    size: int
    by_engine: tuple[float, ...]
    by_tasks: tuple[float, ...]


class MovingController(Controller):
    """Moves ``size`` bytes to every site and back, ``times`` times each way of moving, in turn."""

    def __init__(self, size: int, times: int, out: str) -> None:
        super().__init__(task_check_period=0.05)
        self._size = size
        self._times = times
        self._out = Path(out)

    def start_controller(self, _context: FLContext) -> None: ...

    def stop_controller(self, _context: FLContext) -> None: ...

    def control_flow(self, aborted: Signal, context: FLContext) -> None:
        engine = context.get_engine()
        job = context.get_job_id()
        cells = {member_number(client.name): FQCN.join([client.name, job]) for client in engine.get_clients()}
        ours = NvflareEngine(engine.get_cell(), cells, Deadlines(_PATIENCE, _PATIENCE), aborted)
        payload = np.random.default_rng(0).integers(0, 256, self._size, np.uint8)
        # Until every site has answered once: processes that are still starting are nobody's cost.
        self._by_task(payload[:1], len(cells), context, aborted)
        by_engine, by_tasks = [], []
        for _ in range(self._times):
            by_engine.append(self._by_engine(ours, payload.tobytes(), cells))
            by_tasks.append(self._by_task(payload, len(cells), context, aborted))
        self._out.write_bytes(msgspec.json.encode(Moved(self._size, tuple(by_engine), tuple(by_tasks))))

    def _by_engine(self, ours: NvflareEngine, message: bytes, cells: dict[int, str]) -> float:
        started = time.perf_counter()
        exchange = ours.exchange(Phase.MASK, [(member, message) for member in cells], 0)
        seconds = time.perf_counter() - started
        if exchange.dropped or any(len(reply) != len(message) for _, reply in exchange.inbox):
            raise RuntimeError(f"not everything came back: {exchange.dropped}")
        return seconds

    def _by_task(self, payload: np.ndarray, sites: int, context: FLContext, aborted: Signal) -> float:
        sizes = []

        def received(client_task: ClientTask, **_context: object) -> None:
            sizes.append(len(_array(client_task.result)))

        task = Task(MOVE, DXO(DataKind.WEIGHTS, {"payload": payload}).to_shareable(), result_received_cb=received)
        started = time.perf_counter()
        self.broadcast_and_wait(task, context, min_responses=sites, abort_signal=aborted)
        seconds = time.perf_counter() - started
        if sizes != [len(payload)] * sites:
            raise RuntimeError(f"not everything came back: {sizes}")
        return seconds


class MovingExecutor(Executor):
    """Gives back as many bytes as it is sent, either way."""

    def handle_event(self, event_type: str, context: FLContext) -> None:
        if event_type == EventType.START_RUN:
            cell = context.get_engine().get_cell()
            cell.register_request_cb(channel=CHANNEL, topic=DELIVER, cb=self._on_request)

    def execute(self, _name: str, data: Shareable, _context: FLContext, _aborted: Signal) -> Shareable:
        return DXO(DataKind.WEIGHTS, {"payload": _array(data)}).to_shareable()

    def _on_request(self, request: Message) -> Message:
        return pack_reply([bytes(request.payload)])


def _array(data: Shareable) -> np.ndarray:
    return from_shareable(data).data["payload"]

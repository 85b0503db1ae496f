"""What a round adds to the memory of a coordinator or a hospital, in a fresh process: the kernel's own count, in bytes.

SEAL's memory is none that Python could trace. Linux only. `measured` starts the process; `record` writes down the round
that a coordinator is given, message by message, so that nobody else's memory is in the count.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from secagg.charter import Model
from secagg.homomorphic.seal import make_context
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.journal import Journal
from secagg.masking.states import ServerState
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.support.consortium import MODEL_DIGEST, Consortium, make_charter, make_identities, sign_by_all

_REPOSITORY = Path(__file__).parents[2]
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def resident(which: str) -> int:
    """``VmRSS``, what the process has in memory, or ``VmHWM``, the most it had since `forget_peak`; in bytes."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) * 1024


def forget_peak() -> int:
    """Let the kernel count the peak anew; what is in memory now."""
    gc.collect()
    _RESET.write_text("5")
    return resident("VmRSS")


def measured(role: str, folder: Path) -> dict[str, int]:
    """What a fresh process finds of itself: ``coordinator``, ``coordinator that keeps all`` or ``hospital``."""
    command = [sys.executable, "-m", "tests.support.process_memory", role, str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_REPOSITORY)
    return json.loads(found.stdout)


def settle(folder: Path, members: int, parameters: int, scheme: str) -> None:
    """Write down what consortium it is."""
    settings = {"members": members, "parameters": parameters, "scheme": scheme}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")


def record(folder: Path, members: int, parameters: int, scheme: str) -> None:
    """Set a consortium up and run a round, and write down what the hospitals sent, a file for each message."""
    settings = {"scheme": scheme, "model": Model(digest=MODEL_DIGEST, parameters=parameters)}
    latches = folder / "latches"
    latches.mkdir(parents=True)
    consortium = Consortium.make(latches, members, **settings)
    consortium.set_up()
    session, generator = consortium.server.session, np.random.default_rng(1)
    consortium.deliver(consortium.server.begin(1))
    largest = session.ring.largest // members
    vector = session.ring.from_signed(generator.integers(-largest, largest + 1, session.length))
    outbox = []
    for number, client in consortium.clients.items():
        outbox = consortium.server.receive(number, _kept(consortium, number, client.mask(vector, MODEL_DIGEST)))
        _write(folder, consortium)
    while consortium.server.result is None:
        outbox = consortium.answer(consortium.deliver(outbox))
        _write(folder, consortium)
    settle(folder, members, parameters, scheme)
    consortium.close()


def coordinator(folder: Path, journal: Journal = lambda event: None) -> dict[str, int]:
    """What a coordinator's memory grows by from the beginning of a recorded round to its sum, messages included."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    identities = make_identities(settings["members"])
    model = Model(digest=MODEL_DIGEST, parameters=settings["parameters"])
    charter = sign_by_all(make_charter(identities, scheme=settings["scheme"], model=model), identities)
    session = Session(charter, 1, Purpose.TRAINING, 1, charter.charter.epoch_rounds)
    server, outbox, before = MaskingServer(session, journal=journal), [], 0
    server.open()
    if session.encrypted:
        # What SEAL keeps from its first use on, a megabyte, is of no round.
        spec = session.form.spec
        make_context(spec.parameters, spec.encryption, spec.bits)
    for path in sorted(folder.glob("*.message")):
        message = path.read_bytes()
        if server.state is ServerState.READY:
            before = forget_peak()
            server.begin(1)
        outbox = server.receive(int(path.stem.split("-")[1]), message)
    assert peek(outbox[0][1]).stage is Stage.SUM
    return {"growth": resident("VmHWM") - before, "sum": session.sum_bytes}


def hospital(folder: Path) -> dict[str, int]:
    """What a hospital's memory grows by while it makes its message, and while it opens the sum."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    model = Model(digest=MODEL_DIGEST, parameters=settings["parameters"])
    consortium = Consortium.make(folder, settings["members"], scheme=settings["scheme"], model=model)
    consortium.set_up()
    server, session = consortium.server, consortium.server.session
    consortium.deliver(server.begin(1))
    vector = session.ring.zeros(session.length)
    before = forget_peak()
    message = consortium.clients[1].mask(vector, MODEL_DIGEST)
    masking = resident("VmHWM") - before
    others = [(number, consortium.clients[number].mask(vector, MODEL_DIGEST)) for number in range(2, 4)]
    outbox = consortium.answer([(1, message), *others])
    while server.result is None:
        outbox = consortium.answer(consortium.deliver(outbox))
    before = forget_peak()
    consortium.clients[1].receive(outbox[0][1])
    opening = resident("VmHWM") - before
    return {"masking": masking, "opening": opening, "message": len(message), "update": vector.nbytes}


def _kept(consortium: Consortium, number: int, message: bytes) -> bytes:
    consortium.sent.append((number, message))
    return message


def _write(folder: Path, consortium: Consortium) -> None:
    """Write down what was sent since the last time."""
    written = len(list(folder.glob("*.message")))
    for index, (sender, message) in enumerate(consortium.sent, start=written):
        (folder / f"{index:06d}-{sender}.message").write_bytes(message)
    consortium.sent.clear()


if __name__ == "__main__":
    # Each further core is a worker, with a window of memory that both have.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    role, where = sys.argv[1], Path(sys.argv[2])
    match role:
        case "coordinator":
            print(json.dumps(coordinator(where)))
        case "coordinator that keeps all":
            print(json.dumps(coordinator(where, [].append)))
        case _:
            print(json.dumps(hospital(where)))

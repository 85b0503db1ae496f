"""Read by Python as it starts, in the processes of a site under test: halts them where a test asked for it.

A test names a phase and a moment in ``SECAGG_TEST_HALT/plan``. The process that comes there says so by a file
``reached`` and goes no further until there is a file ``go``: what happens to it meanwhile is the test's. With
``SECAGG_TEST_SEED`` noise is drawn from a known seed, with ``SECAGG_TEST_CLOCK`` clocks go wrong by so many seconds.
The product knows nothing of all this.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from datetime import UTC, datetime
from importlib.abc import MetaPathFinder
from pathlib import Path

_FOLDER = Path(os.environ.get("SECAGG_TEST_HALT", "/nonexistent"))
_PHASES = {
    "QUERY": "query",
    "OPEN": "advertise",
    "ROSTER": "deal",
    "DEALS": "ready",
    "BEGIN": "mask",
    "PROPOSE": "agree",
    "UNMASK": "reveal",
    "SUM": "apply",
    "CONCLUDE": "conclude",
    "RELEASE": "release",
}


def _halt(phase, moment):
    try:
        plan = (_FOLDER / "plan").read_text()
    except OSError:
        return
    if plan != f"{phase} {moment}":
        return
    (_FOLDER / "plan").rename(_FOLDER / "reached")
    while not (_FOLDER / "go").exists():
        time.sleep(0.05)
    (_FOLDER / "go").unlink()


def _at_a_hospital(module):
    from secagg.wire.envelope import peek

    receive = module.Attendance.receive

    def halting(attendance, message):
        phase = _PHASES.get(peek(message).stage.name, "")
        _halt(phase, "before")
        replies = receive(attendance, message)
        _halt(phase, "after")
        return replies

    module.Attendance.receive = halting


def _at_the_coordinator(module):
    exchange = module.NvflareEngine.exchange

    def halting(engine, phase, outbox, round_number):
        _halt(str(phase), "before")
        found = exchange(engine, phase, outbox, round_number)
        _halt(str(phase), "after")
        return found

    module.NvflareEngine.exchange = halting


def _known_noise(module):
    from dp.randomness import secure_generator

    seed = os.environ["SECAGG_TEST_SEED"].encode().ljust(16, b".")
    module.secure_generator = lambda *key: secure_generator(*(key or (seed,)))


def _wrong_clock(module):
    module.write_time = lambda: datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")


_CHANGES = {
    "training.field.attendance": _at_a_hospital,
    "training.engines.nvflare.engine": _at_the_coordinator,
}
if "SECAGG_TEST_SEED" in os.environ:
    _CHANGES["training.contributing"] = _known_noise
if "SECAGG_TEST_CLOCK" in os.environ:
    _time, _shift = time.time, float(os.environ["SECAGG_TEST_CLOCK"])
    time.time = lambda: _time() + _shift
    _CHANGES["training.clock"] = _wrong_clock


class _Finder(MetaPathFinder):
    """Changes a module as soon as it has been imported."""

    def find_spec(self, name, _path=None, _target=None):
        change = _CHANGES.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def changed(module):
            load(module)
            change(module)

        spec.loader.exec_module = changed
        return spec


sys.meta_path.insert(0, _Finder())

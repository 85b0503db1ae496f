"""Flower SecAgg+ by its own functions, in an environment of its own: `benchmarks/flower/driver.py` calls them.

Knows where that environment is, and how the driver is spoken to. Imports nothing of Flower.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import benchmarks.flower
from benchmarks.sweep.case import Case
from benchmarks.sweep.costs import mean_or_none
from benchmarks.sweep.measurement import Cost, Kind, Measurement, Party
from secagg.errors import InputError
from training.testbed.meter import Phase

DRIVER: Final = Path(benchmarks.flower.__file__).parent / "driver.py"
HOW: Final = (
    "`make flower` makes its environment; elsewhere set SECAGG_FLOWER_PYTHON to a Python that has what "
    f"{DRIVER.parent / 'requirements.txt'} lists"
)
# CPU seconds, until which each work is done again; of many hospitals a round takes longer, and is done once. What a
# hospital does is timed before it and after it as well: a machine that others use is another some seconds later.
_WORKS: Final = (("hospital", 1.2), ("round", 2.5), ("hospital", 1.2))
LACKS: Final = (
    "keys are set up anew for every round; the sum is not checked; no memory, of bytes the masked vector's alone"
)


def python() -> Path:
    """Flower's interpreter, whether or not it is there."""
    return Path(os.environ.get("SECAGG_FLOWER_PYTHON", Path(sys.prefix) / "flower" / "bin" / "python"))


def missing() -> InputError:
    """What to say where there is none."""
    return InputError("no-flower", "Flower is not on this machine.", culprit=str(python()), remedy=f"{HOW}.")


def measure(case: Case, turn: int, kind: Kind) -> Measurement:
    """One hospital's part, and the coordinator's.

    Raises:
        InputError: ``no-flower``.
    """
    if not python().exists():
        raise missing()
    order = {
        "clock": "cpu",
        "parameters": case.parameters,
        "hospitals": case.hospitals,
        "threshold": case.threshold,
        "dropped": case.dropped,
    }
    orders = (json.dumps(order | {"work": work, "seconds": seconds}) + "\n" for work, seconds in _WORKS)
    command = [str(python()), str(DRIVER)]
    done = subprocess.run(command, input="".join(orders), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError("flower-failed", "Flower's functions failed.", culprit=done.stderr[-500:], remedy=f"{HOW}.")
    versions, *rounds = (json.loads(line) for line in done.stdout.splitlines())

    def cost(phase: Phase, party: Party, *parts: str, sent: float | None = None) -> Cost:
        timed = [one for one in rounds if one.keys() >= set(parts)]
        return Cost(
            phase=phase,
            party=party,
            cpu=sum(min(one[part] for one in timed) for part in parts),
            yardsticks=mean_or_none(sum(one["yardsticks"][part] for part in parts) for one in timed),
            bytes_up=sent,
        )

    costs = (
        cost("set-up", "hospital", "shares"),
        cost("encoding", "hospital", "encode"),
        cost("round", "hospital", "mask", sent=rounds[0]["bytes"]),
        cost("round", "coordinator", "add", "unmask"),
    )
    return Measurement(
        case=case,
        turn=turn,
        kind=kind,
        real_hospitals=1,
        costs=costs if kind == "time" else (),
        error=None,
        by=f"flwr {versions['flwr']}, numpy {versions['numpy']}",
        lacks=LACKS,
    )

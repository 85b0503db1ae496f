"""The coordinator's sum of encrypted vectors, alone in a fresh process, and how much memory it takes.

``python -m benchmarks.coordinator PARAMETER_SET PARAMETERS FIELD_BITS HOSPITALS CORES``: the vectors come on standard
input. The answer is how far the resident memory of this process and its workers rose above what it was before the
first of them, in bytes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from secagg.encoding import Ring
from secagg.homomorphic import vectors
from secagg.homomorphic.form import EncryptedForm, exact_form
from secagg.homomorphic.parameters import ALLOWED
from secagg.processes import team

# Three blocks: there is one for a worker.
_FEW_PARAMETERS = 20_000
_START_SECONDS = 1.5


def processes() -> list[Path]:
    """This one and its workers."""
    own = os.getpid()
    children = Path(f"/proc/self/task/{own}/children").read_text(encoding="ascii").split()
    return [Path(f"/proc/{number}") for number in (own, *children)]


def memory(field: str) -> int:
    """Of all processes: VmRSS, what is resident, or VmHWM, the most that was."""
    lines = [line.split() for one in processes() for line in (one / "status").read_text(encoding="ascii").splitlines()]
    return sum(1024 * int(line[1]) for line in lines if line[0] == f"{field}:")


def add_up(form: EncryptedForm, received: Iterator[bytes]) -> None:
    """As a round does: a vector is gone before the next one comes."""
    total = vectors.CiphertextSum(form)
    for data in received:
        total.add(memoryview(data))
        del data
    total.take(memoryview(bytearray(form.sum_size)))


def main(name: str, parameters: int, field_bits: int, hospitals: int, cores: int) -> None:
    """Warm up, then measure."""
    team.usable_cores = lambda: cores
    vectors.PARALLEL_ADD_FROM_BLOCKS = 0
    chosen, ring = ALLOWED[name], Ring(field_bits)
    few = exact_form(chosen, ring, _FEW_PARAMETERS, hospitals)
    for _ in range(2):
        add_up(few, iter([bytes(few.fresh_size)] * 2))
        # Workers take a moment to start, and are not waited for.
        time.sleep(_START_SECONDS if cores > 1 else 0)
    form = exact_form(chosen, ring, parameters, hospitals)
    before = memory("VmRSS")
    for process in processes():
        # The most that was resident counts from here on.
        (process / "clear_refs").write_text("5", encoding="ascii")
    add_up(form, (sys.stdin.buffer.read(form.fresh_size) for _ in range(hospitals)))
    print(memory("VmHWM") - before)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

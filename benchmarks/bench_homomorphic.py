"""Encrypted sums beside NVFlare's: bytes, and what it takes to encrypt, add up and decrypt, by turns, on one core.

Same values on both sides: 1 M parameters of 16 bits, 100 hospitals. The BFV is that of ``bfv`` and of ``double-lock``,
whose masks are timed apart.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from benchmarks.measure import best_by_turns, by_turns, cpu_seconds, median_ratio
from benchmarks.sizes import SHORT, size
from benchmarks.sweep.nvflare_calls import NVFlare
from secagg.charter.thresholds import smallest_threshold
from secagg.encoding import Ring
from secagg.homomorphic.cipher import Cipher
from secagg.homomorphic.form import EncryptedForm, approximate_form, exact_form
from secagg.homomorphic.parameters import ALLOWED, Encryption
from secagg.homomorphic.vectors import CiphertextSum, decrypt_vector, encrypt_vector
from secagg.masking.keystream import SignedKey, add_masks, in_one_process
from secagg.masking.sizes import Shape
from secagg.masking.tags import tag_size
from secagg.processes import team
from secagg.processes.cores import usable_cores
from training.choices import USUAL_EPOCH_ROUNDS
from training.costs.trial import PhaseCost, Trial

ROOT = Path(__file__).parents[1]
PARAMETERS = size(1_000_000, 50_000)
HOSPITALS = 100
# What `charter new` chooses for models of these sizes.
CHOSEN = ALLOWED[size("n8192-q60", "n4096-q60")]
REAL_HOSPITALS = size(HOSPITALS, 6)
RING = Ring(23)
SIXTEEN_BITS = 1 << 15
FORMS = {Encryption.BFV: exact_form, Encryption.CKKS: approximate_form}
SCHEMES = {Encryption.BFV: "bfv, double-lock", Encryption.CKKS: "ckks"}
TURNS = {"encrypt": size(12, 1, 4), "add": size(60, 2, 12), "decrypt": size(16, 1, 8)}
# How often we do in a turn what NVFlare does once, so that all are disturbed alike by whoever else uses the machine.
TIMES = {
    Encryption.BFV: {"encrypt": 4, "add": 3, "decrypt": 4},
    Encryption.CKKS: {"encrypt": 3, "add": 3, "decrypt": 3},
}
TARGETS = {"encrypt": 5.0, "add": 6.0, "decrypt": 3.0}
CORE_TURNS = {"encrypt": size(40, 2, 8), "add": size(150, 2, 30), "decrypt": size(60, 2, 20)}
START_SECONDS = size(1, 0)
SUMMED = size(50, 4)
FEW_PARAMETERS = 1_000
NAME = f"{PARAMETERS / 1e6:g} M, n = {HOSPITALS}"


def values() -> np.ndarray:
    return np.random.default_rng(1).integers(-SIXTEEN_BITS, SIXTEEN_BITS, PARAMETERS)


class Ours:
    """A hospital and the coordinator, with all that they do to a vector but sign the message around it."""

    def __init__(self, encryption: Encryption) -> None:
        assert RING.largest // HOSPITALS >= SIXTEEN_BITS
        self.form: EncryptedForm = FORMS[encryption](CHOSEN, RING, PARAMETERS, HOSPITALS)
        self.cipher = Cipher(self.form.spec, os.urandom(64))
        self.vector = RING.from_signed(values())
        self.fresh = memoryview(bytearray(self.form.fresh_size))
        self.encrypt()
        total = CiphertextSum(self.form)
        for _ in range(3):
            total.add(self.fresh)
        self.total = memoryview(bytearray(self.form.sum_size))
        total.take(self.total)
        np.testing.assert_array_equal(RING.to_signed(self.decrypt()), 3 * values())

    def begin(self) -> None:
        """A new sum, with a vector in it."""
        self._sum = CiphertextSum(self.form)
        self.add()

    def end(self) -> None:
        """Give back whatever helps with the sum."""
        self._sum.take(self.total)

    def encrypt(self) -> None:
        """From ring elements to bytes."""
        encrypt_vector(self.form.codec.pack(self.vector), self.form, self.cipher, self.fresh)

    def add(self) -> None:
        """Check, load and add what one hospital sent."""
        self._sum.add(self.fresh)

    def decrypt(self) -> np.ndarray:
        """From the sum's bytes to ring elements."""
        return self.form.codec.unpack(decrypt_vector(self.total, self.form, self.cipher), PARAMETERS)


def times(work: Callable[[], object], count: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(count):
            work()

    return repeated


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def nvflare() -> NVFlare:
    return NVFlare()


@pytest.fixture(scope="module")
def theirs_encrypted(nvflare: NVFlare) -> bytes:
    return nvflare.encrypt(values().astype(np.float64))


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("work", TURNS)
def bench_beside_nvflare(benchmark, figure, nvflare, theirs_encrypted, work):
    reals, data = values().astype(np.float64), theirs_encrypted
    total = nvflare.load(data)
    whole, mean = total.serialize(), nvflare.mean(total, 1)
    theirs = {
        "encrypt": {"NVFlare": lambda: nvflare.encrypt(reals)},
        # It adds with a copy of the total.
        "add": {
            "NVFlare": lambda: nvflare.add(total, data),
            "NVFlare, were it to add in place": lambda: nvflare.add_in_place(total, data),
        },
        # It sends the mean, which has lost a prime of the modulus and, with it, precision.
        "decrypt": {
            "NVFlare": lambda: nvflare.decrypt(mean),
            "NVFlare, were it to send the sum": lambda: nvflare.decrypt(whole),
        },
    }[work]
    np.testing.assert_allclose(nvflare.decrypt(mean), reals, atol=0.1)
    ours = {encryption: Ours(encryption) for encryption in FORMS}
    for one in ours.values():
        one.begin()
    counts = {encryption: 1 if SHORT else TIMES[encryption][work] for encryption in FORMS}
    repeated = [times(getattr(ours[encryption], work), count) for encryption, count in counts.items()]
    taken: list[tuple[float, ...]] = []
    works = *theirs.values(), *repeated
    benchmark.pedantic(lambda: taken.extend(by_turns(TURNS[work], *works, measure=cpu_seconds)), rounds=1)
    seconds = dict(zip(theirs, taken, strict=False))
    mine = {e: [turn / counts[e] for turn in turns] for e, turns in zip(counts, taken[len(theirs) :], strict=True)}
    benchmark.extra_info.update({"nvflare": seconds, "ours": {str(e): turns for e, turns in mine.items()}})
    for name, turns in seconds.items():
        figure(f"{name}: {work}, {NAME}", median(turns) * 1e3, "ms")
    for encryption, turns in mine.items():
        scheme = SCHEMES[encryption]
        figure(f"{scheme}: {work}, {NAME}", median(turns) * 1e3, "ms")
        for name, others in seconds.items():
            # Where there are two ways, the target is for the same work as ours, which adds in place and opens a sum.
            target = {"at_least": TARGETS[work]} if name == [*seconds][-1] else {}
            ratio = median_ratio(others, turns)
            figure(f"{scheme}: {work}, {NAME}: times as fast as {name}", ratio, "", **target)


@pytest.mark.usefixtures("one_core")
def bench_masks_of_double_lock(benchmark, figure):
    """What double lock adds at a hospital, twice: masks go on before encryption, and self-masks off the sum."""
    ours = Ours(Encryption.BFV)
    packed = ours.form.codec.pack(ours.vector)
    keys = [SignedKey(bytes([number]) * 32, 1 if number % 2 else -1) for number in range(HOSPITALS)]

    def mask() -> None:
        add_masks(packed, keys, [0], tag_size(RING), in_one_process)

    best: list[float] = []
    works = mask, ours.encrypt
    benchmark.pedantic(lambda: best.extend(best_by_turns(TURNS["add"], *works, measure=cpu_seconds)), rounds=1)
    figure(f"double-lock: masks with {HOSPITALS - 1} peers and its own, {NAME}", best[0] * 1e3, "ms")
    figure("double-lock: masks, of encrypting", best[0] / best[1], "")


class OtherProcess:
    """Does the same work in a process of its own, at the same time as this one: nothing is shared."""

    def __init__(self) -> None:
        body = "import sys\nfrom benchmarks.bench_homomorphic import Ours, team\nteam.usable_cores = lambda: 1\n"
        body += "ours = Ours('bfv')\nours.begin()\nprint(flush=True)\n"
        body += "for line in sys.stdin:\n    getattr(ours, line.strip())()\n    print(flush=True)"
        self._process = subprocess.Popen(
            [sys.executable, "-c", body], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._process.stdout.readline()

    def beside(self, name: str, work: Callable[[], object]) -> None:
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        work()
        self._process.stdout.readline()

    def end(self) -> None:
        self._process.communicate()


def on_one_core(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> Callable[[], None]:
    def limited() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(team, "usable_cores", lambda: 1)
            work()

    return limited


@pytest.mark.parametrize("work", TURNS)
def bench_all_cores(benchmark, figure, monkeypatch, work):
    alone, together, other = Ours(Encryption.BFV), Ours(Encryption.BFV), OtherProcess()
    on_one_core(monkeypatch, alone.begin)()
    if work == "add":
        together.begin()
    one, both = getattr(alone, work), getattr(together, work)
    # Its worker takes a moment to start, and is not waited for.
    both()
    time.sleep(START_SECONDS)
    both()
    works = [one, lambda: other.beside(work, one)]
    works = [*(on_one_core(monkeypatch, each) for each in works), both]
    best: list[float] = []
    benchmark.pedantic(lambda: best.extend(best_by_turns(CORE_TURNS[work], *works)), rounds=1)
    other.end()
    if work == "add":
        together.end()
    cores = usable_cores()
    target = {"at_least": 1.7} if cores == 2 else {}
    figure(f"bfv, double-lock: {work}, {NAME}, {cores} cores, of one", best[0] / best[2], "", **target)
    figure(f"  for comparison: {work} in two processes at once, of once", 2 * best[0] / best[1], "")


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("cores", size([1, 2], [1]))
def bench_coordinator_memory(benchmark, figure, cores):
    ours = Ours(Encryption.BFV)
    form = exact_form(CHOSEN, RING, PARAMETERS, SUMMED)
    assert form.fresh_size == ours.form.fresh_size
    command = [
        sys.executable,
        "-m",
        "benchmarks.coordinator",
        CHOSEN.name,
        *map(str, (PARAMETERS, RING.bits, SUMMED, cores)),
    ]
    grown = []

    def measure() -> None:
        sent = itertools.repeat(ours.fresh, SUMMED)
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdin.writelines(sent)
            process.stdin.close()
            grown.append(int(process.stdout.read()))

    benchmark.pedantic(measure, rounds=1)
    what = f"coordinator's memory, sum of {SUMMED} x {PARAMETERS / 1e6:g} M, {cores} cores, in ciphertext vectors"
    figure(what, grown[0] / form.sum_size, "", at_most=3)


# The vectors of bfv are those of double-lock, and less is around them.
@pytest.mark.parametrize("scheme", ["double-lock", "ckks", *size(["bfv"], [], [])])
def bench_encrypted_wire_bytes(benchmark, figure, tmp_path, nvflare, theirs_encrypted, scheme):
    """Vectors of all the parameters; what is around them is counted in a round of few parameters.

    With it a round's part of a key set-up, which takes as many bytes whatever the number of parameters.
    """
    form = FORMS[Encryption.CKKS if scheme == "ckks" else Encryption.BFV](CHOSEN, RING, PARAMETERS + 1, HOSPITALS)
    threshold = smallest_threshold(REAL_HOSPITALS, 1)
    epoch = USUAL_EPOCH_ROUNDS
    few = Shape(REAL_HOSPITALS, threshold, 0, FEW_PARAMETERS + 1, RING.bits, epoch, graph=None, scheme=scheme)
    costs: list[PhaseCost] = []
    with Trial(tmp_path, few) as trial:
        set_up = trial.set_up().traffic
        benchmark.pedantic(lambda: costs.append(trial.round()), rounds=1)
    around_up = costs[0].traffic.bytes_up - few.vector_bytes + set_up.bytes_up / epoch
    around_down = costs[0].traffic.bytes_down - few.sum_bytes + set_up.bytes_down / epoch
    up, down = (form.fresh_size + around_up) / PARAMETERS, (form.sum_size + around_down) / PARAMETERS
    what = f"{scheme}, n = {REAL_HOSPITALS}, 16-bit values in {RING.bits} bits, 1/{epoch} of a set-up included"
    figure(f"{what}: sent", up, "B/par", at_most=8)
    figure(f"{what}: received", down, "B/par", at_most=8)
    if scheme == "ckks":
        mean = nvflare.mean(nvflare.load(theirs_encrypted), 1)
        figure("NVFlare: sent", len(theirs_encrypted) / PARAMETERS, "B/par")
        figure("NVFlare: received", len(mean) / PARAMETERS, "B/par")

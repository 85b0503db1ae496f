"""Beside Flower SecAgg+: its own functions (see `benchmarks/flower/driver.py`) and ours, by turns, same work, one core.

A turn is a mask, a vector added, a piece of the sum unmasked: of 1 M numbers a fraction of a second. So both meet the
same moments.

Ours are the real parties with everything that they do besides: signatures, commitments, checks, the latch on disk.
Three things of which Flower's functions have no counterpart are told apart, without a target: keys made (Flower's are
not timed either), the coordinator's checks of a key set-up, the hospital's check of the sum. Ours use every core where
there are more; Flower's functions use one. How much that helps is told apart as well.
`make bench-flower` makes Flower's environment and runs this.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import mean, median

import pytest

from benchmarks.measure import seconds
from benchmarks.sizes import size
from benchmarks.sweep.flower import DRIVER, python
from secagg.charter import Model
from secagg.encoding.ring import RingVector
from secagg.masking import MaskingClient
from secagg.masking.keystream import MaskStreams, in_one_process
from secagg.masking.prg import CHUNK_BYTES
from secagg.masking.states import ServerState
from tests.support.consortium import MODEL_DIGEST, Consortium

PYTHON = python()
HOSPITALS, THRESHOLD, DROPPED = 50, 34, frozenset(range(46, 51))
UPDATES = size([1_000_000, 25_000_000], [20_000], [1_000_000])
ROUNDS = {1_000_000: size(3, 1, 1), 25_000_000: 1, 20_000: 1}
# Flower masks once after so many of ours. The median counts on both sides: a best would be better for more.
MASKS_BETWEEN = {1_000_000: 5, 25_000_000: 15, 20_000: 15}
# What Flower's functions do too, and what they do not.
PARTS = ("shares", "mask", "add", "unmask")
BESIDES = ("keys", "checks", "sum")
# Ours on every core is a comparison without a target.
WITH_ALL_CORES = size(True, True, False)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and processes that it starts, on one core; where a system cannot, there are no ratios."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system keeps no process on one core")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Flower:
    """The driver, in Flower's environment."""

    def __init__(self) -> None:
        command = [str(PYTHON), str(DRIVER)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = json.loads(self._process.stdout.readline())

    def do(self, work: str, parameters: int) -> dict[str, float]:
        """Seconds by part of one work that the driver knows."""
        order = {"work": work, "parameters": parameters, "hospitals": HOSPITALS}
        order |= {"threshold": THRESHOLD, "dropped": len(DROPPED)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture
def flower() -> Iterator[Flower]:
    if not PYTHON.exists():
        pytest.skip("no environment with Flower here; `make flower` makes it")
    with one_core():
        flower = Flower()
    yield flower
    flower.end()


class Interludes:
    """What Flower does between two steps of ours: a round piece by piece, and masks besides.

    Attributes:
        masks: seconds of each of its masks.
        unmasking: seconds that our unmasking was interrupted for.
    """

    def __init__(self, flower: Flower, parameters: int) -> None:
        self.masks: list[float] = []
        self.unmasking = 0.0
        self._flower, self._parameters = flower, parameters
        self._go_on(1)

    def after_mask(self, ours: int) -> None:
        """Ours was masked and added; it adds one as well."""
        if ours % MASKS_BETWEEN[self._parameters] == 0:
            self.masks.append(self._flower.do("mask", self._parameters)["mask"])
        self._go_on(1)

    def expand(self, streams: MaskStreams, length: int) -> Iterator[tuple[int, RingVector]]:
        """An `Expander`: what our coordinator unmasks with, interrupted after each piece for some of Flower's."""
        theirs, pieces = self._left, -(-length * streams.dtype.itemsize // CHUNK_BYTES)
        for done, piece in enumerate(in_one_process(streams, length), start=1):
            yield piece
            due = theirs * done // pieces - (theirs - self._left)
            self.unmasking += seconds(partial(self._go_on, due))

    def end(self) -> dict[str, float]:
        """Seconds by part of Flower's round."""
        self._go_on(self._left)
        return self._round

    @property
    def _left(self) -> int:
        return int(self._round["left"])

    def _go_on(self, pieces: int) -> None:
        for _ in range(pieces):
            self._round = self._flower.do("piece", self._parameters)


class OurRound:
    """A whole epoch of one round, of which the parts of hospital 1 and of the coordinator are timed.

    Args:
        after_mask: called after every hospital's mask is added, outside of the time.
    """

    def __init__(self, folder: Path, parameters: int, after_mask: Callable[[int], object] = lambda _: None) -> None:
        model = Model(digest=MODEL_DIGEST, parameters=parameters)
        self.consortium = Consortium.make(
            folder, HOSPITALS, model=model, epoch_rounds=1, threshold=THRESHOLD, max_colluding=1
        )
        self.vector = self.consortium.server.session.ring.zeros(parameters + 1)
        self.spent: Counter[str] = Counter()
        self.masks: list[float] = []
        self._after_mask = after_mask

    def run(self) -> Counter[str]:
        consortium, server = self.consortium, self.consortium.server
        outbox = self._hospitals(self._coordinator("checks", server.open), "keys")
        outbox = self._to_coordinator(outbox, "checks")
        outbox = self._to_coordinator(self._hospitals(outbox, "shares"), "checks")
        self._hospitals(outbox, "shares")
        self._hospitals(self._coordinator("add", lambda: server.begin(1)), "shares")
        outbox = []
        for number, client in consortium.clients.items():
            if number not in DROPPED:
                outbox += self._to_coordinator([(number, self._mask(client))], "add")
                self._after_mask(len(self.masks))
        outbox = outbox or self._coordinator("add", server.timeout)
        while server.state is not ServerState.READY:
            outbox = self._to_coordinator(self._hospitals(outbox, "shares"), "unmask")
        self._hospitals(outbox, "sum")
        assert server.result is not None
        assert set(server.result.survivors.numbers) == set(consortium.clients) - DROPPED
        self.spent["mask"] = median(self.masks)
        return self.spent

    def _mask(self, client: MaskingClient) -> bytes:
        """The same work at every hospital."""
        message = []
        self.masks.append(seconds(lambda: message.append(client.mask(self.vector, MODEL_DIGEST))))
        return message[0]

    def _hospitals(self, outbox: list[tuple[int, bytes]], part: str) -> list[tuple[int, bytes]]:
        replies = []
        for number, message in outbox:
            receive = self.consortium.clients[number].receive
            answers = self._of_one(number, part, lambda receive=receive, message=message: receive(message))
            replies += [(number, answer) for answer in answers]
        return replies

    def _to_coordinator(self, replies: list[tuple[int, bytes]], part: str) -> list[tuple[int, bytes]]:
        receive, outbox = self.consortium.server.receive, []
        for number, reply in replies:
            outbox += self._coordinator(part, lambda number=number, reply=reply: receive(number, reply))
        return outbox

    def _of_one(self, number: int, part: str, work: Callable[[], object]):
        return self._timed(part if number == 1 else "others", work)

    def _coordinator(self, part: str, work: Callable[[], object]):
        return self._timed(part, work)

    def _timed(self, part: str, work: Callable[[], object]):
        result = []
        self.spent[part] += seconds(lambda: result.append(work()))
        return result[0]


@pytest.mark.parametrize("parameters", UPDATES)
def bench_beside_flower(benchmark, figure, monkeypatch, tmp_path, flower, parameters):
    ours: list[Counter[str]] = []
    spread: list[Counter[str]] = []
    theirs: list[dict[str, float]] = []
    masks: list[float] = []

    def measure() -> None:
        for number in range(ROUNDS[parameters]):
            with one_core(), monkeypatch.context() as patched:
                interludes = Interludes(flower, parameters)
                patched.setattr("secagg.masking.unmasking.over_processes", interludes.expand)
                ours.append(OurRound(tmp_path / f"{number}", parameters, interludes.after_mask).run())
                ours[-1]["unmask"] -= interludes.unmasking
                theirs.append(interludes.end())
                masks.extend(interludes.masks)
            if WITH_ALL_CORES:
                spread.append(OurRound(tmp_path / f"{number}-spread", parameters).run())

    benchmark.pedantic(measure, rounds=1)
    our, their, besides = _means(ours, PARTS), _means(theirs, PARTS), _means(ours, BESIDES)
    their["mask"] = median(masks)
    benchmark.extra_info.update(ours=our, besides=besides, flower=their, versions=flower.versions)
    name = f"{parameters / 1e6:g} M, n = {HOSPITALS}"
    of_flower = f"flwr {flower.versions['flwr']}"
    figure(f"{of_flower}, masking one update, {name}", their["mask"] * 1e3, "ms")
    figure(f"ours: MaskingClient.mask, whole, on one core, {name}", our["mask"] * 1e3, "ms")
    ratio = their["mask"] / our["mask"]
    figure(f"masking, both on one core, {name}: times as fast as {of_flower}", ratio, "", at_least=6)
    figure(f"{of_flower}: hospital's shares, threshold {THRESHOLD}, {name}", their["shares"] * 1e3, "ms")
    figure(f"ours: sharing in an epoch of one round, agreeing, revealing, {name}", our["shares"] * 1e3, "ms")
    what = f"adding, rebuilding, unmasking, {len(DROPPED)} dropped, {name}"
    figure(f"{of_flower}: {what}", (their["add"] + their["unmask"]) * 1e3, "ms")
    figure(f"ours: {what}", (our["add"] + our["unmask"]) * 1e3, "ms")
    ratio = sum(their.values()) / sum(our.values())
    whole = f"a round, a hospital and the coordinator, both on one core, {name}: times as fast as {of_flower}"
    figure(whole, ratio, "", at_least=20)
    for part, what in zip(BESIDES, ("keys made", "coordinator's checks of a set-up", "the sum checked"), strict=True):
        figure(f"ours: {what}, {name}", besides[part] * 1e3, "ms")
    ratio = sum(their.values()) / (sum(our.values()) + sum(besides.values()))
    figure(f"{whole}, these three of ours included", ratio, "")
    if spread:
        our_spread = _means(spread, PARTS)
        benchmark.extra_info.update(ours_on_all_cores=our_spread)
        on_all = f"ours on {len(os.sched_getaffinity(0))} cores, Flower's functions on one, {name}"
        figure(f"masking, {on_all}", their["mask"] / our_spread["mask"], "")
        figure(f"a round, {on_all}", sum(their.values()) / sum(our_spread.values()), "")


def _means(rounds: list[Counter[str]] | list[dict[str, float]], parts: tuple[str, ...]) -> dict[str, float]:
    return {part: mean(spent[part] for spent in rounds) for part in parts}

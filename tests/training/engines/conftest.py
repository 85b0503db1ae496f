"""The engines that the conformance suite is run over. Another engine becomes one more entry of `ENGINES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.scripted import FORGET, MortalParty
from tests.support.unreliable import UnreliableEngine
from training.engines.base import Engine, Phase
from training.engines.embedded import EmbeddedEngine

MEMBERS = (1, 2, 3)
NOBODY = 4
"""A member's number that is in the outbox and nowhere else."""


@dataclass(frozen=True)
class UnderTest:
    """An engine with scripted parties 1, 2 and 3 behind it.

    Attributes:
        revive: brings parties back that have died.
        hurried: an engine over the same parties that waits a few seconds at most; None where nobody can be too late.
    """

    engine: Engine
    revive: Callable[[], None]
    hurried: Engine | None = None

    @property
    def soonest(self) -> Engine:
        """The engine that waits least."""
        return self.hurried or self.engine


Opening = Callable[[], UnderTest]
"""Makes new engines over the same parties, as every epoch does."""


@contextmanager
def embedded(_folder: Path) -> Iterator[Opening]:
    parties = {member: MortalParty() for member in MEMBERS}
    yield lambda: UnderTest(EmbeddedEngine(parties), lambda: _revive(parties))


@contextmanager
def in_memory(_folder: Path) -> Iterator[Opening]:
    parties = {member: MortalParty() for member in MEMBERS}
    yield lambda: UnderTest(UnreliableEngine(parties), lambda: _revive(parties))


@contextmanager
def nvflare(folder: Path) -> Iterator[Opening]:
    pytest.importorskip("nvflare", reason="the extra nvflare is not installed")
    from nvflare.apis.signal import Signal

    from tests.support.nvflare_cells import Cells
    from training.engines.nvflare.deadlines import Deadlines
    from training.engines.nvflare.engine import NvflareEngine

    cells = Cells(folder, MEMBERS)

    def engine(seconds: float) -> NvflareEngine:
        return NvflareEngine(cells.cell, cells.names, Deadlines(seconds, seconds, seconds), Signal())

    try:
        yield lambda: UnderTest(engine(60.0), cells.start_missing, engine(10.0))
    finally:
        cells.close()


ENGINES: Mapping[str, Callable[[Path], AbstractContextManager[Opening]]] = {
    "embedded": embedded,
    "in memory": in_memory,
    "nvflare": nvflare,
}


@pytest.fixture(scope="module", params=ENGINES)
def opening(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opening]:
    with ENGINES[request.param](tmp_path_factory.mktemp("engine")) as opening:
        yield opening


@pytest.fixture
def parties(opening: Opening) -> UnderTest:
    """All parties there, without memory, behind engines that have not met them."""
    opened = opening()
    opened.revive()
    exchange = opened.engine.exchange(Phase.QUERY, [(member, FORGET) for member in MEMBERS], 0)
    assert exchange.dropped == frozenset()
    return opened


@pytest.fixture
def engine(parties: UnderTest) -> Engine:
    return parties.engine


def _revive(parties: Mapping[int, MortalParty]) -> None:
    for party in parties.values():
        party.alive = True

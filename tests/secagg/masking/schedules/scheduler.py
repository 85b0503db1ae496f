"""Random schedules: one seed decides a consortium, how rough its network is, and everything that happens.

Knows what may happen and how often. What it does to real parties is in `world`, what must not come of it in `oracle`.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from secagg.charter.thresholds import smallest_threshold
from secagg.masking import MaskingClient
from secagg.masking.states import ServerState
from secagg.masking.verification import ForgedSumError
from secagg.wire import COORDINATOR, Stage
from secagg.wire.envelope import peek
from tests.secagg.masking.schedules.oracle import Oracle
from tests.secagg.masking.schedules.world import SETTLED, Factory, Flight, Shape, World, everybody_with_everybody

_MOST_STEPS = 500
_RAM_DISK = Path("/dev/shm")


class Twist(StrEnum):
    """What else than faults may happen.

    NETWORK: messages reach the wrong hospital, or come in another's name, or come again much later.
    DOUBLE_LIFE: the coordinator runs two servers at once, and each asks for its own survivors.
    """

    NONE = "faults only"
    NETWORK = "a hostile network"
    DOUBLE_LIFE = "a coordinator with a double life"


@dataclass(frozen=True)
class Weights:
    """How often each thing happens, relative to an ordinary delivery in any order, which is 100."""

    duplicate: float
    drop: float
    hold: float
    timeout: float
    restart: float
    abandon: float


STILL = Weights(duplicate=1, drop=0.05, hold=0.05, timeout=0.05, restart=0.02, abandon=0.01)
CALM = Weights(duplicate=2, drop=0.5, hold=0.5, timeout=0.2, restart=0.1, abandon=0.02)
ROUGH = Weights(duplicate=8, drop=4, hold=4, timeout=0.7, restart=0.7, abandon=0.1)
STORM = Weights(duplicate=15, drop=10, hold=10, timeout=2, restart=1.5, abandon=0.5)
_LOST = (Stage.BEGIN, Stage.MASKED, Stage.PROPOSE, Stage.AGREE, Stage.UNMASK, Stage.REVEAL, Stage.SUM)
# Who leads a double life is after two survivor sets of one round, and does not say how one ended.
_LOST_IN_A_DOUBLE_LIFE = {Stage.MASKED: 0.2, Stage.SUM: 0.8, Stage.ABORT: 0.9}
SET_UP = (ServerState.ADVERTISING, ServerState.DEALING, ServerState.ACKNOWLEDGING)


@dataclass(frozen=True)
class Outcome:
    """What one schedule came to.

    Attributes:
        ends: rounds and set-ups by how they ended, "sum" or a reason; without the clean epoch at the end.
        refusals: of the hospitals, by reason.
        pinned: in the clean epoch, a step could be repeated over an earlier cohort only: see `docs/sharp-edges.md`.
        violations: what must not have happened; empty where all was well.
    """

    seed: int
    twist: Twist
    shape: Shape
    ends: Counter[str]
    refusals: Counter[str]
    pinned: bool
    violations: list[str]
    trace: list[str] = field(repr=False)

    def __str__(self) -> str:
        steps = "\n".join(f"  {number:4} {line}" for number, line in enumerate(self.trace, 1))
        wrongs = "\n".join(f"  {wrong}" for wrong in self.violations)
        return f"seed {self.seed}, {self.twist.value}, {self.shape}\n{steps}\nwhat must not happen:\n{wrongs}"


def run_schedule(
    seed: int,
    *,
    factory: Factory = everybody_with_everybody,
    client: type[MaskingClient] = MaskingClient,
    world_type: type[World] = World,
    twist: Twist | None = None,
) -> Outcome:
    """Run one schedule to its end, then one clean epoch, and judge it.

    Args:
        factory: makes the consortium: another kind of charter can have its own.
        client, world_type: may be weakened builds, for controls.
        twist: the seed's, if none is given.
    """
    generator = random.Random(seed)
    drawn = generator.choices(list(Twist), (60, 25, 15))[0]
    twist = drawn if twist is None else twist
    shape = _shape(generator, twist)
    with tempfile.TemporaryDirectory(dir=_RAM_DISK if _RAM_DISK.is_dir() else None) as folder:
        consortium = factory(Path(folder), shape, client)
        world = world_type(consortium, Oracle(consortium.charter, consortium.server.session.share_threshold))
        schedule = Schedule(world, generator, twist)
        try:
            pinned = schedule.run()
        except ForgedSumError as error:
            pinned = False
            world.wrongs.append(f"stopped: a hospital says {error.reason}, though nobody forged a sum")
        except Exception as error:
            pinned = False
            world.wrongs.append(f"unexpected: {type(error).__name__}: {error}")
        finally:
            world.close()
    violations = [*world.wrongs, *world.oracle.violations()]
    return Outcome(seed, twist, shape, schedule.ends, world.refusals, pinned, violations, world.trace)


@dataclass
class Schedule:
    """One world, and the dice."""

    world: World
    dice: random.Random
    twist: Twist
    unlucky: Stage | None = None
    ends: Counter[str] = field(default_factory=Counter)

    def run(self) -> bool:
        """All of it; whether the clean epoch at the end found its step pinned to a cohort."""
        epochs = self.dice.randint(1, 4)
        weights = self.dice.choices((STILL, CALM, ROUGH, STORM), (35, 30, 20, 15))[0]
        # One message lost in a set-up ends the epoch: mostly it is spared, so that rounds are met too.
        during_set_up = weights if self.dice.random() < 0.3 else STILL
        # Some networks lose one kind of message above all: what was begun is then cut off at one and the same place.
        self.unlucky = self.dice.choice(_LOST) if self.dice.random() < 0.35 else None
        self.world.open_epoch()
        for _ in range(_MOST_STEPS):
            if self._nothing_to_do() and not self._go_on(epochs):
                break
            self._happen(during_set_up if self.world.server.state in SET_UP else weights)
        self._settle()
        self.ends = Counter(self.world.ends)
        return self._clean_epoch()

    # --- What happens by chance --------------------------------------------------------------------------------

    def _happen(self, weights: Weights) -> None:
        world = self.world
        hostile = 6 if self.twist is Twist.NETWORK else 0
        chances: list[tuple[Callable[[], None], float]] = [
            (self._deliver, 100 if world.flying else 0),
            (self._duplicate, weights.duplicate if world.flying else 0),
            (self._drop, weights.drop if world.flying else 0),
            (self._hold, weights.hold if world.flying else 0),
            (self._release, 3 if world.held else 0),
            (self._timeout, weights.timeout if world.flying else 60),
            (self._restart, weights.restart),
            (self._abandon, weights.abandon),
            (self._misdeliver, hostile if world.archive else 0),
            (self._claim_another_sender, hostile / 2 if world.flying else 0),
        ]
        self.dice.choices([action for action, _ in chances], [weight for _, weight in chances])[0]()

    def _deliver(self) -> None:
        flight = self._taken_from(self.world.flying)
        if self.dice.random() < self._loss(peek(flight.message).stage):
            self.world.note(f"lose {flight}")
        else:
            self.world.deliver(flight)

    def _loss(self, stage: Stage) -> float:
        if len(self.world.servers) > 1 and stage in _LOST_IN_A_DOUBLE_LIFE:
            return _LOST_IN_A_DOUBLE_LIFE[stage]
        return 0.4 if stage is self.unlucky else 0.0

    def _duplicate(self) -> None:
        self.world.deliver(self.dice.choice(self.world.flying))

    def _drop(self) -> None:
        self.world.note(f"drop {self._taken_from(self.world.flying)}")

    def _hold(self) -> None:
        flight = self._taken_from(self.world.flying)
        self.world.note(f"hold {flight}")
        self.world.held.append(flight)

    def _release(self) -> None:
        self.world.deliver(self._taken_from(self.world.held))

    def _timeout(self) -> None:
        self.world.timeout(self.dice.randrange(len(self.world.servers)))

    def _restart(self) -> None:
        self.world.restart(self.dice.choice(list(self.world.sites)))

    def _abandon(self) -> None:
        """The coordinator is started anew in the middle of something. Now and then it has forgotten how far it was."""
        careless = self.dice.random() < 0.3
        self.world.open_epoch(first_round=max(1, self.world.round) if careless else None)

    def _misdeliver(self) -> None:
        """Something the coordinator said, at any time, reaches any hospital."""
        self.world.deliver(self.dice.choice(self.world.archive), to=self.dice.choice(list(self.world.sites)))

    def _claim_another_sender(self) -> None:
        upwards = [flight for flight in self.world.flying if flight.recipient == COORDINATOR]
        if upwards:
            self.world.note("in another's name:")
            self.world.deliver_to_coordinator(self.dice.choice(upwards), self.dice.choice(list(self.world.sites)))

    def _taken_from(self, messages: list[Flight]) -> Flight:
        return messages.pop(self.dice.randrange(len(messages)))

    # --- What a coordinator does -------------------------------------------------------------------------------

    def _nothing_to_do(self) -> bool:
        return not self.world.flying and all(server.state in SETTLED for server in self.world.servers)

    def _go_on(self, epochs: int) -> bool:
        """The next round or the next epoch; False when there were enough."""
        world = self.world
        world.join()
        server = world.server
        if (
            server.state is ServerState.READY
            and not server.exhausted
            and self.dice.random() < (0.5 if server.fault else 0.95)
        ):
            for number in world.sites:
                if self.dice.random() < 0.8:
                    world.catch_up(number)
            if self.twist is Twist.DOUBLE_LIFE and self.dice.random() < 0.8:
                world.fork()
            for index in range(len(world.servers)):
                world.begin(index)
            return True
        if world.epoch >= epochs:
            return False
        world.open_epoch(server.answering if server.answering and self.dice.random() < 0.7 else None)
        return True

    def _settle(self) -> None:
        """Nothing arrives any more. Every server comes to rest."""
        world = self.world
        world.note("nothing arrives any more")
        for index, server in enumerate(world.servers):
            for _ in range(5):
                world.timeout(index)
            if server.state not in SETTLED:
                world.wrongs.append(f"wedged: a server stays {server.state.value} whatever time passes")
        world.flying.clear()
        world.held.clear()
        world.join()

    # --- Whether anything can be done afterwards ---------------------------------------------------------------

    def _clean_epoch(self) -> bool:
        """Everybody is there and everything arrives, in order: there must be a sum of all."""
        world = self.world
        world.note("a clean epoch")
        for number in world.sites:
            world.catch_up(number)
        world.open_epoch()
        self._run_dry()
        before = Counter(world.refusals)
        if self._clean_round(world.due):
            return False
        why = world.refusals - before
        if set(why) != {"differencing"}:
            world.wrongs.append(f"wedged: a clean round has no sum; refusals: {dict(why)}, {world.ends}")
            return False
        world.note("another step")
        for number, site in world.sites.items():
            site.move_to(world.due, bytes([1]) * 32)
            world.note(f"hospital {number} has the sum before")
        if not self._clean_round(world.due + 1):
            world.wrongs.append(f"wedged: no sum of another step either: {world.refusals - before}")
        return True

    def _clean_round(self, step: int) -> bool:
        world = self.world
        if world.server.state is not ServerState.READY:
            return False
        took = len(world.oracle.taken)
        world.begin(step=step)
        self._run_dry()
        result = world.server.result
        everybody = len(world.sites)
        return (
            result is not None
            and len(result.survivors.numbers) == everybody
            and len(world.oracle.taken) == took + everybody
        )

    def _run_dry(self) -> None:
        while self.world.flying:
            self.world.deliver(self.world.flying.pop(0))
        if self.world.server.state not in SETTLED:
            self.world.timeout()
        while self.world.flying:
            self.world.deliver(self.world.flying.pop(0))


def _shape(dice: random.Random, twist: Twist) -> Shape:
    members = dice.randint(3, 7)
    colluding = dice.choice([c for c in range(members) if smallest_threshold(members, c) <= members])
    least = smallest_threshold(members, colluding)
    # Two survivor sets are easiest to have where t is as low as may be; so are sums where hospitals drop.
    threshold = least if twist is Twist.DOUBLE_LIFE or dice.random() < 0.6 else dice.randint(least, members)
    return Shape(members, threshold, colluding, dice.choice((2, 3)))

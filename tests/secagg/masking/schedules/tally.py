"""Many schedules at once: in several processes, counted, with a line of progress.

python -m tests.secagg.masking.schedules.tally 10000
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.secagg.masking.schedules.scheduler import Outcome, Twist, run_schedule

MANY = 10_000
# Fewer are over before processes of their own have begun; and tests have one each already.
_WORTH_PROCESSES = 200


@dataclass
class Tally:
    """What many schedules came to.

    Attributes:
        ends: of all rounds and set-ups, "sum" or the reason.
        with_a_sum: schedules with at least one sum before the clean epoch at their end.
        pinned: schedules in whose clean epoch a step could be repeated over an earlier cohort only.
        failed: the outcomes in which something happened that must not.
    """

    schedules: int = 0
    with_a_sum: int = 0
    with_an_abort: int = 0
    pinned: int = 0
    steps: int = 0
    twists: Counter[Twist] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.with_a_sum += outcome.ends["sum"] > 0
        self.with_an_abort += any(end != "sum" for end in outcome.ends)
        self.pinned += outcome.pinned
        self.steps += len(outcome.trace)
        self.twists[outcome.twist] += 1
        self.ends += outcome.ends
        self.refusals += outcome.refusals
        if outcome.violations:
            self.failed.append(outcome)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.schedules} schedules, {self.steps} steps, {len(self.failed)} failed",
                f"  with a sum {self.with_a_sum}, with an abort {self.with_an_abort}, pinned {self.pinned}",
                f"  twists {dict(self.twists.most_common())}",
                f"  ends {dict(self.ends.most_common())}",
                f"  refusals {dict(self.refusals.most_common())}",
            ]
        )


def run_many(
    count: int,
    *,
    first: int = 0,
    show_progress: bool = False,
    run: Callable[[int], Outcome] = run_schedule,
) -> Tally:
    """The schedules with the seeds from ``first`` on, of many on all cores."""
    tally = Tally()
    started = time.monotonic()
    for outcome in _outcomes(range(first, first + count), run):
        tally.add(outcome)
        if show_progress and tally.schedules % 50 == 0:
            spent = time.monotonic() - started
            line = f"{tally.schedules} of {count} schedules, {tally.ends['sum']} sums, {len(tally.failed)} failed"
            print(f"\r{line}, {spent:.0f} s", end="", flush=True)
    return tally


def _outcomes(seeds: range, run: Callable[[int], Outcome]) -> Iterator[Outcome]:
    if len(seeds) < _WORTH_PROCESSES:
        yield from map(run, seeds)
        return
    # Not multiprocessing's own pool, which may wait for ever for a worker that waits for it, when it is let go.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("forkserver")) as pool:
        yield from pool.map(run, seeds, chunksize=10)


def main() -> int:
    """Run as many as the command line says; 1 if any failed."""
    started = time.monotonic()
    tally = run_many(int(sys.argv[1]) if len(sys.argv) > 1 else MANY, show_progress=True)
    print(f"\n{tally}\n  {time.monotonic() - started:.0f} s")
    for outcome in tally.failed[:3]:
        print(outcome)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())

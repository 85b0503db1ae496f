"""What bounds each scheme's hot path: ``python -m benchmarks.sweep.profiling`` prints it as a table.

A profile of the sweep's own rounds, by what does the work: the cipher, numpy on memory, SEAL, hashes, keys and
signatures, the disk; the rest is Python. The profiler slows Python down and nothing else, so that its share is the most
that Python can have.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

import click
import numpy as np

from benchmarks.sweep.case import Case, Scheme
from benchmarks.sweep.cohort import COORDINATOR
from benchmarks.sweep.consortium import Consortium
from benchmarks.sweep.markup import markdown
from benchmarks.sweep.measurement import Phase
from benchmarks.sweep.meter import Meter, Spent
from benchmarks.sweep.tables import Table

Part = Literal["cipher", "numpy, memory", "SEAL", "hashing", "keys, signatures", "disk", "Python"]

PARTS: Final[tuple[Part, ...]] = (
    "cipher",
    "numpy, memory",
    "SEAL",
    "hashing",
    "keys, signatures",
    "disk",
    "Python",
)
_PROFILED: Final[tuple[tuple[Scheme, int], ...]] = (("mask", 50), ("double-lock", 50), ("bfv", 10), ("ckks", 10))
_PARAMETERS: Final = 1_000_000
_ROUNDS: Final = 2
_UFUNC: Final = "numpy's"
# Of a builtin's name in a profile; the first that fits counts.
_SIGNS: Final[tuple[tuple[str, Part], ...]] = (
    ("sealapi", "SEAL"),
    ("tenseal", "SEAL"),
    ("update_into", "cipher"),
    ("encryptor", "cipher"),
    (_UFUNC, "numpy, memory"),
    ("numpy", "numpy, memory"),
    ("memoryview", "numpy, memory"),
    ("bytearray", "numpy, memory"),
    ("tobytes", "numpy, memory"),
    ("_hashlib", "hashing"),
    ("sha256", "hashing"),
    ("hkdf", "keys, signatures"),
    ("exchange", "keys, signatures"),
    ("sign", "keys, signatures"),
    ("verify", "keys, signatures"),
    ("x25519", "keys, signatures"),
    ("ed25519", "keys, signatures"),
    ("aead", "keys, signatures"),
    ("AESGCM", "keys, signatures"),
    ("sqlite3", "disk"),
)


@dataclass
class Profiled(Spent):
    """A party's book, with a profile of what it did."""

    profile: cProfile.Profile = field(default_factory=lambda: cProfile.Profile(time.process_time))


class ProfileGauge:
    """Profiles what is done within."""

    @contextmanager
    def of(self, spent: Spent, holding: int) -> Iterator[None]:
        """Into the book of whoever does it."""
        del holding
        if not isinstance(spent, Profiled):
            raise TypeError("a profile needs a book for it")
        spent.profile.enable()
        yield
        spent.profile.disable()


class VisibleNumpy:
    """Stands for numpy in a module: calls of its ufuncs, which a profiler does not see, become calls that it sees."""

    def __init__(self) -> None:
        self._seen: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if not isinstance(found, np.ufunc):
            return found
        if name not in self._seen:
            self._seen[name] = _visible(found)
        return self._seen[name]


def _visible(ufunc: np.ufunc) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        return ufunc(*arguments, **options)

    call.__code__ = call.__code__.replace(co_name=f"{_UFUNC} {ufunc.__name__}")
    for method in ("reduce", "accumulate", "at", "outer"):
        setattr(call, method, getattr(ufunc, method))
    return call


@contextmanager
def visible_numpy() -> Iterator[None]:
    """In every module of secagg that has been loaded."""
    changed: list[ModuleType] = [
        module for name, module in sys.modules.items() if name.startswith("secagg") and hasattr(module, "np")
    ]
    for module in changed:
        module.np = VisibleNumpy()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in changed:
            module.np = np  # type: ignore[attr-defined]


def part_of(function: str) -> Part:
    """Which part a function belongs to, by what the profiler calls it."""
    return next((part for sign, part in _SIGNS if sign.lower() in function.lower()), "Python")


def profile(scheme: Scheme, hospitals: int, parameters: int = _PARAMETERS) -> dict[tuple[Phase, str], Counter[str]]:
    """Seconds by part, of the phases and parties that follow a round's set-up."""
    case = Case(scheme=scheme, hospitals=hospitals, parameters=parameters)
    found: dict[tuple[Phase, str], Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder, Consortium(Path(folder), case) as consortium:
        consortium.set_up(_meter())
        # Once before, so that what is made at the first call is not counted.
        consortium.run_round(1, _meter())
        with visible_numpy():
            for number in range(2, 2 + _ROUNDS):
                meter = _meter()
                consortium.run_round(number, meter)
                for (phase, party), spent in meter.books.items():
                    whose = "coordinator" if party == COORDINATOR else "hospital"
                    found.setdefault((phase, whose), Counter()).update(_by_part(spent))
    return found


def _meter() -> Meter:
    meter = Meter(ProfileGauge())
    meter.books.default_factory = Profiled
    return meter


def _by_part(spent: Spent) -> Counter[str]:
    if not isinstance(spent, Profiled):
        raise TypeError("a book without a profile")
    seconds: Counter[str] = Counter()
    spent.profile.create_stats()
    if not spent.profile.stats:
        return seconds
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(spent.profile).stats.items():  # type: ignore[attr-defined]
        # Builtins have no file; functions in Python are Python, whatever they are called, but for numpy's made visible.
        visible = file == "~" or name.startswith(_UFUNC)
        seconds[part_of(name) if visible else "Python"] += own
    return seconds


def table(profiles: Sequence[tuple[str, Counter[str]]]) -> Table:
    """Shares of all, by part."""
    rows = []
    for name, seconds in profiles:
        whole = seconds.total()
        rows.append((name, f"{1e3 * whole:.0f}", *(f"{100 * seconds[part] / whole:.0f} %" for part in PARTS)))
    return Table("What bounds a round at 1 M parameters", ("", "ms, profiled", *PARTS), rows)


@click.command()
def main() -> None:
    """Profile every scheme, and print the table."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = []
    for scheme, hospitals in _PROFILED:
        for (phase, party), seconds in profile(scheme, hospitals).items():
            if phase == "round" or (scheme == "mask" and party == "hospital"):
                share = _ROUNDS * (hospitals if party == "hospital" else 1)
                each = Counter({part: spent / share for part, spent in seconds.items()})
                rows.append((f"{scheme}, n = {hospitals}: {phase}, {party}", each))
    click.echo(markdown([table(rows)]), nl=False)


if __name__ == "__main__":
    main()

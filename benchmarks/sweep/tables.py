"""The tables of a run: schemes side by side for each consortium, what the machine can do at most, and targets.

Knows what stands in which column. How a table is written is in `benchmarks.sweep.markup`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.sweep import written
from benchmarks.sweep.case import SCHEMES, Case
from benchmarks.sweep.folder import Run
from benchmarks.sweep.measurement import PHASES, Party
from benchmarks.sweep.results import Result, results_of
from benchmarks.sweep.targets import SHARE, Figure
from secagg.encoding.ring import Ring
from training.choices import USUAL_FIELD_BITS

_COLUMNS: Final = (
    "",
    "key set-up: hospital, ms",
    "encoding, ms",
    "round: hospital, ms",
    "round: coordinator, ms",
    "up, B/par",
    "down, B/par",
    "memory: hospital, MB",
    "memory: coordinator, MB",
    "error",
)
_NAMES: Final = {
    "plain": "plain FedAvg, float32",
    "mask": "mask",
    "mask-graph": "mask, drawn neighbours",
    "double-lock": "double-lock",
    "bfv": "bfv",
    "ckks": "ckks",
    "flower": "Flower SecAgg+",
    "nvflare": "NVFlare HE",
}
# Adding a float32 vector to another reads both and writes one.
_ADDED_BYTES: Final = 12
_EMPTY: Final = (written.NOTHING,) * 3


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column names the rows. ``notes``: below it, a sentence each."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Consortium:
    hospitals: int
    parameters: int
    dropout: float
    dp: str

    @classmethod
    def of(cls, case: Case) -> _Consortium:
        return cls(case.hospitals, case.parameters, case.dropout, case.dp)

    def title(self, dropped: int) -> str:
        gone = f", {dropped} {'drops' if dropped == 1 else 'drop'} out" if dropped else ""
        private = "" if self.dp == "none" else f", {self.dp} differential privacy"
        return f"{self.hospitals} hospitals, {written.count(self.parameters)} parameters{gone}{private}"


def case_tables(run: Run) -> list[Table]:
    """One table for each consortium."""
    groups: dict[_Consortium, list[Result]] = {}
    for result in results_of(run):
        groups.setdefault(_Consortium.of(result.case), []).append(result)
    return [_table(run, consortium, results) for consortium, results in groups.items()]


def target_table(figures: Sequence[Figure]) -> Table:
    """What the benchmarks of single operations found, beside what it should be; figures with no target left out."""
    rows = [(one.what, one.measured, one.target, one.verdict) for one in figures if one.target]
    return Table("Targets", ("", "measured", "target", ""), rows)


def profile_table(figures: Sequence[Figure]) -> Table:
    """What bounds single operations: shares of what each takes."""
    rows = [(one.what, f"{100 * one.value:.0f} %") for one in figures if one.unit == SHARE]
    return Table("What bounds a hospital's work", ("", "of all"), rows)


def _table(run: Run, consortium: _Consortium, results: list[Result]) -> Table:
    # Schemes in one order in all tables, whichever was measured first.
    results = sorted(results, key=lambda one: SCHEMES.index(one.case.scheme))
    rows = [_row(result) for result in results]
    if len(results) > 1:
        rows += _limits(run, results)
    return Table(consortium.title(results[0].case.dropped), _COLUMNS, rows, _notes(results))


def _notes(results: list[Result]) -> list[str]:
    """What is said of each scheme, once for all of whom it is said."""
    said: dict[str, list[str]] = {}

    def say(one: Result, what: str) -> None:
        said.setdefault(what, []).append(_NAMES[one.case.scheme])

    for one in results:
        say(one, f"{one.by}; {one.lacks}" if one.lacks else one.by)
    for one in results:
        if one.field_bits not in (USUAL_FIELD_BITS, None):
            say(one, f"numbers have {one.field_bits} bits")
        if one.real_hospitals not in (one.case.hospitals, 1):
            say(
                one,
                f"{one.real_hospitals} hospitals did everything; the others left out masks that cancel among them, and "
                "did not open the sum",
            )
    return [f"{'; '.join(names)}: {what}." for what, names in said.items()]


def _row(result: Result) -> tuple[str, ...]:
    hospital, coordinator = result.cost("round", "hospital"), result.cost("round", "coordinator")
    parameters = result.case.parameters
    return (
        _NAMES[result.case.scheme],
        written.milliseconds(result.cost("set-up", "hospital").cpu),
        written.milliseconds(result.cost("encoding", "hospital").cpu),
        written.milliseconds(hospital.cpu),
        written.milliseconds(coordinator.cpu),
        written.a_parameter(hospital.bytes_up, parameters),
        written.a_parameter(hospital.bytes_down, parameters),
        written.megabytes(_most_memory(result, "hospital")),
        written.megabytes(_most_memory(result, "coordinator")),
        written.error(result.error),
    )


def _most_memory(result: Result, party: Party) -> float | None:
    """In whichever phase it is."""
    return max(result.cost(phase, party).memory or 0 for phase in PHASES) or None


def _limits(run: Run, results: list[Result]) -> list[tuple[str, ...]]:
    """What no scheme can go below: the keystream of all masks, and adding up float32 vectors."""
    if not run.limits:
        return []
    cipher, memory = max(one.cipher for one in run.limits), max(one.memory for one in run.limits)
    rows = [_keystream(one, cipher) for one in results if one.case.scheme in ("mask", "mask-graph")]
    case = results[0].case
    adding = (case.hospitals - case.dropped) * _ADDED_BYTES * case.parameters / memory
    rows.append(("limit: memory, adding float32 vectors", *_EMPTY, written.milliseconds(adding), *_EMPTY, *_EMPTY[:2]))
    return rows


def _keystream(result: Result, cipher: float) -> tuple[str, ...]:
    """The limit of a masked scheme, of masks in its own ring.

    Args:
        cipher: bytes a second.
    """
    case, peers = result.case, result.case.peers
    mask = Ring(result.field_bits or USUAL_FIELD_BITS).dtype.itemsize * case.parameters / cipher
    survivors = case.hospitals - case.dropped
    removed = survivors + case.dropped * peers * survivors / (case.hospitals - 1)
    return (
        f"limit: AES-256, the keystream of {_NAMES[case.scheme]}",
        *_EMPTY[:2],
        written.milliseconds((peers + 1) * mask),
        written.milliseconds(removed * mask),
        *_EMPTY,
        *_EMPTY[:2],
    )

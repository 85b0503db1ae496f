"""A whole consortium on one machine: every hospital with its own folder, keys, policy, latch and ledger.

Knows how such a run is started and taken up again. Its hospitals are in `training.simulated_consortium`, what it was
prepared with in `training.simulation_folder`. Between the parties only bytes pass; what the simulator sees beyond that
(test records, pooled training) is marked as such in its result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dp.ledger import BudgetUse
from dp.stated import no_less
from secagg.charter import Charter, VerifiedCharter
from secagg.charter.cautions import Caution, cautions
from secagg.charter.folder import read_verified
from secagg.charter.sections import PrivacyMode, Scheme
from secagg.errors import InputError, ProtocolError, RefusedError, SecaggError
from secagg.files import write_atomically
from secagg.masking import Purpose
from secagg.policy import check_charter, load_policy
from training.begun_with import changed_since
from training.compared import Compared, compare
from training.comparison import Comparison
from training.coordinator import Coordinator
from training.custom_task_cautions import own_code
from training.devices import cores_for
from training.draft import task_of
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine, parse_drop_out
from training.json_lines import JsonLines
from training.metrics import Metrics
from training.open_files import many_files
from training.own_code_faults import in_full
from training.records import Records
from training.round_record import RoundRecord, some
from training.run_folder import RunFolder
from training.run_history import RoundResult, history
from training.run_lock import alone
from training.simulated_consortium import NO_BUDGET, SimulatedConsortium, speaking_for
from training.simulation_folder import SimulationSettings, read_settings, resuming
from training.sites import read_sites
from training.splitting import Site

_MOST_NAMES: Final = 3


@dataclass(frozen=True)
class Terms:
    """What a table of results states of a run, from its charter; epsilon and delta are None where there is no noise.

    Attributes:
        epsilon: what was planned; what was spent is in the rounds.
        rounds: what was planned; ``local_steps``: of each hospital in each of them.
    """

    scheme: Scheme
    privacy: PrivacyMode
    epsilon: float | None
    delta: float | None
    rounds: int
    local_steps: int
    seed: int

    @classmethod
    def of(cls, charter: Charter, seed: int) -> Terms:
        """Those of a charter, in a simulation with this seed."""
        privacy, training = charter.privacy, charter.training
        epsilon, delta = (None, None) if privacy.mode == "none" else (privacy.budget, privacy.delta)
        return cls(charter.scheme, privacy.mode, epsilon, delta, training.rounds, training.local_steps, seed)


@dataclass(frozen=True)
class SimulationResult:
    """What a run ends with, measured on the same test records.

    Attributes:
        hospitals: the folder of the hospitals' folders.
        comparison: None where it was not asked for.
        warnings: what everybody must be told of the charter, of the files of records, of how the task's model was
            changed, and of settings that do not do what they seem to.
        budgets: by hospital, how much of its data set's budget is used; empty without differential privacy.
    """

    folder: Path
    hospitals: Path
    charter: VerifiedCharter
    terms: Terms
    rounds: tuple[RoundResult, ...]
    federated: Metrics
    comparison: Compared | None
    warnings: tuple[Caution, ...]
    budgets: Mapping[str, BudgetUse]


@dataclass(frozen=True)
class Observer:
    """What a caller wants to hear of while a simulation runs."""

    on_start: Callable[[VerifiedCharter, tuple[Caution, ...]], None] = lambda _charter, _of_the_task: None
    on_answer: Callable[[str, int], None] = lambda _phase, _member: None
    on_round: Callable[[RoundResult], None] = lambda _result: None
    on_compare: Callable[[str], None] = lambda _what: None
    on_refusal: Callable[[str, SecaggError], None] = lambda _member, _error: None
    on_no_comparison: Callable[[str, SecaggError], None] = lambda _what, _error: None
    on_statistics: Callable[[tuple[Caution, ...]], None] = lambda _of_the_statistics: None
    on_caution: Callable[[str, Caution], None] = lambda _member, _caution: None


def run(folder: Path, observer: Observer) -> SimulationResult:
    """Run, or take up again, the simulation that `training.simulation_folder.prepare` laid out in ``folder``.

    Raises:
        SecaggError: what stopped it; what was reached stays in the folder. ``state-in-use``, if it is running already.
    """
    settings = read_settings(folder)
    with many_files(), alone(folder):
        return _run_alone(RunFolder(folder), settings, observer)


def _run_alone(place: RunFolder, settings: SimulationSettings, observer: Observer) -> SimulationResult:
    folder, charter = place.path, read_verified(place.charter)
    _require_allowed(folder, settings, charter)
    task = task_of(charter.charter)
    with in_full():
        sites = read_sites(settings.source, task)
    _require_members(sites, charter, place)
    cores = cores_for(charter.charter.model.parameters)
    with (
        cores,
        SimulatedConsortium(
            folder, settings, charter, task, sites, observer.on_refusal, observer.on_caution
        ) as consortium,
    ):
        of_the_task = (*task.cautions(), *own_code(task, [site.records for site in sites]))
        told = (*_of_the_files(settings, sites, consortium.test), *of_the_task, *consortium.without_effect())
        observer.on_start(charter, told)
        measured = history(place)

        def on_round(record: RoundRecord) -> None:
            consortium.over(record)
            result = consortium.measure(record)
            measured.append(result)
            observer.on_round(result)
            if record.purpose is Purpose.STATISTICS and record.step:
                observer.on_statistics(consortium.cautions())

        drop_outs = [parse_drop_out(text, consortium.numbers) for text in settings.drop_outs]
        engine = EmbeddedEngine(consortium.hospitals, drop_outs, observer.on_answer, consortium.on_failure)
        coordinator = Coordinator(charter, engine, place.coordinator, on_round)
        _add_unmeasured(coordinator.rounds, measured, consortium)
        _require_affordable(coordinator, consortium, drop_outs, folder)
        _run(coordinator, consortium, folder)
        federated = consortium.evaluate()
        _copy_release(place, consortium)
        for name in coordinator.lacking:
            observer.on_refusal(name, _lacks_release(name, folder))
        compared = _compare(consortium, place, observer) if settings.compare else None
        terms, hospitals = Terms.of(charter.charter, settings.seed), settings.hospitals_folder(folder)
        warnings = (*cautions(charter.charter), *told, *consortium.cautions())
        return SimulationResult(
            folder, hospitals, charter, terms, measured.records, federated, compared, warnings, consortium.budgets()
        )


def _require_members(sites: Sequence[Site], charter: VerifiedCharter, place: RunFolder) -> None:
    members, found = [member.name for member in charter.charter.members], [site.name for site in sites]
    strangers = [name for name in found if name not in members]
    if strangers:
        raise InputError(
            "unknown-hospital",
            f"There are records of {some(strangers, _MOST_NAMES)}, which this run did not begin with.",
            culprit=strangers[0],
            remedy="Move the file away, or take the rows out, to go on; or begin another run.",
        )
    # Who was in a sum has to sign the release: without it the rest of the run would be for nothing.
    gone = [name for name in members if name not in found]
    if gone and not place.release.exists():
        raise InputError(
            "records-gone",
            f"There are no records of {some(gone, _MOST_NAMES)}, which this run began with.",
            culprit=gone[0],
            remedy="Put the file, or the rows, back to go on; or begin another run.",
        )


def _of_the_files(settings: SimulationSettings, sites: Sequence[Site], test: Records | None) -> tuple[Caution, ...]:
    """What only somebody may be told who has everybody's records."""
    read = [*(site.records for site in sites), *([test] if test else [])]
    # Of a file that is divided, each hospital's part says the same.
    of_reading = dict.fromkeys(caution for records in read for caution in records.cautions)
    return (*changed_since(settings.source, settings.begun_with), *of_reading)


def _require_affordable(
    coordinator: Coordinator, consortium: SimulatedConsortium, drop_outs: Sequence[DropOut], folder: Path
) -> None:
    """Refuse at once where rounds that gave no sum have cost so much that the last sums could not be paid for."""
    charter = consortium.charter.charter
    if charter.metrics.target is not None:
        # It may end before them.
        return
    newest = max((record.round for record in coordinator.rounds), default=0)
    # Who drops out of a round before it is charged has more for the last.
    spared = {drop_out.member for drop_out in drop_outs if drop_out.phase is Phase.MASK and drop_out.round > newest}
    lacking = consortium.lacking(coordinator.sums)
    names = [name for name in lacking if consortium.numbers[name] not in spared]
    if len(consortium.hospitals) - len(names) < charter.threshold:
        raise _used_up(names, lacking, consortium, folder)


def _run(coordinator: Coordinator, consortium: SimulatedConsortium, folder: Path) -> None:
    """Run, and let what stopped a hospital be told as what it is: a forged sum, a full disk, a budget used up."""
    try:
        coordinator.run()
    except ProtocolError as error:
        stopped = [hospital.stopped for hospital in consortium.hospitals.values() if hospital.stopped]
        names = consortium.out_of_budget()
        too_few = len(consortium.hospitals) - len(names) < consortium.charter.charter.threshold
        used_up = [_used_up(names, consortium.lacking(coordinator.sums), consortium, folder)] if too_few else []
        raise next(iter([*stopped, *consortium.failures, *used_up]), error) from None


def _used_up(
    names: Sequence[str], lacking: Mapping[str, float], consortium: SimulatedConsortium, folder: Path
) -> RefusedError:
    """Why a run that once fitted does so no more, and what to do: a simulation wrote the policies itself."""
    policies = consortium.settings.hospital_folder(folder, "*").policy
    needed = max(lacking.values(), default=None)
    enough = f" to {no_less(needed, 2)} or more" if needed else ""
    return RefusedError(
        NO_BUDGET,
        "Rounds that were interrupted or gave no sum were charged too, and the rest of the run no longer fits into the "
        f"privacy budget of {', '.join(names)}.",
        culprit=", ".join(names),
        remedy=f"Raise maximum_epsilon in {policies}{enough}, then continue the run: `{resuming(folder)}`.",
    )


def _add_unmeasured(
    rounds: Sequence[RoundRecord], measured: JsonLines[RoundResult], consortium: SimulatedConsortium
) -> None:
    """The rounds that the coordinator has written down and nobody has measured: a run was cut off in between."""
    known = {result.record.round for result in measured.records}
    for record in rounds:
        if record.round not in known:
            is_last = record.step == consortium.furthest().state.sums
            measured.append(consortium.measure(record) if is_last else RoundResult(record, None, None))


def _compare(consortium: SimulatedConsortium, place: RunFolder, observer: Observer) -> Compared | None:
    if consortium.test is None:
        return None
    comparison = Comparison(
        consortium.charter.charter,
        consortium.task,
        consortium.test,
        consortium.device,
        consortium.settings.seed,
        consortium.furthest().state.sums,
    )
    return compare(comparison, consortium.patients, place, observer.on_compare, observer.on_no_comparison)


def _require_allowed(folder: Path, settings: SimulationSettings, charter: VerifiedCharter) -> None:
    """Ask every site's policy before the task is built: a task may be code of somebody else's."""
    for member in charter.charter.members:
        policy = load_policy(settings.hospital_folder(folder, member.name).policy)
        with speaking_for(member.name):
            check_charter(charter.charter, policy)


def _copy_release(place: RunFolder, consortium: SimulatedConsortium) -> None:
    kept = [hospital.release_folder for hospital in consortium.hospitals.values() if hospital.is_released]
    if not kept:
        raise next(iter(consortium.failures), _lacks_release("every hospital", place.path))
    for file in sorted(kept[0].iterdir()):
        write_atomically(place.release / file.name, file.read_bytes())


def _lacks_release(name: str, folder: Path) -> InputError:
    return InputError(
        "no-release",
        f"The release was made, and {name} could not keep it.",
        culprit=name,
        remedy=f"Fix what it reported when it was given the release, then continue the run: `{resuming(folder)}`.",
    )

"""A whole consortium on one machine: every hospital with its own folder, keys, policy, latch and ledger.

Knows how such a run is laid out on disk, started and taken up again. Between the parties only bytes pass; what the
simulator sees beyond that (test records, pooled training) is marked as such in its result.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from dp.ledger import BudgetUse
from dp.stated import no_less
from secagg.charter import Charter, Member, VerifiedCharter, sign_charter, verify_charter
from secagg.charter.cautions import SHARED_KEY_SCHEMES, Caution, cautions
from secagg.charter.folder import read_verified, write_charter, write_signatures
from secagg.errors import InputError, ProtocolError, RefusedError, SecaggError
from secagg.files import PRIVATE, read_bounded, unwritable, write_atomically
from secagg.identity import Identity
from secagg.json_documents import MALFORMED, json_for_people
from secagg.masking import Purpose
from secagg.policy import check_charter, load_policy, render_policy
from secagg.policy.needs import needed_policy
from training.choices import CharterChoices
from training.comparison import Comparison, HospitalPatients
from training.coordinator import Coordinator
from training.device_name import DeviceName
from training.devices import cores_for, resolve_device
from training.draft import draft_charter, make_task, task_of
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine, parse_drop_out
from training.evaluation import evaluate
from training.hospital import Hospital
from training.hospital_folder import HospitalFolder
from training.hospital_setup import HospitalSetup, split_patients
from training.json_lines import JsonLines
from training.metrics import Metrics
from training.model_state import load
from training.new_folder import make_folder, require_new
from training.records import concatenate
from training.round_record import RoundRecord
from training.run_history import SETTINGS_FILE, RoundResult, history
from training.run_lock import alone
from training.scaling import constant_columns
from training.sites import DataSource, read_sites, read_test
from training.splitting import Site
from training.task import Task, TaskSpec

_LARGEST_SETTINGS = 16 * 1024 * 1024
_NO_BUDGET = "budget-exceeded"
_OF_A_ROUND = (Phase.MASK, Phase.AGREE, Phase.REVEAL, Phase.APPLY)

Found = TypeVar("Found")


class SimulationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a run needs to be taken up again, stored in its folder.

    Attributes:
        task_kind, task_settings: the bound task, as in the charter.
        drop_outs: ``name:round`` or ``name:round:phase``.
        seed: of batches (never of noise) and of the comparison.
        hospitals_at: where the hospitals' folders outlive this run; inside the run's own folder if not given.
        compare: whether pooled training and each hospital alone are trained too.
    """

    task_kind: str
    task_settings: str
    source: DataSource
    choices: CharterChoices
    drop_outs: tuple[str, ...] = ()
    device: DeviceName = "auto"
    seed: int = 0
    hospitals_at: str | None = None
    compare: bool = True

    def hospital_folder(self, run: Path, name: str) -> HospitalFolder:
        """Where the hospital called ``name`` keeps what."""
        return HospitalFolder(self.hospitals_folder(run) / name)

    def hospitals_folder(self, run: Path) -> Path:
        """The folder of the hospitals' folders."""
        return Path(self.hospitals_at) if self.hospitals_at else run / "hospitals"

    @property
    def spec(self) -> TaskSpec:
        """The task's specification."""
        return TaskSpec.from_settings(self.task_kind, self.task_settings.encode())


@dataclass(frozen=True)
class SimulationResult:
    """What a run ends with, measured on the same test records.

    Attributes:
        hospitals: the folder of the hospitals' folders.
        pooled: one model on all records, without protection; ``curator``: with the charter's noise added once;
            ``alone``: each hospital's own, as private as in the run. None and empty where they were not asked for.
        warnings: what everybody must be told of the charter, and of how the task's model was changed.
        budgets: by hospital, how much of its data set's budget is used; empty without differential privacy.
    """

    folder: Path
    hospitals: Path
    charter: VerifiedCharter
    rounds: tuple[RoundResult, ...]
    federated: Metrics
    pooled: Metrics | None
    curator: Metrics | None
    alone: tuple[tuple[str, Metrics], ...]
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


def prepare(folder: Path, settings: SimulationSettings) -> None:
    """Make the run's folder: identities, signed charter, policies. All of it or nothing.

    Raises:
        InputError: if the data, the task or the choices cannot be used, or the folder exists and holds something.
    """
    is_run = (folder / SETTINGS_FILE).exists()
    continued = f", or continue the run in it: `{resuming(folder)}`" if is_run else ""
    require_new(folder, f"Choose another folder{continued}.")
    task = make_task(settings.spec)
    sites = read_sites(settings.source, task)
    read_test(settings.source, task)
    # Numbers and options are checked before anything is written.
    identities = [_known_or_new(settings.hospital_folder(folder, site.name)) for site in sites]
    members = [Member(name=site.name, public_key=key.public_key) for site, key in zip(sites, identities, strict=True)]
    settings = _knowing_the_batch(settings, sites, task)
    charter = draft_charter(settings.choices, members, settings.spec)
    for text in settings.drop_outs:
        drop_out = parse_drop_out(text, {site.name: number for number, site in enumerate(sites, 1)})
        _require_phase(text, drop_out, charter)
    verified = verify_charter(charter, [sign_charter(charter, identity) for identity in identities])
    make_folder(folder, lambda partial: _write_folders(partial, settings, verified, identities))


def resuming(folder: Path) -> str:
    """The command that continues the run in ``folder``, to be copied into a shell."""
    return f"secagg simulate --resume {shlex.quote(str(folder))}"


def _knowing_the_batch(settings: SimulationSettings, sites: Sequence[Site], task: Task) -> SimulationSettings:
    """The settings with what only somebody knows who has everybody's records: how many patients a step expects."""
    choices = settings.choices
    if choices.privacy != "distributed" or choices.expected_batch:
        return settings
    patients = sum(split_patients(site.records, task)[0].patient_count for site in sites)
    expected = max(1, round(choices.sampling_rate * patients))
    return msgspec.structs.replace(settings, choices=msgspec.structs.replace(choices, expected_batch=expected))


def _require_phase(text: str, drop_out: DropOut, charter: Charter) -> None:
    """No drop-out that would never come: rounds have phases of their own, and an encrypted sum is asked for once."""
    if drop_out.phase not in _OF_A_ROUND:
        raise InputError(
            "bad-drop-out",
            f"{text!r} lets a hospital drop out in a phase that no round has.",
            remedy=f"Phases of a round are {', '.join(_OF_A_ROUND)}.",
        )
    if charter.scheme in SHARED_KEY_SCHEMES and drop_out.phase in (Phase.AGREE, Phase.REVEAL):
        raise InputError(
            "bad-drop-out",
            f"{text!r} lets a hospital drop out after it has answered, but the scheme {charter.scheme} asks it nothing "
            "more.",
            remedy=f"Write it without the phase {drop_out.phase}.",
        )


def run(folder: Path, observer: Observer) -> SimulationResult:
    """Run, or take up again, the simulation that `prepare` laid out in ``folder``.

    Raises:
        SecaggError: what stopped it; what was reached stays in the folder. ``state-in-use``, if it is running already.
    """
    settings = read_settings(folder)
    with alone(folder):
        return _run_alone(folder, settings, observer)


def _run_alone(folder: Path, settings: SimulationSettings, observer: Observer) -> SimulationResult:
    charter = read_verified(folder / "charter")
    _require_allowed(folder, settings, charter)
    task = task_of(charter.charter)
    sites = read_sites(settings.source, task)
    cores = cores_for(charter.charter.model.parameters)
    with cores, _Cast(folder, settings, charter, task, sites, observer) as cast:
        observer.on_start(charter, task.cautions())
        measured = history(folder)

        def on_round(record: RoundRecord) -> None:
            cast.over(record)
            result = cast.measure(record)
            measured.append(result)
            observer.on_round(result)
            if record.purpose is Purpose.STATISTICS and record.step:
                observer.on_statistics(cast.cautions())

        drop_outs = [parse_drop_out(text, cast.numbers) for text in settings.drop_outs]
        engine = EmbeddedEngine(cast.hospitals, drop_outs, observer.on_answer, cast.on_failure)
        coordinator = Coordinator(charter, engine, folder / "coordinator", on_round)
        _add_unmeasured(coordinator.rounds, measured, cast)
        _require_affordable(coordinator, cast, drop_outs, folder)
        _run(coordinator, cast, folder)
        federated = cast.evaluate()
        _copy_release(folder, cast)
        for name in coordinator.lacking:
            observer.on_refusal(name, _lacks_release(name, folder))
        pooled, curator, alone = _compare(cast, observer) if settings.compare else (None, None, ())
        hospitals = settings.hospitals_folder(folder)
        warnings = (*cautions(charter.charter), *task.cautions(), *cast.cautions())
        return SimulationResult(
            folder, hospitals, charter, measured.records, federated, pooled, curator, alone, warnings, cast.budgets()
        )


def _require_affordable(coordinator: Coordinator, cast: _Cast, drop_outs: Sequence[DropOut], folder: Path) -> None:
    """Refuse at once where rounds that gave no sum have cost so much that the last sums could not be paid for."""
    charter = cast.charter.charter
    if charter.metrics.target is not None:
        # It may end before them.
        return
    newest = max((record.round for record in coordinator.rounds), default=0)
    # Who drops out of a round before it is charged has more for the last.
    spared = {drop_out.member for drop_out in drop_outs if drop_out.phase is Phase.MASK and drop_out.round > newest}
    lacking = cast.lacking(coordinator.sums)
    names = [name for name in lacking if cast.numbers[name] not in spared]
    if len(cast.hospitals) - len(names) < charter.threshold:
        raise _used_up(names, lacking, cast, folder)


def _run(coordinator: Coordinator, cast: _Cast, folder: Path) -> None:
    """Run, and let what stopped a hospital be told as what it is: a forged sum, a full disk, a budget used up."""
    try:
        coordinator.run()
    except ProtocolError as error:
        stopped = [hospital.stopped for hospital in cast.hospitals.values() if hospital.stopped]
        names = cast.out_of_budget()
        too_few = len(cast.hospitals) - len(names) < cast.charter.charter.threshold
        used_up = [_used_up(names, cast.lacking(coordinator.sums), cast, folder)] if too_few else []
        raise next(iter([*stopped, *cast.failures, *used_up]), error) from None


def _used_up(names: Sequence[str], lacking: Mapping[str, float], cast: _Cast, folder: Path) -> RefusedError:
    """Why a run that once fitted does so no more, and what to do: a simulation wrote the policies itself."""
    policies = cast.settings.hospital_folder(folder, "*").policy
    needed = max(lacking.values(), default=None)
    enough = f" to {no_less(needed, 2)} or more" if needed else ""
    return RefusedError(
        _NO_BUDGET,
        "Rounds that were interrupted or gave no sum were charged too, and the rest of the run no longer fits into the "
        f"privacy budget of {', '.join(names)}.",
        culprit=", ".join(names),
        remedy=f"Raise maximum_epsilon in {policies}{enough}, then continue the run: `{resuming(folder)}`.",
    )


def read_settings(folder: Path) -> SimulationSettings:
    """The settings that a run's folder was prepared with.

    Raises:
        InputError: ``not-a-run``.
    """
    try:
        data = read_bounded(folder / SETTINGS_FILE, _LARGEST_SETTINGS)
        return msgspec.json.decode(data, type=SimulationSettings)
    except (InputError, *MALFORMED) as error:
        raise InputError(
            "not-a-run",
            f"{folder} holds no simulation that can be resumed.",
            culprit=str(folder),
            remedy="Give the folder that `secagg simulate` wrote with --out.",
        ) from error


def _add_unmeasured(rounds: Sequence[RoundRecord], measured: JsonLines[RoundResult], cast: _Cast) -> None:
    """The rounds that the coordinator has written down and nobody has measured: a run was cut off in between."""
    known = {result.record.round for result in measured.records}
    for record in rounds:
        if record.round not in known:
            is_last = record.step == cast.furthest().state.sums
            measured.append(cast.measure(record) if is_last else RoundResult(record, None, None))


class _Cast:
    """The hospitals of a run, and what the simulator alone may do with them: test the model."""

    def __init__(
        self,
        folder: Path,
        settings: SimulationSettings,
        charter: VerifiedCharter,
        task: Task,
        sites: Sequence[Site],
        observer: Observer,
    ) -> None:
        self.settings = settings
        self._observer = observer
        self.charter = charter
        self.task = task
        self.device = resolve_device(settings.device)
        self.numbers = {member.name: number for number, member in enumerate(charter.charter.members, 1)}
        self.patients = []
        tests = []
        for site in sites:
            train, test = split_patients(site.records, task)
            self.patients.append(HospitalPatients(site.name, train))
            tests += [test] if test else []
        self.test = read_test(settings.source, task) or (concatenate(tests) if tests else None)
        self.failures: list[SecaggError] = []
        self._refused: list[tuple[str, str]] = []
        self._before = 0
        self.hospitals: dict[int, Hospital] = {}
        try:
            for site in sites:
                self.hospitals[self.numbers[site.name]] = self._hospital(folder, site)
        except BaseException:
            # One refuses, so nobody starts: what the others have reserved is free again.
            for hospital in self.hospitals.values():
                hospital.withdraw()
            self.close()
            raise

    def __enter__(self) -> _Cast:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for hospital in self.hospitals.values():
            hospital.close()

    def on_failure(self, member: int, error: SecaggError) -> None:
        """A hospital could not answer; the others may do without it."""
        self.failures.append(error)
        self._on_refusal(self.charter.charter.member(member).name, error)

    def out_of_budget(self) -> list[str]:
        """Whose budget was too small since the last sum, by name; nobody's, if anything else was refused as well."""
        if {reason for _, reason in self._refused} != {_NO_BUDGET}:
            return []
        return list(dict.fromkeys(name for name, _ in self._refused))

    def lacking(self, made: int) -> dict[str, float]:
        """The epsilon that the rest of the run would bring hospitals to whose policy does not allow it, by name.

        Args:
            made: how many sums the coordinator has. One that no hospital has yet is paid for already.
        """
        sums = max(made, self.furthest().state.sums)
        needed = {hospital.name: hospital.epsilon_lacking(sums) for hospital in self.hospitals.values()}
        return {name: epsilon for name, epsilon in needed.items() if epsilon is not None}

    def over(self, record: RoundRecord) -> None:
        """A round is over: if there was a sum, what failed before it is no reason for what goes wrong later."""
        if record.step:
            self._refused.clear()
            del self.failures[: self._before]
        self._before = len(self.failures)

    def furthest(self) -> Hospital:
        """A hospital that has applied the most sums."""
        return max(self.hospitals.values(), key=lambda hospital: hospital.state.sums)

    def measure(self, record: RoundRecord) -> RoundResult:
        metrics = self.evaluate() if record.purpose is Purpose.TRAINING and record.step else None
        return RoundResult(record, metrics, self.epsilon())

    def epsilon(self) -> float | None:
        """The most that any hospital's patients have spent in this run."""
        return max((hospital.epsilon or 0.0 for hospital in self.hospitals.values()), default=0.0) or None

    def budgets(self) -> dict[str, BudgetUse]:
        """How much of each hospital's budget is used, by name."""
        used = {hospital.name: hospital.budget_use for hospital in self.hospitals.values()}
        return {name: use for name, use in used.items() if use}

    def cautions(self) -> tuple[Caution, ...]:
        """What is to be told of the consortium's statistics, once there are some."""
        return constant_columns(next(filter(None, (own.constant_columns for own in self.hospitals.values())), ()))

    def evaluate(self) -> Metrics:
        """The consortium's model on the test records."""
        hospital = self.furthest()
        module = self.task.build_model()
        load(module, hospital.state.model)
        if self.test is None:
            return Metrics(None, None, 0)
        records = hospital.scaling.apply(self.test, hospital.state.moments)
        return evaluate(self.task, module, records, self.device)

    def _on_refusal(self, name: str, error: SecaggError) -> None:
        self._refused.append((name, error.reason))
        self._observer.on_refusal(name, error)

    def _hospital(self, folder: Path, site: Site) -> Hospital:
        number = self.numbers[site.name]
        setup = HospitalSetup(
            self.charter,
            self.task,
            site.records,
            self.settings.hospital_folder(folder, site.name),
            self.device,
            np.random.default_rng((self.settings.seed, number)),
            on_refusal=partial(self._on_refusal, site.name),
        )
        with _speaking_for(site.name):
            return Hospital(setup)


def _compare(cast: _Cast, observer: Observer) -> tuple[Metrics | None, Metrics | None, tuple[tuple[str, Metrics], ...]]:
    if cast.test is None:
        return None, None, ()
    charter = cast.charter.charter
    comparison = Comparison(charter, cast.task, cast.test, cast.device, cast.settings.seed)

    def tried(what: str, train: Callable[[], Found]) -> Found | Metrics:
        observer.on_compare(what)
        try:
            return train()
        except SecaggError as error:
            # Without the bounds of secure sums a model may diverge, and what the consortium made is there all the same.
            observer.on_no_comparison(what, error)
            return Metrics(None, None, 0)

    pooled = tried("all records pooled", lambda: comparison.pooled(cast.patients))
    curator = None
    if charter.privacy.mode != "none":
        curator = tried("all records at one curator", lambda: comparison.curator(cast.patients))
    alone = [(own.name, tried(f"{own.name} alone", partial(comparison.alone, own))) for own in cast.patients]
    return pooled, curator, tuple(alone)


def _require_allowed(folder: Path, settings: SimulationSettings, charter: VerifiedCharter) -> None:
    """Ask every site's policy before the task is built: a task may be code of somebody else's."""
    for member in charter.charter.members:
        policy = load_policy(settings.hospital_folder(folder, member.name).policy)
        with _speaking_for(member.name):
            check_charter(charter.charter, policy)


@contextmanager
def _speaking_for(name: str) -> Iterator[None]:
    """A hospital speaks of itself; here are several."""
    try:
        yield
    except RefusedError as error:
        told = f"{name} refuses: {error.message}"
        raise RefusedError(error.reason, told, culprit=name, remedy=error.remedy) from error


def _write_folders(
    folder: Path, settings: SimulationSettings, charter: VerifiedCharter, identities: Sequence[Identity]
) -> None:
    write_charter(folder / "charter", charter.charter)
    write_signatures(folder / "charter", charter.signatures)
    policy = render_policy(needed_policy(charter.charter))
    hospitals = [settings.hospital_folder(folder, member.name) for member in charter.charter.members]
    # All of them before any policy, which names them all: if this is stopped here, the next run finds the same.
    for hospital, identity in zip(hospitals, identities, strict=True):
        if not hospital.identity.exists():
            _make_private(hospital.path)
            identity.save(hospital.identity)
    for hospital in hospitals:
        # One without a policy that was in a run before has the strict defaults.
        if not (hospital.policy.exists() or hospital.latch.exists()):
            write_atomically(hospital.policy, policy, PRIVATE)
    write_atomically(folder / SETTINGS_FILE, json_for_people(settings))


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise unwritable(folder, error) from error


def _known_or_new(hospital: HospitalFolder) -> Identity:
    return Identity.load(hospital.identity) if hospital.identity.exists() else Identity.generate()


def _copy_release(folder: Path, cast: _Cast) -> None:
    target = folder / "release"
    kept = [hospital.release_folder for hospital in cast.hospitals.values() if hospital.is_released]
    if not kept:
        raise next(iter(cast.failures), _lacks_release("every hospital", folder))
    for file in sorted(kept[0].iterdir()):
        write_atomically(target / file.name, file.read_bytes())


def _lacks_release(name: str, folder: Path) -> InputError:
    return InputError(
        "no-release",
        f"The release was made, and {name} could not keep it.",
        culprit=name,
        remedy=f"Mend what it said when it was given the release, then continue the run: `{resuming(folder)}`.",
    )

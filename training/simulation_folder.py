"""The folder of a simulated run: what a run is started with, and every hospital's own folder, key and policy.

Knows how a run is laid out on disk, and how the settings of one are read again. Runs nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from secagg.charter import Charter, Member, VerifiedCharter, sign_charter, verify_charter
from secagg.charter.cautions import SHARED_KEY_SCHEMES
from secagg.charter.folder import write_charter, write_signatures
from secagg.charter.model import STATISTICS_SUMS
from secagg.errors import InputError
from secagg.files import PRIVATE, read_bounded, require_text, unwritable, write_atomically
from secagg.identity import Identity
from secagg.json_documents import MALFORMED, json_for_people
from secagg.policy import render_policy
from secagg.policy.needs import needed_policy
from training.begun_with import file_digests
from training.choices import CharterChoices, rounded_batch
from training.device_name import DeviceName
from training.draft import draft_charter, make_task
from training.engines.base import Phase
from training.engines.embedded import DropOut, parse_drop_out
from training.hospital_folder import HospitalFolder
from training.new_folder import make_folder, require_new
from training.own_code_faults import in_full
from training.run_folder import RunFolder
from training.sites import DataSource, read_sites, read_test
from training.splitting import Site
from training.task import Task, TaskSpec
from training.tested_patients import require_untrained, trained_on

_LARGEST_SETTINGS = 16 * 1024 * 1024
_OF_A_ROUND = (Phase.MASK, Phase.AGREE, Phase.REVEAL, Phase.APPLY)


class SimulationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a run needs to be taken up again, stored in its folder.

    Attributes:
        task_kind, task_settings: the bound task, as in the charter.
        drop_outs: ``name:round`` or ``name:round:phase``.
        seed: of batches (never of noise) and of the comparison.
        hospitals_at: where the hospitals' folders outlive this run; inside the run's own folder if not given.
        compare: whether pooled training and each hospital alone are trained too.
        begun_with: digests of the files of records, as `training.begun_with` makes them; `prepare` fills them in. A
            run that was prepared before they were kept has none.
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
    begun_with: dict[str, str] = {}

    def hospital_folder(self, run: Path, name: str) -> HospitalFolder:
        """Where the hospital called ``name`` keeps what."""
        return HospitalFolder(self.hospitals_folder(run) / name)

    def hospitals_folder(self, run: Path) -> Path:
        """The folder of the hospitals' folders."""
        return Path(self.hospitals_at) if self.hospitals_at else RunFolder(run).hospitals

    @property
    def spec(self) -> TaskSpec:
        """The task's specification."""
        return TaskSpec.from_settings(self.task_kind, self.task_settings.encode())


def prepare(folder: Path, settings: SimulationSettings) -> None:
    """Make the run's folder: identities, signed charter, policies. All of it or nothing.

    Raises:
        InputError: if the data, the task or the choices cannot be used, or the folder exists and holds something;
            ``test-patients-trained-on``.
    """
    to_be = RunFolder(folder)
    is_run = to_be.settings.exists()
    continued = f", or continue the run in it: `{resuming(folder)}`" if is_run else ""
    require_new(folder, f"Choose another folder{continued}.")
    source = settings.source
    for path in filter(None, (*source.paths, source.test, source.columns_from, settings.hospitals_at)):
        require_text(path)
    task = make_task(settings.spec)
    with in_full():
        sites, test = read_sites(source, task), read_test(source, task)
    if test is not None:
        require_untrained(test, trained_on(sites, task))
    # Numbers and options are checked before anything is written.
    identities = [_known_or_new(settings.hospital_folder(folder, site.name)) for site in sites]
    members = [Member(name=site.name, public_key=key.public_key) for site, key in zip(sites, identities, strict=True)]
    settings = msgspec.structs.replace(_knowing_the_batch(settings, sites, task), begun_with=file_digests(source))
    charter = draft_charter(settings.choices, members, settings.spec)
    numbers = {site.name: number for number, site in enumerate(sites, 1)}
    drop_outs = [parse_drop_out(text, numbers) for text in settings.drop_outs]
    for text, drop_out in zip(settings.drop_outs, drop_outs, strict=True):
        _require_phase(text, drop_out, charter)
        _require_agreement(text, drop_out, drop_outs, charter)
        _require_round(text, drop_out, drop_outs, charter)
    verified = verify_charter(charter, [sign_charter(charter, identity) for identity in identities])
    make_folder(folder, lambda partial: _write_folders(partial, settings, verified, identities), to_be.settings.name)


def resuming(folder: Path) -> str:
    """The command that continues the run in ``folder``, to be copied into a shell."""
    return f"secagg simulate --resume {shlex.quote(str(folder))}"


def _knowing_the_batch(settings: SimulationSettings, sites: Sequence[Site], task: Task) -> SimulationSettings:
    """The settings with what only somebody has who has everybody's records: about how many patients a step expects."""
    choices = settings.choices
    if choices.privacy != "distributed" or choices.expected_batch:
        return settings
    patients = sum(hospital.train.patient_count for hospital in trained_on(sites, task))
    expected = rounded_batch(choices.sampling_rate * patients)
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


def _require_agreement(text: str, drop_out: DropOut, drop_outs: Sequence[DropOut], charter: Charter) -> None:
    """No drop-out while survivors agree on who they are where all are there: among neighbours alone they do so too."""
    gone = any(other != drop_out and other.round <= drop_out.round for other in drop_outs)
    if drop_out.phase is Phase.AGREE and not gone and not charter.graph.degree:
        raise InputError(
            "bad-drop-out",
            f"{text!r} lets a hospital drop out while survivors agree on who they are, which they do only where "
            "another has dropped out.",
            remedy=f"Let another drop out too, as by NAME:{drop_out.round}, or write it with the phase {Phase.REVEAL}.",
        )


def _require_round(text: str, drop_out: DropOut, drop_outs: Sequence[DropOut], charter: Charter) -> None:
    """No drop-out in a round that there will not be. One that gives no sum, for drop-outs in it, is repeated."""
    planned = charter.training.rounds + (STATISTICS_SUMS if charter.statistics.features else 0)
    rounds = planned + len({other.round for other in drop_outs if other.round < drop_out.round})
    if drop_out.round > rounds:
        raise InputError(
            "bad-drop-out",
            f"{text!r} lets a hospital drop out in a round that is never run: there are {planned}, and one more for "
            "each that gives no sum.",
            remedy=f"Give a round from 1 to {planned}, or more --rounds.",
        )


def read_settings(folder: Path) -> SimulationSettings:
    """The settings that a run's folder was prepared with.

    Raises:
        InputError: ``not-a-run``, ``damaged-settings``, ``unreadable``, ``file-too-large``.
    """
    path = RunFolder(folder).settings
    if not path.exists():
        raise InputError(
            "not-a-run",
            f"{folder} holds no simulation that can be resumed.",
            culprit=str(folder),
            remedy="Give the folder that `secagg simulate` wrote with --out.",
        )
    try:
        return msgspec.json.decode(read_bounded(path, _LARGEST_SETTINGS), type=SimulationSettings)
    except MALFORMED as error:
        raise InputError(
            "damaged-settings",
            f"{path} is damaged, or another release of secagg wrote it.",
            culprit=str(path),
            remedy="Put the file back from a copy: without it the run cannot be continued.",
        ) from error


def _write_folders(
    folder: Path, settings: SimulationSettings, charter: VerifiedCharter, identities: Sequence[Identity]
) -> None:
    run = RunFolder(folder)
    write_charter(run.charter, charter.charter)
    write_signatures(run.charter, charter.signatures)
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
    write_atomically(run.settings, json_for_people(settings))


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise unwritable(folder, error) from error


def _known_or_new(hospital: HospitalFolder) -> Identity:
    return Identity.load(hospital.identity) if hospital.identity.exists() else Identity.generate()

"""A consortium in the field for tests: folders laid out as administrators would, and sites that are real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_verified
from tests.support.field_processes import processes_of
from tests.support.ports import free_port
from training.engines.nvflare.provisioning import Address, provision
from training.engines.nvflare.site_kits import require_coordinator_kits, require_hospital_kit
from training.field.coordinator_site import CoordinatorSite
from training.field.hospital_site import HospitalSite
from training.field.laying_out import HospitalMaterial, lay_out_coordinator, lay_out_hospital
from training.field.settings import CoordinatorSettings, HospitalSettings, write_new_settings
from training.field.status import SiteState
from training.round_record import RoundRecord
from training.simulation_folder import SimulationSettings, prepare
from training.sites import parse_place

RUN = "from cli.main import main; main()"
SEAM = Path(__file__).parent / "field_seam"
PATIENCE = 420.0
"""Seconds that anything may take on a machine with much else to do."""
JOB_MODULES = ("worker_process", "runner_process")
QUICK = CoordinatorSettings(gather=240.0, open=240.0, work=60.0, answer=30.0, patience=600.0)


class TooLateError(AssertionError):
    """What a test waited for did not come."""


def wait_for(what: str, seen: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something is the case."""
    deadline = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > deadline:
            raise TooLateError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.1)


@dataclass
class RunningSite:
    """A site's folder and whatever processes run for it.

    Attributes:
        command: of `secagg`, without the folder.
        inside: what the command is started with, as ``ip netns exec NAME``.
        seed: of the noise; only a test may know one.
    """

    path: Path
    command: tuple[str, ...]
    inside: tuple[str, ...] = ()
    seed: str | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def halts(self) -> Path:
        """Where tests and the site's processes meet; see `field_seam`. Not in the folder: that may be full."""
        return self.path.with_name(f"{self.path.name}.halts")

    @property
    def output(self) -> Path:
        """What the command printed."""
        return self.path.with_name(f"{self.path.name}.output")

    def start(self) -> None:
        """Start the site, as its administrator would."""
        self.halts.mkdir(exist_ok=True)
        environment = os.environ | {"PYTHONPATH": str(SEAM), "SECAGG_TEST_HALT": str(self.halts)}
        if self.seed is not None:
            environment["SECAGG_TEST_SEED"] = self.seed
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                (*self.inside, sys.executable, "-c", RUN, *self.command, str(self.path)),
                env=environment,
                cwd=Path(__file__).parents[2],
                stdout=output,
                stderr=output,
            )

    def halt_at(self, phase: str, moment: str = "after") -> None:
        """Have the next process that comes to ``phase`` go no further."""
        for name in ("reached", "go"):
            (self.halts / name).unlink(missing_ok=True)
        plan = self.halts / "plan.new"
        plan.write_text(f"{phase} {moment}")
        plan.rename(self.halts / "plan")

    @property
    def is_halted(self) -> bool:
        """Whether a process has come to where it was to halt."""
        return (self.halts / "reached").exists()

    def go_on(self) -> None:
        """Let the halted process go on if it is still there, and wait until it has: the next halt could undo it."""
        go = self.halts / "go"
        (self.halts / "reached").unlink()
        go.touch()
        with suppress(TooLateError):
            wait_for(f"{self.path.name} to go on", lambda: not go.exists(), 30)

    def kill(self) -> None:
        """Kill the site, as a power cut would: every process of it."""
        self._signal(signal.SIGKILL, self.processes())
        if self._process:
            self._process.wait()

    def kill_command(self) -> None:
        """Kill the command alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill_job(self) -> None:
        """Kill the process of the job alone."""
        self.kill_part(*JOB_MODULES)

    def kill_part(self, *modules: str) -> None:
        """Kill the processes of these modules alone."""
        found = self.processes(*modules)
        assert found, f"no process runs {' or '.join(modules)}"
        self._signal(signal.SIGKILL, found)

    def freeze(self) -> None:
        """Stop all of the site's processes where they are: to the others, nothing more is heard of it."""
        self._signal(signal.SIGSTOP, self.processes())

    def thaw(self) -> None:
        """Let them run again."""
        self._signal(signal.SIGCONT, self.processes())

    def stop(self) -> int:
        """Stop it as its administrator would; the command's exit code."""
        assert self._process is not None
        self._process.terminate()
        return self.wait()

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until the command has ended; its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    @property
    def has_ended(self) -> bool:
        """Whether the command has ended."""
        return self._process is not None and self._process.poll() is not None

    def said(self) -> str:
        """All that the command printed."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def processes(self, *modules: str) -> list[int]:
        """The numbers of its processes; only those of the modules named, if any are."""
        return processes_of(self.path, *modules)

    def _signal(self, number: int, processes: Sequence[int]) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, number)


@dataclass
class Field:
    """A consortium whose sites are started and ended by a test.

    Attributes:
        hospitals: by member number.
    """

    folder: Path
    charter: VerifiedCharter
    hospitals: dict[int, RunningSite]
    coordinator: RunningSite

    def site(self, number: int) -> HospitalSite:
        """A hospital's folder."""
        return HospitalSite(self.hospitals[number].path)

    @property
    def centre(self) -> CoordinatorSite:
        """The coordinator's folder."""
        return CoordinatorSite(self.coordinator.path)

    def rounds(self) -> tuple[RoundRecord, ...]:
        """What the coordinator has on its disk."""
        return self.centre.rounds.records

    def start(self) -> None:
        """Start every site."""
        for site in self.everybody():
            site.start()

    def everybody(self) -> list[RunningSite]:
        """All sites."""
        return [self.coordinator, *self.hospitals.values()]

    def wait_for_release(self, *numbers: int, seconds: float = PATIENCE) -> None:
        """Wait until these hospitals (all of them if none is named) and the coordinator have ended with the release."""
        waited = [self.coordinator, *(self.hospitals[number] for number in numbers or self.hospitals)]
        wait_for("the release", lambda: all(site.has_ended for site in waited), seconds)
        for site in waited:
            assert site.wait() == 0, f"{site.path.name}: {site.said()}"
        for number in numbers or self.hospitals:
            status = self.site(number).status.read()
            assert status
            assert status.state is SiteState.RELEASED

    def copied_to(self, folder: Path) -> Field:
        """The same sites in other folders: the same keys, charter, files and seeds. Only before anything has run."""
        folder.mkdir(parents=True)
        sites = {number: self._copied(site, folder) for number, site in self.hospitals.items()}
        return Field(folder, self.charter, sites, self._copied(self.coordinator, folder))

    def _copied(self, site: RunningSite, folder: Path) -> RunningSite:
        return RunningSite(Path(shutil.copytree(site.path, folder / site.path.name)), site.command)

    def told(self) -> str:
        """What all sites printed and the coordinator logged: what one wants to read of a test that failed."""
        texts = [f"--- {site.path.name}\n{site.said()}" for site in self.everybody()]
        if self.centre.log.exists():
            texts.append(f"--- coordinator's log\n{self.centre.log.read_text()}")
        return "\n".join(texts)


@contextmanager
def field_of(
    folder: Path, settings: SimulationSettings, waits: CoordinatorSettings = QUICK, host: str = "localhost"
) -> Iterator[Field]:
    """A consortium of these settings in the field, nothing started yet; whatever runs at the end is killed."""
    made = lay_out_field(folder, settings, waits, host)
    try:
        yield made
    except BaseException:
        print(made.told())
        raise
    finally:
        for site in made.everybody():
            site.thaw()
            site.kill()


def lay_out_field(
    folder: Path, settings: SimulationSettings, waits: CoordinatorSettings = QUICK, host: str = "localhost"
) -> Field:
    """Lay out every site's folder."""
    agreed = folder / "agreed"
    prepare(agreed, settings)
    charter = read_verified(agreed / "charter")
    provision(charter, Address(host, free_port()), folder / "provisioned")
    kits = folder / "provisioned" / "kits"
    hospitals = {}
    for number, member in enumerate(charter.charter.members, start=1):
        own = HospitalSettings(data=str(parse_place(settings.source.paths[number - 1])[1]), device="cpu", seed=number)
        identity = agreed / "hospitals" / member.name / "identity.pem"
        material = HospitalMaterial(agreed / "charter", identity, kits / f"hospital-{number:02d}", own)
        site = lay_out_hospital(folder / f"site-{number}", material, require_hospital_kit)
        hospitals[number] = RunningSite(site.path, ("hospital", "run"))
    centre = lay_out_coordinator(
        folder / "coordinator", agreed / "charter", kits / "coordinator", require_coordinator_kits
    )
    centre.settings.unlink()
    write_new_settings(centre.settings, waits, "for tests")
    return Field(folder, charter, hospitals, RunningSite(centre.path, ("coordinator", "run")))

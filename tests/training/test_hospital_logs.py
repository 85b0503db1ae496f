"""A ledger or an egress log that was set back is found out before anything more leaves; a kill is no such thing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from dp.events import GaussianEvent
from dp.ledger import Budget, Cost, Kind, Ledger, PatientList
from dp.ledger.entries import LEDGER
from dp.ledger.export import export_ledger, read_export
from dp.ledger.spending import cost_epsilon
from secagg.egress import EgressLog, sending
from secagg.errors import InputError, RefusedError, TamperingError
from secagg.identity import Identity
from secagg.latch import Latch, read_logs
from secagg.signed_log import LogPlace, read_log
from tests.support.errors import error_of
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from training.attacks.coordinator import LyingCoordinator
from training.engines.base import Phase
from training.hospital_folder import HospitalFolder
from training.hospital_logs import (
    HospitalLogs,
    open_site_ledger,
    open_site_ledger_to_import,
    read_site_ledger,
    require_noted,
)
from training.testbed.consortium import make_charter, make_identities, sign_by_all

SITE, FORMER = Identity.from_seed(bytes(range(32))), Identity.from_seed(bytes(32))
PATIENTS = PatientList.of([[b"a" * 16], [b"b" * 16]])
DATA, RUN, OTHER_RUN = PATIENTS.data_set, "1" * 64, "2" * 64
BUDGET = Budget(epsilon=20.0, delta=1e-5)
ROUND = Cost((GaussianEvent(1.5, 0.1, 5),))
KEYS = make_identities(3)
MESSAGE = LyingCoordinator(sign_by_all(make_charter(KEYS), KEYS), {}).abort_message()


def rounds(count: int) -> Cost:
    return Cost((GaussianEvent(1.5, 0.1, 5 * count),))


@dataclass
class Site:
    """A hospital's files, as its process has them."""

    folder: HospitalFolder

    def __enter__(self):
        self.latch = Latch(self.folder.latch)
        self.ledger = Ledger(self.folder.ledger, SITE)
        self.egress = EgressLog(self.folder.egress, SITE)
        try:
            self.logs = HospitalLogs(self.latch, self.ledger, self.egress)
        except BaseException:
            self.__exit__()
            raise
        self.ledger.enrol(PATIENTS)
        return self

    def __exit__(self, *_):
        for log in (self.egress, self.ledger, self.latch):
            log.close()

    def round(self, number: int, run: str = RUN) -> None:
        """Charged, noted, sent."""
        self.ledger.charge(DATA, run, number, ROUND, BUDGET, "")
        self.logs.note()
        self.egress.record(sending(MESSAGE, ""))

    def files(self, *names: str) -> dict[Path, bytes]:
        return {path: path.read_bytes() for name in names for path in self.folder.path.glob(f"{name}.sqlite*")}

    def put_back(self, files: dict[Path, bytes], *names: str) -> None:
        for name in names:
            for path in self.folder.path.glob(f"{name}.sqlite*"):
                path.unlink()
        for path, content in files.items():
            path.write_bytes(content)


@pytest.fixture
def site(tmp_path):
    return Site(HospitalFolder(tmp_path / "site"))


def opened(site) -> None:
    with site:
        pass


# Set back ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "reason"), [("ledger", "ledger-restored"), ("egress", "egress-restored")])
@pytest.mark.parametrize("removed", [False, True])
def test_an_older_copy_of_a_log_or_none_in_its_place_is_refused(site, name, reason, removed):
    with site:
        site.round(1)
    backup = {} if removed else site.files(name)
    for number in (2, 3):
        with site:
            site.round(number)
    site.put_back(backup, name)
    found = error_of(opened, site)
    assert isinstance(found, TamperingError)
    assert (found.reason, found.exit_code) == (reason, 4)
    # It stays so.
    assert error_of(opened, site).reason == reason


def test_an_older_copy_that_has_gone_on_elsewhere_is_refused_however_long_it_is(site, tmp_path):
    with site:
        site.round(1)
    other = Site(HospitalFolder(tmp_path / "other"))
    shutil.copytree(site.folder.path, other.folder.path)
    with site:
        site.round(2)
    with other:
        for number in range(2, 9):
            other.round(number)
    (site.folder.ledger).write_bytes(other.folder.ledger.read_bytes())
    assert error_of(opened, site).reason == "ledger-restored"


def test_a_cut_tail_is_an_older_copy(site):
    with site:
        site.round(1)
        site.round(2)
    with Ledger(site.folder.ledger, SITE) as ledger:
        ledger._database.execute("DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)")
    assert error_of(opened, site).reason == "ledger-restored"


def test_whoever_reads_is_told_so_too_and_needs_no_lock(site):
    with site:
        site.round(1)
        backup = site.files("ledger")
        site.round(2)
        entries, account = read_site_ledger(site.folder, SITE.public_key)
        assert (len(entries), account.spending(DATA).run(RUN).rounds) == (len(site.ledger.entries), 2)
    site.put_back(backup, "ledger")
    assert error_of(read_site_ledger, site.folder, SITE.public_key).reason == "ledger-restored"
    site.put_back({}, "ledger")
    assert error_of(read_site_ledger, site.folder, SITE.public_key).reason == "ledger-restored"


def test_limit_ledger_and_latch_put_back_together_pass_but_a_head_that_was_noted_tells(site):
    """Who has set back all files of a folder has set back its memory. The others remember, under the same charter."""
    with site:
        site.round(1)
    backup = site.files("ledger", "latch", "egress")
    with site:
        site.round(2)
        noted = site.ledger.head
    site.put_back(backup, "ledger", "latch", "egress")
    opened(site)
    entries, _ = read_site_ledger(site.folder, SITE.public_key)
    found = error_of(require_noted, noted, entries, site.folder.ledger)
    assert (found.reason, found.exit_code) == ("ledger-restored", 4)
    with site:
        require_noted(site.ledger.head, site.ledger.entries, site.folder.ledger)


def test_control_without_the_note_the_same_money_is_spent_twice(site, monkeypatch):
    monkeypatch.setattr(HospitalLogs, "note", lambda logs: None)
    with site:
        site.round(1)
    backup = site.files("ledger")
    with site:
        site.round(2)
    site.put_back(backup, "ledger")
    with site:
        assert site.ledger.spending(DATA).run(RUN).rounds == 1


# No false alarm ---------------------------------------------------------------------------------------------------


def test_a_log_that_is_ahead_of_the_note_is_what_a_kill_leaves_behind(site):
    with site:
        site.round(1)
        site.ledger.charge(DATA, RUN, 2, ROUND, BUDGET, "")
        site.egress.record(sending(MESSAGE, ""))
    with site:
        assert site.latch.logs() == {"ledger": site.ledger.place, "egress": site.egress.place}


def test_a_new_hospital_has_nothing_to_go_on_from(site):
    opened(site)
    assert read_logs(site.folder.latch) == {"ledger": LogPlace(0, "0" * 64), "egress": LogPlace(0, "0" * 64)}


def test_a_note_is_written_only_when_there_is_something_new(site, monkeypatch):
    with site:
        site.round(1)
        site.logs.note()
        monkeypatch.setattr(Latch, "record_logs", lambda *_: pytest.fail("written again"))
        site.logs.note()


def test_a_clock_that_was_set_back_changes_nothing(site):
    times = ["2031-01-01T00:00:00+00:00", "1999-01-01T00:00:00+00:00", "", "2026-01-01T00:00:00+00:00"]
    for number, time in enumerate(times, start=1):
        with site:
            site.ledger.charge(DATA, RUN, number, ROUND, BUDGET, time)
            site.logs.note()
    with site:
        charges = [entry for entry in site.ledger.entries if entry.kind is Kind.CHARGE]
        assert [entry.time for entry in charges] == times
        assert [entry.round for entry in charges] == [1, 2, 3, 4]
        assert site.ledger.spending(DATA).epsilon(1e-5) == cost_epsilon(rounds(4), 1e-5)


# The officer's part -----------------------------------------------------------------------------------------------


def test_a_run_that_is_given_up_keeps_its_charges_and_frees_the_rest(site):
    with site:
        site.ledger.reserve(DATA, RUN, rounds(9), BUDGET, "")
        site.round(1)
        site.round(2)
    with open_site_ledger(site.folder, SITE) as ledger:
        ledger.release_run(DATA, RUN, "")
        ledger.release_run(DATA, RUN, "")
    with site:
        assert site.ledger.spending(DATA).epsilon(1e-5) == cost_epsilon(rounds(2), 1e-5)
        assert [entry.kind for entry in site.ledger.entries].count(Kind.RELEASE) == 1
        found = error_of(site.round, 3)
        assert isinstance(found, RefusedError)
        assert found.reason == "run-released"
        site.ledger.reserve(DATA, RUN, rounds(9), BUDGET, "")
        site.round(3)
        assert site.ledger.spending(DATA).epsilon(1e-5) == cost_epsilon(rounds(9), 1e-5)


def test_what_was_freed_and_spent_by_another_run_is_not_there_for_the_first(site):
    tight = Budget(cost_epsilon(rounds(9), 1e-5), 1e-5)
    with site:
        site.ledger.reserve(DATA, RUN, rounds(9), tight, "")
        site.ledger.release_run(DATA, RUN, "")
        site.ledger.reserve(DATA, OTHER_RUN, rounds(5), tight, "")
        assert error_of(site.ledger.reserve, DATA, RUN, rounds(9), tight, "").reason == "budget-exceeded"
        assert error_of(site.ledger.charge, DATA, RUN, 1, ROUND, tight, "").reason == "run-released"


def test_nobody_releases_or_imports_while_the_hospital_runs(site):
    with site:
        found = error_of(open_site_ledger(site.folder, SITE).__enter__)
        assert isinstance(found, InputError)
        assert found.reason == "state-in-use"


def test_nothing_is_released_in_a_ledger_that_was_set_back(site):
    with site:
        site.round(1)
    backup = site.files("ledger")
    with site:
        site.round(2)
    site.put_back(backup, "ledger")
    assert error_of(open_site_ledger(site.folder, SITE).__enter__).reason == "ledger-restored"


@dataclass
class SetBack:
    """A site whose ledger is an older copy, and exports of it from before, from then, and from after."""

    site: Site
    early: Path
    one_charters: Path
    late: Path


@pytest.fixture
def set_back(site, tmp_path):
    early, one_charters, late = (tmp_path / f"{name}.json" for name in ("early", "one", "late"))
    with site:
        site.round(1)
    backup = site.files("ledger")
    early.write_bytes(export_ledger(site.folder.ledger, SITE))
    with site:
        site.round(2, OTHER_RUN)
    one_charters.write_bytes(export_ledger(site.folder.ledger, SITE, OTHER_RUN))
    late.write_bytes(export_ledger(site.folder.ledger, SITE))
    site.put_back(backup, "ledger")
    return SetBack(site, early, one_charters, late)


@pytest.fixture
def former(tmp_path):
    """An export of an earlier identity's ledger."""
    path, file = tmp_path / "former" / "ledger.sqlite", tmp_path / "former.json"
    with Ledger(path, FORMER) as ledger:
        ledger.charge(DATA, RUN, 1, ROUND, BUDGET, "")
    file.write_bytes(export_ledger(path, FORMER))
    return file


def take_over(site, file, key=SITE) -> int:
    export = read_export(file, key.public_key)
    with open_site_ledger_to_import(site.folder, SITE, export) as ledger:
        return ledger.take_over(export)


def test_a_ledger_that_was_set_back_is_mended_by_an_export_of_what_it_was(set_back):
    assert take_over(set_back.site, set_back.late) == 2
    with set_back.site as site:
        assert [site.ledger.spending(DATA).run(run).rounds for run in (RUN, OTHER_RUN)] == [1, 1]


def test_no_other_export_gets_into_it_and_the_right_one_still_mends_it(set_back, former):
    before = read_log(set_back.site.folder.ledger, SITE.public_key, LEDGER)
    wrong = (set_back.early, SITE), (set_back.one_charters, SITE), (former, FORMER)
    for file, key in wrong:
        found = error_of(take_over, set_back.site, file, key)
        assert (found.reason, found.exit_code) == ("ledger-restored", 4)
        assert "without --charter" in found.remedy
        assert read_log(set_back.site.folder.ledger, SITE.public_key, LEDGER) == before
    assert take_over(set_back.site, set_back.late) == 2
    # Now that it is whole, it takes whatever it lacks.
    assert take_over(set_back.site, former, FORMER) == 2
    assert take_over(set_back.site, set_back.one_charters) == 0


def test_control_a_set_back_ledger_that_takes_another_export_is_mended_by_nothing_more(set_back, former, monkeypatch):
    monkeypatch.setattr("training.hospital_logs._require_led_on", lambda *_: None)
    assert error_of(take_over, set_back.site, former, FORMER).reason == "ledger-restored"
    assert error_of(take_over, set_back.site, set_back.late).reason == "ledger-restored"


# A whole hospital -------------------------------------------------------------------------------------------------


@pytest.fixture
def ward(open_ward):
    """Four hospitals that have charged a first round."""

    def larger(policy):
        return msgspec.structs.replace(policy, maximum_epsilon=12.0)

    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=larger)
    ward.stop_before(Phase.REVEAL, 1)
    return ward


@pytest.mark.parametrize("name", ["ledger", "egress"])
def test_a_hospital_does_not_start_on_a_log_that_was_set_back(ward, open_ward, name):
    home = ward.home(2)
    path = getattr(home, name)
    ward.close()
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    found = error_of(open_ward)
    assert (found.reason, found.exit_code) == (f"{name}-restored", 4)


def test_a_charge_is_noted_before_the_vector_leaves(ward):
    for number in ward.hospitals:
        noted = read_logs(ward.home(number).latch)["ledger"]
        entries, _ = read_site_ledger(ward.home(number), Identity.load(ward.home(number).identity).public_key)
        assert entries[noted.entries - 1].kind is Kind.CHARGE


def test_a_hospital_that_was_given_up_reserves_again_when_it_starts(ward, open_ward):
    homes = [ward.home(number) for number in ward.hospitals]
    ward.close()
    for home in homes:
        identity = Identity.load(home.identity)
        with open_site_ledger(home, identity) as ledger:
            (name,) = ledger.account.data_sets
            (run,) = ledger.account.spending(name).runs
            ledger.release_run(name, run.run, "")
    again = open_ward()
    again.coordinator().run()
    for home in homes:
        entries, account = read_site_ledger(home, Identity.load(home.identity).public_key)
        kinds = [entry.kind for entry in entries]
        assert kinds.count(Kind.RESERVE) >= 2
        assert kinds.index(Kind.RELEASE) < len(kinds) - 1 - kinds[::-1].index(Kind.RESERVE)
        assert account.spending(account.data_sets[0]).run(run.run).rounds == 4

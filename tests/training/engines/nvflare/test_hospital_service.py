"""A hospital that runs unattended is kept from it by nothing that is only there to be looked at."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from contextlib import ExitStack, contextmanager

import pytest
from msgspec.structs import replace

from secagg.charter.folder import read_verified
from secagg.errors import InputError, RefusedError, TamperingError
from secagg.files import lock, unwritable, write_atomically
from secagg.identity import Identity
from secagg.latch import Latch
from secagg.masking.verification import ForgedSumError
from secagg.policy import load_policy, render_policy
from secagg.policy.model import Countersigning
from secagg.release.checkpoints import CHECKPOINTS_FILE
from secagg.release.folder import STATEMENT_FILE, holds_release
from secagg.release.statement import MODEL_FILE
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from tests.support.ports import free_port
from tests.training.field.conftest import lay_out
from training.engines.embedded import EmbeddedEngine
from training.engines.nvflare import farewell, hospital_service, listening
from training.engines.nvflare.hospital_service import serve_hospital
from training.engines.nvflare.provisioning import Address, provision
from training.field.hospital_site import set_aside
from training.field.status import SiteState, StatusFile, not_taking_part
from training.field.watcher import SiteWatcher
from training.run_lock import alone


class EnoughError(Exception):
    """Nobody waits any longer."""


@pytest.fixture
def port():
    """Where the coordinator would listen."""
    return free_port()


@pytest.fixture
def site(tmp_path, port):
    """A hospital with its real kit, whose coordinator is nowhere."""
    return with_its_kit(lay_out(tmp_path).hospitals[1], tmp_path, port)


def with_its_kit(site, folder, port):
    """The first hospital, with the kit that was made for it."""
    provision(read_verified(site.charter), Address("127.0.0.1", port), folder / "provisioned")
    shutil.rmtree(site.kit)
    shutil.copytree(folder / "provisioned" / "kits" / "hospital-01", site.kit)
    return site


def serve(site, *then):
    """Serve, and do one of these things each time it is asked whether to go on; then end it."""
    left = iter(then)

    def going():
        for do in left:
            do()
            return
        raise EnoughError

    with pytest.raises(EnoughError):
        serve_hospital(site, going, SiteWatcher())


@contextmanager
def attended(site):
    """As if a job's process were there."""
    attending = lock(site.attending)
    try:
        yield
    finally:
        os.close(attending)


@pytest.fixture
def with_release(site):
    """As it would be there if it had been killed just then."""
    release = site.folder.release(read_verified(site.charter).digest)
    release.mkdir(parents=True)
    for name in (STATEMENT_FILE, MODEL_FILE):
        (release / name).write_bytes(b"")
    assert holds_release(release)
    return site


def test_one_that_was_killed_as_the_release_came_stays_a_while_for_the_coordinator_to_hear_of_it(
    with_release, monkeypatch
):
    serve(with_release, lambda: None)
    assert with_release.status.read().state is SiteState.WAITING
    monkeypatch.setattr(farewell, "LINGERING", 0.0)
    ended = serve_hospital(with_release, lambda: None, SiteWatcher())
    assert ended.state is with_release.status.read().state is SiteState.RELEASED


def test_it_stays_as_long_as_the_job_lasts_in_which_the_release_came(with_release, monkeypatch):
    """Its coordinator may wait for others longer than this site can know, and has its checkpoint signed after that."""
    monkeypatch.setattr(farewell, "LINGERING", 0.0)
    with attended(with_release):
        serve(with_release, *(4 * [lambda: None]))
        assert with_release.status.read().state is SiteState.WAITING
    assert serve_hospital(with_release, lambda: None, SiteWatcher()).state is SiteState.RELEASED


def test_nor_does_it_wait_for_a_job_that_hangs_after_its_last_message(with_release, monkeypatch):
    """The coordinator may be gone before the job's process hears that the job is over."""
    monkeypatch.setattr(farewell, "LINGERING", 0.0)
    release = with_release.folder.release(read_verified(with_release.charter).digest)
    (release / CHECKPOINTS_FILE).write_bytes(b"")
    with attended(with_release):
        assert serve_hospital(with_release, lambda: None, SiteWatcher()).state is SiteState.RELEASED


def test_a_job_that_nobody_ends_any_more_keeps_it_no_longer_than_a_coordinator_may_wait(with_release, monkeypatch):
    monkeypatch.setattr(farewell, "LONGEST_FAREWELL", 0.0)
    with attended(with_release):
        assert serve_hospital(with_release, lambda: None, SiteWatcher()).state is SiteState.RELEASED


@pytest.fixture
def left_at_once(monkeypatch):
    """A coordinator that is away counts as gone the first time that it is looked for in vain."""
    monkeypatch.setattr(farewell, "_ABSENCE_SECONDS", 0.0)
    monkeypatch.setattr(listening, "_BETWEEN_SECONDS", 0.0)
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("left_at_once")
def test_a_job_whose_coordinator_has_left_keeps_it_no_longer_than_one_that_is_started_again_would(with_release):
    with attended(with_release):
        assert serve_hospital(with_release, lambda: None, SiteWatcher()).state is SiteState.RELEASED


@pytest.mark.usefixtures("left_at_once")
def test_but_as_long_as_a_coordinator_listens_it_stays(with_release, port):
    with attended(with_release), socket.create_server(("127.0.0.1", port)):
        serve(with_release, *(4 * [lambda: None]))
    assert with_release.status.read().state is SiteState.WAITING


def test_a_coordinator_that_comes_back_has_not_left(with_release, port, monkeypatch):
    monkeypatch.setattr(farewell, "_ABSENCE_SECONDS", 2.0)
    monkeypatch.setattr(listening, "_BETWEEN_SECONDS", 0.0)
    back = []

    def come_back():
        back.append(socket.create_server(("127.0.0.1", port)))

    def leave_again():
        time.sleep(2.5)
        back.pop().close()

    with attended(with_release):
        serve(with_release, lambda: None, come_back, leave_again, lambda: None)
    assert with_release.status.read().state is SiteState.WAITING


@pytest.mark.usefixtures("left_at_once")
def test_one_that_is_reached_through_a_proxy_cannot_be_looked_for(with_release, monkeypatch):
    """gRPC may reach it where a connection of this process's own would not."""
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:3128")
    with attended(with_release):
        serve(with_release, *(4 * [lambda: None]))
    assert with_release.status.read().state is SiteState.WAITING


@pytest.mark.usefixtures("left_at_once")
@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "no resolver"), OSError(errno.EMFILE, "files")])
def test_what_fails_at_the_hospital_itself_says_nothing_of_the_coordinator(with_release, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    with attended(with_release):
        serve(with_release, *(4 * [lambda: None]))
    assert with_release.status.read().state is SiteState.WAITING


@pytest.mark.usefixtures("left_at_once")
def test_before_the_release_an_absent_coordinator_is_waited_for(site):
    with attended(site):
        serve(site, *(4 * [lambda: None]))
    assert site.status.read().state is SiteState.WAITING


def test_after_such_a_job_it_stays_its_while_for_another(with_release, monkeypatch):
    monkeypatch.setattr(farewell, "LINGERING", 2.0)
    attending = lock(with_release.attending)

    def take_long():
        time.sleep(2.5)

    serve(with_release, take_long, lambda: os.close(attending), lambda: None)
    assert with_release.status.read().state is SiteState.WAITING


def test_one_whose_job_was_over_does_not(with_release, monkeypatch):
    monkeypatch.setattr(farewell, "LINGERING", 0.0)
    serve_hospital(with_release, lambda: None, SiteWatcher())

    assert serve_hospital(with_release, nobody_asks, SiteWatcher()).state is SiteState.RELEASED


def nobody_asks():
    raise AssertionError("it has been started")


def test_what_a_job_says_as_it_ends_is_not_written_over_by_what_was_there_before(site, monkeypatch):
    """NVFlare ends a job that was cut off when the connection is back: then both have something to say."""
    digest = read_verified(site.charter).digest.hex()

    class EndingAJob:
        def __init__(self, *_):
            pass

        def lost(self):
            if site.status.read().state is SiteState.TRAINING:
                site.status.write(replace(STOPPED, charter=digest))
                return InputError("not-connected", "It has no connection.")
            return None

    def train():
        site.status.write(replace(site.status.read(), state=SiteState.TRAINING))

    monkeypatch.setattr(hospital_service, "Connection", EndingAJob)
    doing = iter([train, lambda: None])
    with attended(site):
        ended = serve_hospital(site, lambda: next(doing)(), SiteWatcher())
    assert (ended.state, site.status.read().state) == (SiteState.STOPPED, SiteState.STOPPED)


STOPPED = not_taking_part(ForgedSumError("forged-sum", "The sum is not that of the hospitals it names."), "")


def stop_by_latch(site):
    with Latch(site.folder.latch) as latch:
        latch.record_stopped(read_verified(site.charter).digest)


def stop_by_evidence(site):
    write_atomically(site.folder.evidence(read_verified(site.charter).digest), b"as it came")


def stop_by_status(site):
    charter = read_verified(site.charter).digest.hex()
    site.status.write(replace(STOPPED, charter=charter, name="h1", steps=2, steps_due=3))


@pytest.mark.parametrize("stop", [stop_by_latch, stop_by_evidence, stop_by_status])
def test_one_that_was_given_a_forged_sum_ends_again_at_once_and_says_so(site, stop):
    """Where its container is started again whatever it ended with, say."""
    stop(site)
    for _ in range(2):
        ended = serve_hospital(site, nobody_asks, SiteWatcher())
        assert (ended.state, ended.reason) == (SiteState.STOPPED, "forged-sum")
        assert site.status.read() == ended


def test_and_goes_on_saying_how_far_it_had_come_and_since_when_it_is_stopped(site):
    stop_by_latch(site)
    stop_by_status(site)
    before = site.status.read()
    assert serve_hospital(site, nobody_asks, SiteWatcher()) == before == site.status.read()


def test_one_whose_latch_is_damaged_ends_at_once_and_waits_again_when_that_is_put_right(site):
    Latch(site.folder.latch).close()
    right = site.folder.latch.read_bytes()
    site.folder.latch.write_bytes(b"no latch, " * 1000)
    for _ in range(2):
        ended = serve_hospital(site, nobody_asks, SiteWatcher())
        assert (ended.state, ended.reason) == (SiteState.STOPPED, "latch-damaged")
    site.folder.latch.write_bytes(right)
    serve(site)
    assert site.status.read().state is SiteState.WAITING


def without_its_passphrase(site):
    site.settings.write_text(f'{site.settings.read_text()}passphrase_file = "gone"\n')


def with_a_setting_that_there_is_not(site):
    site.settings.write_text(site.settings.read_text().replace('"cpu"', '"gpu"'))


def with_another_s_kit(site):
    shutil.rmtree(site.kit)
    shutil.copytree(site.path.parent / "provisioned/kits/hospital-02", site.kit)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_its_passphrase, "unreadable"),
        (with_a_setting_that_there_is_not, "malformed-settings"),
        (with_another_s_kit, "other-kit"),
    ],
)
@pytest.mark.parametrize("has_run", [True, False])
def test_why_a_site_could_not_be_started_is_in_its_status_until_it_is(site, damage, reason, has_run, tmp_path):
    if has_run:
        serve(site)
    shutil.copytree(site.path, tmp_path / "right", ignore=shutil.ignore_patterns("status.json"))
    damage(site)
    with pytest.raises(InputError) as refusal:
        serve_hospital(site, nobody_asks, SiteWatcher())
    status = site.status.read()
    assert (status.state, status.reason, status.remedy) == (SiteState.FAILED, reason, refusal.value.remedy)
    assert (status.name, status.steps_due) == (("h1", 3) if has_run else ("", 0))
    shutil.copytree(tmp_path / "right", site.path, dirs_exist_ok=True)
    serve(site)
    assert (site.status.read().state, site.status.read().reason) == (SiteState.WAITING, None)


def test_a_start_that_failed_does_not_hide_that_the_site_is_over_or_stopped(site):
    charter = read_verified(site.charter).digest.hex()
    without_its_passphrase(site)
    for state in (SiteState.RELEASED, SiteState.STOPPED):
        before = replace(STOPPED, charter=charter, state=state)
        site.status.write(before)
        with pytest.raises(InputError):
            serve_hospital(site, nobody_asks, SiteWatcher())
        assert site.status.read() == before


@pytest.mark.parametrize("state", [SiteState.RELEASED, SiteState.STOPPED])
def test_but_that_it_was_so_under_an_earlier_charter_hides_no_start_that_failed(site, state):
    """Else its health would be that of the training before, for as long as the next one cannot be started."""
    site.status.write(replace(STOPPED, charter=bytes(32).hex(), state=state, name="h1", steps=3, steps_due=3))
    without_its_passphrase(site)
    with pytest.raises(InputError):
        serve_hospital(site, nobody_asks, SiteWatcher())
    status = site.status.read()
    assert (status.state, status.reason, status.started) == (SiteState.FAILED, "unreadable", False)
    assert (status.charter, status.steps) == (read_verified(site.charter).digest.hex(), 0)


@pytest.mark.parametrize("folder", ["kit", "charter"])
def test_nor_one_that_a_renewal_which_was_cut_off_has_left_without_what_it_needs(site, folder):
    site.status.write(
        replace(STOPPED, charter=read_verified(site.charter).digest.hex(), state=SiteState.RELEASED, name="h1")
    )
    away = site.path / folder
    away.rename(set_aside(away))
    with pytest.raises(InputError):
        serve_hospital(site, nobody_asks, SiteWatcher())
    status = site.status.read()
    assert (status.state, status.reason) == (SiteState.FAILED, "renewal-cut-off")


def test_nor_does_a_second_start_say_anything_of_the_site_that_runs(site):
    without_its_passphrase(site)
    with alone(site.path), pytest.raises(InputError) as refusal:
        serve_hospital(site, nobody_asks, SiteWatcher())
    assert (refusal.value.reason, site.status.read()) == ("state-in-use", None)


def give_officers(site):
    """Let two officers sign whatever allows more, from now on; the policy."""
    officers = frozenset(Identity.generate().public_key for _ in range(2))
    agreed = replace(load_policy(site.folder.policy), countersigning=Countersigning(officers=officers))
    site.folder.policy.write_bytes(render_policy(agreed))
    return agreed


def loosen(site, agreed):
    site.folder.policy.write_bytes(render_policy(replace(agreed, maximum_epsilon=500.0)))


def loosened(operation, *arguments):
    with pytest.raises(RefusedError) as refusal:
        operation(*arguments)
    assert "secagg policy sign" in refusal.value.remedy
    return refusal.value.reason == "policy-loosened"


def test_officers_that_were_named_since_are_asked_from_the_start_on_and_not_from_the_first_job(site):
    agreed = give_officers(site)
    serve(site)
    assert site.status.read().state is SiteState.WAITING
    loosen(site, agreed)
    assert loosened(load_policy, site.folder.policy)
    assert loosened(serve_hospital, site, nobody_asks, SiteWatcher())
    site.folder.policy.write_bytes(render_policy(agreed))
    serve(site)


def test_control_at_a_site_that_only_a_job_puts_under_its_policy_one_person_may_loosen_it(site, monkeypatch):
    monkeypatch.setattr(hospital_service, "put_in_force", load_policy)
    agreed = give_officers(site)
    serve(site)
    loosen(site, agreed)
    serve(site)
    assert load_policy(site.folder.policy).maximum_epsilon == 500


def test_so_are_they_at_a_site_whose_training_is_over(with_release, monkeypatch):
    monkeypatch.setattr(farewell, "LINGERING", 0.0)
    serve_hospital(with_release, lambda: None, SiteWatcher())
    agreed = give_officers(with_release)
    assert serve_hospital(with_release, nobody_asks, SiteWatcher()).state is SiteState.RELEASED
    loosen(with_release, agreed)
    assert loosened(serve_hospital, with_release, nobody_asks, SiteWatcher())


def test_a_stricter_policy_counts_from_the_start_on_and_the_way_back_needs_officers(site):
    agreed = give_officers(site)
    serve(site)
    site.folder.policy.write_bytes(render_policy(replace(agreed, minimum_honest=3)))
    serve(site)
    site.folder.policy.write_bytes(render_policy(agreed))
    assert loosened(load_policy, site.folder.policy)


def test_a_job_that_another_start_has_left_keeps_no_site_from_starting_under_the_policy_that_it_had(site):
    give_officers(site)
    serve(site)
    with Latch(site.folder.latch):
        serve(site)
        give_officers(site)
        assert loosened(serve_hospital, site, nobody_asks, SiteWatcher())


def test_nor_does_it_let_one_start_under_officers_that_cannot_be_remembered_now(site):
    give_officers(site)
    with Latch(site.folder.latch), pytest.raises(InputError) as refusal:
        serve_hospital(site, nobody_asks, SiteWatcher())
    assert refusal.value.reason == "state-in-use"


def test_a_stop_under_another_charter_keeps_no_site_from_starting(site):
    with Latch(site.folder.latch) as latch:
        latch.record_stopped(bytes(32))
    site.status.write(replace(STOPPED, charter=bytes(32).hex()))
    serve(site)
    assert (site.status.read().state, site.status.read().reason) == (SiteState.WAITING, None)


def test_one_whose_file_may_be_put_right_waits_and_says_why_it_had_stopped(site):
    """Until it opens for a job: nobody else can tell whether it was."""
    error = TamperingError("ledger-restored", "It was set back.", remedy="Put the newest one back.")
    site.status.write(not_taking_part(error, read_verified(site.charter).digest.hex()))
    for _ in range(2):
        serve(site)
        status = site.status.read()
        assert (status.state, status.reason, status.message) == (SiteState.WAITING, "ledger-restored", error.message)
        assert status.remedy == error.remedy


def warnings_at_the_start(site):
    """Of one that waits as ever."""
    told = []
    with pytest.raises(EnoughError):
        serve_hospital(site, enough, SiteWatcher(on_warning=told.append))
    assert (site.status.read().state, site.status.read().reason) == (SiteState.WAITING, None)
    return told


def enough():
    raise EnoughError


@pytest.mark.parametrize("path", ["gone.csv", "a/mount/that/comes/later", "identity.pem/x", "\\u0000"])
def test_one_whose_records_are_not_there_says_so_as_it_starts_and_waits_for_them(site, path):
    site.settings.write_text(f'data = "{path}"\n')
    (warning,) = warnings_at_the_start(site)
    assert warning.reason == "records-missing"
    assert str(site.settings) in warning.message
    assert "`data`" in warning.remedy


def test_a_part_of_an_archive_is_where_the_archive_is(site):
    (site.path / "archive.npz").touch()
    site.settings.write_text('data = "archive.npz::train"\n')
    assert warnings_at_the_start(site) == []


def test_control_one_whose_records_are_there_warns_of_nothing(site):
    assert warnings_at_the_start(site) == []


@pytest.fixture
def charged(tmp_path, port):
    """A hospital that was killed in a job, after a charge and before the status that would have told of it."""
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    site, digest = sites.hospitals[1], sites.charter.digest.hex()
    with_its_kit(site, tmp_path, port)
    with site.attend(digest, 1):
        before = site.status.read()
    with ExitStack() as opened:
        parties = {number: opened.enter_context(each.attend(digest, 2)) for number, each in sites.hospitals.items()}
        sites.coordinator.run_epoch(sites.charter, EmbeddedEngine(parties), 2, {}, lambda _record: None)
    assert site.status.read().epsilon > before.epsilon == 0
    return site, site.status.read().epsilon, before


def test_one_that_is_started_again_tells_what_its_ledger_has_and_not_what_its_last_status_had(charged):
    site, epsilon, before = charged
    site.status.write(before)
    serve(site)
    assert (site.status.read().state, site.status.read().epsilon) == (SiteState.WAITING, epsilon)


def test_so_does_one_whose_job_was_killed_while_it_ran(charged):
    site, epsilon, before = charged
    serve(site, lambda: site.status.write(before), lambda: None)
    assert (site.status.read().state, site.status.read().epsilon) == (SiteState.WAITING, epsilon)


def test_where_a_full_disk_keeps_its_status_as_it_was_it_says_once_how_a_job_ended_and_reads_no_ledger(
    charged, monkeypatch
):
    """It looks four times a second, for as long as nobody makes room."""
    site, _, before = charged
    told, read = [], []

    def fill_the_disk():
        site.status.write(before)
        monkeypatch.setattr(StatusFile, "write", no_room)
        monkeypatch.setattr(hospital_service, "as_charged", lambda status, *_: read.append(1) or status)

    def no_room(*_):
        raise unwritable(site.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    doing = iter([lambda: None, fill_the_disk, *(8 * [lambda: None]), enough])
    with pytest.raises(EnoughError):
        serve_hospital(site, lambda: next(doing)(), SiteWatcher(on_status=told.append))
    assert site.status.read().state is SiteState.TRAINING
    assert [status.state for status in told] == [SiteState.WAITING, SiteState.WAITING]
    assert not read


def test_a_status_that_says_nothing_but_the_time_is_told_to_nobody(site):
    """One that trains confirms its own every second, and each line would be kept by whatever collects them."""
    told = []

    def confirm():
        site.status.write(replace(site.status.read(), updated="later"))

    doing = iter([lambda: None, confirm, lambda: None, enough])
    with pytest.raises(EnoughError):
        serve_hospital(site, lambda: next(doing)(), SiteWatcher(on_status=told.append))
    assert site.status.read().updated == "later"
    assert len(told) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"state": "waiting", "of_a_later_version": 1}'])
def test_a_status_that_cannot_be_read_keeps_no_site_from_starting_and_is_written_anew(site, content):
    file = site.path / "status.json"
    file.write_bytes(content)
    serve(site)
    assert site.status.read().state is SiteState.WAITING


def test_one_that_is_damaged_while_the_site_runs_does_not_end_it(site):
    serve(site, lambda: (site.path / "status.json").write_bytes(b"{"), lambda: None)

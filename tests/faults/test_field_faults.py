"""Sites in the field that are killed, cut off or starved at every phase: the run ends, and the books are right.

Each test is one consortium of real processes that one site is struck down in again and again, once in each phase.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest

from tests.support.field import PATIENCE, QUICK, Field, RunningSite, field_of, wait_for
from tests.support.field_books import (
    assert_nothing_left_twice_or_uncharged,
    assert_transcript_fits,
    charged_rounds,
    masked_rounds,
    released_digest,
    sent_by,
)
from tests.support.field_disk import small_disk
from tests.support.hospitals import BOUNDED, choices_of, settings_for, tabular_spec, training_of, write_tables

HOSPITALS = 3
VICTIM, OTHER = 2, 3
VICTIM_NAME = "h2"
SETTING_UP = ("query", "advertise", "deal", "ready")
SUMMING = ("mask", "reveal", "apply")
MOMENTS = ("before", "after")


@contextmanager
def consortium(folder, rounds=3, epoch_rounds=2):
    """Three hospitals, of which one may be missing, with a budget for rounds that a fault makes them repeat."""
    training = training_of(rounds=rounds, local_steps=1)
    choices = choices_of(
        training, privacy="local", epsilon=4.0, sampling_rate=0.5, max_colluding=0, epoch_rounds=epoch_rounds
    )
    settings = settings_for(write_tables(folder / "data", HOSPITALS, rows=10), choices, tabular_spec(**BOUNDED))
    with field_of(folder, settings) as field:
        for number in field.hospitals:
            policy = field.site(number).folder.policy
            policy.write_text(policy.read_text().replace("maximum_epsilon = 4.0", "maximum_epsilon = 40.0"))
        yield field


def kill_job(site: RunningSite) -> None:
    """Kill what NVFlare started for this job; the site itself stays."""
    site.kill_job()


def kill_site(site: RunningSite) -> None:
    """Kill everything of the site, as a power cut would; it is started again, as after a reboot."""
    site.kill()
    site.start()


def kill_command(site: RunningSite) -> None:
    """Kill the command alone: what it had started ends by itself, and is not in the way of the next start."""
    site.kill_command()
    wait_for("the orphans' end", lambda: not site.processes(), 60)
    site.start()


STRIKES = {"job": kill_job, "site": kill_site, "command": kill_command}


def strike_at(site: RunningSite, phase: str, moment: str, strike) -> None:
    """Let the site come to a phase, and strike there."""
    site.halt_at(phase, moment)
    wait_for(f"{site.path.name} {moment} {phase}", lambda: site.is_halted)
    strike(site)
    print(f"struck {site.path.name} {moment} {phase}")


def assert_all_is_well(field: Field) -> None:
    """Everybody has the same release, no share or vector left twice, and nothing left unpaid."""
    # A coordinator that was killed as it gave the release out waits, for its patience, for whoever may lack it.
    field.wait_for_release(seconds=QUICK.patience + PATIENCE)
    released_digest(field)
    assert_nothing_left_twice_or_uncharged(field)
    assert_transcript_fits(field)


# Minutes of waiting for deadlines, and the suite has fifteen in all.
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hospital_and_a_coordinator_that_are_killed_in_a_round_are_back_in_the_next_epoch(tmp_path):
    with consortium(tmp_path) as field:
        field.start()
        strike_at(field.hospitals[VICTIM], "mask", "after", kill_site)
        strike_at(field.coordinator, "reveal", "before", kill_command)
        assert_all_is_well(field)
        lost = set(masked_rounds(field, VICTIM)) - {record.round for record in field.rounds() if record.step}
        assert lost <= set(charged_rounds(field, VICTIM))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("how", STRIKES)
def test_a_hospital_killed_once_in_every_phase_is_back_each_time(tmp_path, how, moment):
    phases = (*SETTING_UP, *SUMMING)
    with consortium(tmp_path, rounds=len(phases) + 1, epoch_rounds=1) as field:
        field.start()
        for phase in phases:
            strike_at(field.hospitals[VICTIM], phase, moment, STRIKES[how])
        strike_at(field.hospitals[VICTIM], "conclude", moment, STRIKES[how])
        assert_all_is_well(field)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("how", STRIKES)
def test_so_is_one_that_is_killed_as_the_release_comes(tmp_path, how, moment):
    with consortium(tmp_path, rounds=1) as field:
        field.start()
        strike_at(field.hospitals[VICTIM], "release", moment, STRIKES[how])
        assert_all_is_well(field)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("how", STRIKES)
def test_a_coordinator_killed_once_in_every_phase_goes_on_each_time(tmp_path, how, moment):
    with consortium(tmp_path, rounds=2, epoch_rounds=1) as field:
        field.start()
        for phase in (*SETTING_UP, *SUMMING, "conclude", "release", "witness"):
            strike_at(field.coordinator, phase, moment, STRIKES[how])
        assert_all_is_well(field)
        assert field.centre.store(field.charter).state.witnessed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_connection_s_process_that_is_killed_alone_is_started_again(tmp_path):
    """First the coordinator's server in one round, then a hospital's site in the next."""
    with consortium(tmp_path) as field:
        field.start()
        for site, module in ((field.coordinator, "server_process"), (field.hospitals[OTHER], "site_process")):
            field.hospitals[VICTIM].halt_at("mask")
            wait_for("a hospital that has masked", lambda: field.hospitals[VICTIM].is_halted)
            site.kill_part(module)
            field.hospitals[VICTIM].go_on()
        assert_all_is_well(field)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", STRIKES)
def test_a_second_site_may_be_killed_while_the_others_agree_on_who_is_left(tmp_path, how):
    with consortium(tmp_path) as field:
        field.start()
        strike_at(field.hospitals[VICTIM], "mask", "before", STRIKES[how])
        strike_at(field.hospitals[OTHER], "agree", "after", STRIKES[how])
        strike_at(field.hospitals[VICTIM], "mask", "before", STRIKES[how])
        strike_at(field.coordinator, "agree", "after", STRIKES[how])
        assert_all_is_well(field)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seconds", [5, 100])
def test_a_hospital_that_falls_silent_for_a_while_is_waited_for_or_done_without(tmp_path, seconds):
    """Frozen as a whole, heartbeats too: longer than the deadlines of the second case."""

    def freeze(site: RunningSite) -> None:
        site.freeze()
        time.sleep(seconds)
        site.thaw()
        site.go_on()

    with consortium(tmp_path) as field:
        field.start()
        strike_at(field.hospitals[VICTIM], "mask", "after", freeze)
        strike_at(field.hospitals[VICTIM], "reveal", "before", freeze)
        assert_all_is_well(field)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hospital_that_is_stopped_and_started_in_an_epoch_waits_for_the_next(tmp_path):
    def restart(site: RunningSite) -> None:
        assert site.stop() == 130
        wait_for("the end of all that it had started", lambda: not site.processes(), 60)
        site.start()

    with consortium(tmp_path) as field:
        field.start()
        strike_at(field.hospitals[VICTIM], "reveal", "before", restart)
        strike_at(field.coordinator, "apply", "before", restart)
        assert_all_is_well(field)
        revealed = [entry.epoch for entry in sent_by(field, VICTIM) if entry.stage == "REVEAL"]
        masked = [entry.epoch for entry in sent_by(field, VICTIM) if entry.stage == "MASKED"]
        assert set(revealed) < set(masked)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hospital_whose_disk_fills_up_sends_nothing_more_and_is_back_when_there_is_room(tmp_path):
    with consortium(tmp_path) as field, small_disk(field.site(VICTIM).path) as disk:
        field.start()
        victim = field.hospitals[VICTIM]
        victim.halt_at("advertise", "before")
        wait_for("an epoch", lambda: victim.is_halted)
        sent = len(sent_by(field, VICTIM))
        with disk.full():
            victim.go_on()
            wait_for("a round without it", lambda: any(record.step for record in field.rounds()))
            assert len(sent_by(field, VICTIM)) == sent
            assert VICTIM_NAME in {name for record in field.rounds() for name in record.dropped} or all(
                VICTIM_NAME not in record.survivors for record in field.rounds()
            )
        assert_all_is_well(field)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("minutes", [40, -40])
def test_a_hospital_whose_clock_is_wrong_takes_part_all_the_same(tmp_path, minutes):
    """Nothing in the protocol rests on a clock: Python's is wrong here. OpenSSL's is not, for which it matters by the
    months of a certificate."""
    with consortium(tmp_path) as field:
        field.hospitals[VICTIM].inside = ("env", f"SECAGG_TEST_CLOCK={60 * minutes}")
        field.start()
        strike_at(field.hospitals[VICTIM], "reveal", "after", kill_site)
        assert_all_is_well(field)
        victims, others = (datetime.fromisoformat(sent_by(field, number)[-1].time) for number in (VICTIM, OTHER))
        assert abs(victims - others) > timedelta(minutes=abs(minutes) / 2)

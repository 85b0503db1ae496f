"""Four hospitals with their own real files, in the field: processes of their own, mutual TLS, a signed release."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cli.main import run
from dp.randomness import secure_generator
from secagg.charter import Training
from secagg.masking import Purpose
from secagg.masking.messages import Sum
from secagg.wire import open_envelope
from secagg.wire.envelope import decode
from tests.support.field import Field, field_of
from tests.support.field_books import (
    assert_nothing_left_twice_or_uncharged,
    assert_transcript_fits,
    charged_rounds,
    released_digest,
)
from training.choices import CharterChoices
from training.coordinator import TRANSCRIPT
from training.coordinator_store import CoordinatorStore
from training.engines.embedded import EmbeddedEngine
from training.engines.nvflare.connection import HEARD
from training.simulation_folder import SimulationSettings
from training.sites import DataSource
from training.task import TaskSpec, load_task_file

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
SITES = ("cleveland", "hungarian", "switzerland", "va")
NOISE = "known to a test"
ROUNDS = 3


@pytest.fixture
def heart(real_data):
    files = [real_data / "uci-heart" / f"processed.{site}.data" for site in SITES]
    if not all(file.exists() for file in files):
        pytest.skip(f"no UCI Heart Disease in {real_data}: set SECAGG_DATA")
    return files


def settings_of(files, spec: TaskSpec, **choices) -> SimulationSettings:
    training = Training(rounds=ROUNDS, local_steps=4, batch_size=16, learning_rate=0.1)
    return SimulationSettings(
        task_kind=spec.kind,
        task_settings=spec.settings_json().decode(),
        source=DataSource(paths=tuple(map(str, files))),
        choices=CharterChoices(training=training, epoch_rounds=ROUNDS, **choices),
        device="cpu",
        compare=False,
    )


def private(files) -> SimulationSettings:
    return settings_of(files, load_task_file(EXAMPLES / "heart-bounds.toml"), privacy="local", epsilon=8.0)


def plain(files) -> SimulationSettings:
    return settings_of(files, load_task_file(EXAMPLES / "heart.toml"))


def run_embedded(field: Field) -> None:
    """Run the same sites in this process, epoch by epoch, over the embedded engine."""
    digest, serial, finished = field.charter.digest.hex(), 0, False
    while not finished:
        serial += 1
        with ExitStack() as opened:
            parties = {
                number: opened.enter_context(field.site(number).attend(digest, serial)) for number in field.hospitals
            }
            outcome = field.centre.run_epoch(field.charter, EmbeddedEngine(parties), serial, {}, lambda _record: None)
        assert outcome.reason is None, outcome.message
        finished = outcome.finished


def sums(field: Field) -> list[bytes]:
    """Every sum as the coordinator keeps it, without the tag: that is from keys which only this run had."""
    store = CoordinatorStore(field.coordinator.path / "coordinator", field.charter.digest)
    kept = [store.message(name) for name in store.sums_after(Purpose.TRAINING, 0)]
    messages = [open_envelope(message, field.charter, len(message)) for message in kept]
    return [bytes(decode(message.payload, Sum).vector) for message in messages]


@contextmanager
def same_in_both(tmp_path, settings, noise=None):
    """A consortium in the field, and its twin: the same keys, charter, files and seeds, run by the embedded engine."""
    with field_of(tmp_path / "field", settings) as field:
        twin = field.copied_to(tmp_path / "twin")
        for site in field.hospitals.values():
            site.seed = noise
        field.start()
        field.wait_for_release()
        yield field, twin


@pytest.mark.timeout(900)
def test_four_hospitals_in_the_field_train_to_one_release_that_all_can_check(heart, tmp_path, capsys, monkeypatch):
    with same_in_both(tmp_path, private(heart), NOISE) as (field, twin):
        assert_nothing_left_twice_or_uncharged(field)
        assert_transcript_fits(field)
        for number in field.hospitals:
            assert len(set(charged_rounds(field, number))) == ROUNDS
            assert (field.site(number).kit / HEARD).exists(), "no heartbeat was noted"
            assert run(["model", "verify", str(field.site(number).release)]) == 0
        transcript = str(field.coordinator.path / "coordinator" / TRANSCRIPT)
        assert run(["audit", "transcript", transcript, "--charter", str(field.centre.charter)]) == 0
        # The same noise in this process as the seam gave theirs: only a test can know any.
        key = NOISE.encode().ljust(16, b".")
        monkeypatch.setattr("training.contributing.secure_generator", lambda *own: secure_generator(*(own or (key,))))
        run_embedded(twin)
        assert sums(field) == sums(twin)
        assert released_digest(field) == released_digest(twin)


@pytest.mark.slow
def test_without_privacy_the_seeds_of_the_sites_give_the_sums_of_the_embedded_engine(heart, tmp_path):
    with same_in_both(tmp_path, plain(heart)) as (field, twin):
        assert_nothing_left_twice_or_uncharged(field, private=False)
        assert_transcript_fits(field)
        run_embedded(twin)
        assert sums(field) == sums(twin)
        assert released_digest(field) == released_digest(twin)

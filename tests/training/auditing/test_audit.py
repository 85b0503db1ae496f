"""The audit finds nothing against this build, and catches each build that is less private than it claims."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dp.auditing import Trial, epsilon_lower_bound, guesses_in_advance
from secagg.charter import Privacy
from secagg.errors import InputError, LocalProtocolError
from training.auditing import audit as audits
from training.auditing.audit import (
    CONTROLS,
    audit,
    audit_controls,
    judge,
    privacy_controls,
)
from training.auditing.canaries import OVERWEIGHT
from training.auditing.claim import ORDINARY
from training.auditing.runs import audited_charter, run_with_canaries
from training.auditing.settings import USUAL_RUNS, Settings
from training.auditing.terms import Terms
from training.testbed.build import Build, Control

WEAKENED = privacy_controls(Path(__file__).parents[2] / "attacks")

modes = pytest.mark.parametrize("mode", ["local", "distributed"])


def weight_of_canaries(terms: Terms, trial) -> np.ndarray:
    """By how much each is in the last model, in clip norms, over all steps."""
    batch = audited_charter(terms, len(trial.inside))[0].training.batch_size
    if terms.mode == "distributed":
        return trial.scores * batch / terms.privacy.clip_norm
    expected = len(trial.inside) / 2 + ORDINARY * len(terms.names)
    return trial.scores * (np.count_nonzero(trial.inside) + ORDINARY) / expected


@modes
def test_without_noise_a_canary_weighs_the_clip_norm_in_each_step(mode):
    terms = Terms.usual(mode)
    with WEAKENED["noise-off"].build.in_force():
        trial = run_with_canaries(terms, 60)
    weights = weight_of_canaries(terms, trial)
    assert weights[trial.inside] == pytest.approx(2.0, rel=1e-3)
    assert weights[~trial.inside] == pytest.approx(0.0, abs=1e-3)


@modes
def test_without_clipping_it_weighs_all_that_it_has(mode):
    terms = Terms.usual(mode)
    with WEAKENED["noise-off"].build.in_force(), WEAKENED["clip-off"].build.in_force():
        trial = run_with_canaries(terms, 60)
    assert weight_of_canaries(terms, trial)[trial.inside] == pytest.approx(2 * OVERWEIGHT, rel=1e-3)


@modes
def test_nothing_is_found_against_this_build(mode):
    found = audit(Terms.usual(mode), Settings(runs=3))
    assert found.within_claim
    assert [bound.guesses.made for bound in found.runs] == [70, 70, 70]
    assert found.together.guesses.canaries == 3 * 3300
    # Not for want of looking: a canary is told from the noise, if by less than the claim allows.
    assert 0 < found.together.epsilon < found.claim


def of_randomised_response(numbers: np.random.Generator, epsilon: float) -> Trial:
    """A run that tells of each canary whether it is in, and is right as often as epsilon allows."""
    inside = numbers.random(480) < 0.5
    told = inside == (numbers.random(480) < 1 / (1 + np.exp(-epsilon)))
    return Trial(inside, np.where(told, 1.0, -1.0) + numbers.uniform(-0.1, 0.1, 480))


def test_a_claim_that_is_exactly_true_is_refuted_as_seldom_as_the_confidence_says(monkeypatch):
    for computed in (epsilon_lower_bound, guesses_in_advance):
        monkeypatch.setattr(audits, computed.__name__, cache(computed))
    claim, made, numbers = 1.0, 400, np.random.default_rng(8)
    refuted = by_the_highest = 0
    for _ in range(made):
        found = judge("local", [of_randomised_response(numbers, claim) for _ in range(USUAL_RUNS)], claim, 0.0, 0.95)
        refuted += not found.within_claim
        # Control: the highest of many bounds, each of which holds at 95 %.
        by_the_highest += max(bound.epsilon for bound in (*found.runs, found.together)) > claim
    # With three standard errors; the claim is at the border, so that it is refuted now and then.
    assert 0.02 * made < refuted < 0.05 * made + 3 * (0.05 * 0.95 * made) ** 0.5
    assert by_the_highest > 0.25 * made


@modes
@pytest.mark.parametrize("name", ["noise-off", "clip-off"])
def test_control_one_run_without_noise_or_clipping_is_caught(mode, name):
    found = audit(Terms.usual(mode), Settings(runs=1), WEAKENED[name].build)
    assert not found.within_claim
    assert found.runs[0].guesses.right == found.runs[0].guesses.made


@pytest.mark.parametrize("mode", ["local", pytest.param("distributed", marks=pytest.mark.slow)])
def test_control_half_of_the_noise_is_caught(mode):
    found = audit(Terms.usual(mode), Settings(), WEAKENED["noise-halved"].build)
    assert found.together.epsilon > found.claim


@pytest.mark.slow
@modes
def test_twenty_honest_runs_of_twenty_are_within_the_claim(mode):
    found = audit(Terms.usual(mode), Settings())
    assert [bound.epsilon < found.claim for bound in found.runs] == [True] * 20
    assert found.together.epsilon < found.claim


def test_a_sampled_run_over_several_rounds_is_audited_as_it_is():
    sampled = Privacy(mode="distributed", noise_multiplier=1.0, sampling_rate=0.5, clip_norm=0.3)
    terms = replace(Terms.usual("distributed"), privacy=sampled, rounds=3, max_colluding=1)
    heard = []
    assert audit(terms, Settings(canaries=100, runs=1), on_round=lambda: heard.append(1)).within_claim
    assert len(heard) == 3


def test_there_is_a_weakened_build_for_each_control_and_none_changes_the_real_one():
    assert tuple(WEAKENED) == CONTROLS
    terms, settings = Terms.usual("local"), Settings(canaries=3300, runs=1)
    found = audit_controls(terms, settings, {"noise-off": WEAKENED["noise-off"]})
    assert not found["noise-off"].within_claim
    assert audit(terms, settings).within_claim


def test_a_folder_that_lacks_controls_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        privacy_controls(tmp_path)
    assert caught.value.reason == "no-controls"
    (tmp_path / "weakened").mkdir()
    (tmp_path / "weakened" / "__init__.py").write_text("PRIVACY = {}\n")
    with pytest.raises(InputError) as caught:
        privacy_controls(tmp_path)
    assert caught.value.reason == "control-missing"


def test_a_control_that_takes_out_what_is_not_there_is_named():
    def broken():
        raise AttributeError("no such thing")

    control = Control(Build(in_force=broken), "anything")
    with pytest.raises(LocalProtocolError) as caught:
        audit_controls(Terms.usual("local"), Settings(canaries=50, runs=1), {"noise-off": control})
    assert (caught.value.reason, caught.value.culprit) == ("control-broken", "noise-off")


@pytest.mark.parametrize("settings", [{"canaries": 10}, {"canaries": 10**6}, {"runs": 0}, {"confidence": 1.0}])
def test_settings_that_make_no_audit_are_refused(settings):
    with pytest.raises(InputError) as caught:
        Settings(**settings)
    assert caught.value.reason == "bad-audit"

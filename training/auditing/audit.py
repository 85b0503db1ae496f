"""Runs with canaries, and what they say of the epsilon that is claimed: nothing, or that it is too small.

Knows runs, guesses and the claim. Knows no mechanism: what it says would be as true of any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dp.auditing import Guesses, Trial, epsilon_lower_bound, guess, guesses_in_advance, pooled
from secagg.errors import InputError, LocalProtocolError
from training.auditing.runs import audited_charter, run_with_canaries
from training.auditing.settings import Mode, Settings
from training.auditing.terms import Terms
from training.privacy_plan import privacy_plan
from training.testbed.build import REAL, Build, Control
from training.testbed.weakened import load_weakened

CONTROLS: Final = ("noise-off", "clip-off", "noise-halved")


@dataclass(frozen=True)
class Bound:
    """What epsilon exceeds by the guesses, with the audit's confidence."""

    guesses: Guesses
    epsilon: float


@dataclass(frozen=True)
class Audit:
    """What came of an audit.

    Attributes:
        claim: the epsilon that is claimed of a run, at ``delta``.
        runs: what each says by itself, which decides nothing.
        together: what all say as one; of a single run, the same as it says.
    """

    mode: Mode
    claim: float
    delta: float
    confidence: float
    runs: tuple[Bound, ...]
    together: Bound

    @property
    def within_claim(self) -> bool:
        """Whether nothing was found against the claim: decided by all runs together, and by that bound alone.

        The highest of many bounds is above a claim that is true more often than each of them may be.
        """
        return self.together.epsilon <= self.claim

    @property
    def most(self) -> float:
        """What all runs together would say had every guess been right: a claim above it nothing could have refuted."""
        made = self.together.guesses
        return epsilon_lower_bound(made.canaries, made.made, made.made, self.delta, self.confidence)


def audit(terms: Terms, settings: Settings, build: Build = REAL, on_round: Callable[[], None] = lambda: None) -> Audit:
    """Run with canaries on these terms, and bound epsilon from below.

    Args:
        build: the real one, or one that lacks a part of the protection. What is claimed is the same of both.
        on_round: called after each of the ``terms.rounds`` of every run.

    Raises:
        InputError: if the terms cannot be kept.
        SecaggError: what stopped a run.
    """
    charter, _ = audited_charter(terms, settings.canaries)
    claim, delta = privacy_plan(charter).epsilon_after(terms.rounds), terms.privacy.delta
    with build.in_force():
        trials = [run_with_canaries(terms, settings.canaries, on_round) for _ in range(settings.runs)]
    return judge(terms.mode, trials, claim, delta, settings.confidence)


def judge(mode: Mode, trials: Sequence[Trial], claim: float, delta: float, confidence: float) -> Audit:
    """Bound epsilon by what came of runs, by each and by all together; each bound holds with this confidence."""

    def bound(trial: Trial) -> Bound:
        made = guess(trial, guesses_in_advance(len(trial.inside), claim, delta, confidence))
        return Bound(made, epsilon_lower_bound(made.canaries, made.made, made.right, delta, confidence))

    return Audit(mode, claim, delta, confidence, tuple(bound(trial) for trial in trials), bound(pooled(trials)))


def audit_controls(
    terms: Terms, settings: Settings, controls: Mapping[str, Control], on_round: Callable[[], None] = lambda: None
) -> dict[str, Audit]:
    """Audit weakened builds as the real one is.

    Raises:
        LocalProtocolError: ``control-broken``, if one takes out what is not there.
    """
    found = {}
    for name, control in controls.items():
        try:
            found[name] = audit(terms, settings, control.build, on_round)
        except AttributeError as error:
            raise LocalProtocolError(
                "control-broken",
                f"The weakened build {name} takes out what this build does not have: {error}.",
                culprit=name,
                remedy="Take tests/attacks from the same release as this command.",
            ) from error
    return found


def privacy_controls(folder: Path) -> dict[str, Control]:
    """The builds of a source checkout that are less private than they claim, by what they lack. They are code, and run.

    Args:
        folder: holds the package ``weakened`` with ``PRIVACY``.

    Raises:
        InputError: ``no-controls``, ``control-missing``.
    """
    held: dict[str, Control] = getattr(load_weakened(folder), "PRIVACY", {})
    missing = [name for name in CONTROLS if name not in held]
    if missing:
        raise InputError(
            "control-missing",
            f"{folder} has no weakened build for {', '.join(missing)}.",
            culprit=str(folder),
            remedy="Take tests/attacks from the same release as this command.",
        )
    return {name: held[name] for name in CONTROLS}

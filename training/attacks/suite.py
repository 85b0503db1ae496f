"""All attacks in one tuple, and how they are run: each in an empty folder, with its build in force.

Knows no attack's content.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.errors import InputError, LocalProtocolError, SecaggError
from training.attacks import (
    afterwards,
    behind,
    blame,
    both_shares,
    charters,
    ciphertexts,
    cohorts,
    contexts,
    differencing,
    encrypted_sums,
    endings,
    fields,
    group_secret,
    hospitals,
    keys,
    members,
    models,
    neighbours,
    noise,
    replays,
    set_back,
    sums,
    values,
    wire,
)
from training.attacks.model import Attack, Outcome, Succeeded
from training.scratch_folder import scratch_folder
from training.testbed.build import REAL, Build, Control
from training.testbed.weakened import load_weakened

ATTACKS: Final[tuple[Attack, ...]] = (
    *cohorts.ATTACKS,
    *both_shares.ATTACKS,
    *models.ATTACKS,
    *differencing.ATTACKS,
    *neighbours.ATTACKS,
    *keys.ATTACKS,
    *sums.ATTACKS,
    *afterwards.ATTACKS,
    *noise.ATTACKS,
    *members.ATTACKS,
    *blame.ATTACKS,
    *replays.ATTACKS,
    *charters.ATTACKS,
    *fields.ATTACKS,
    *hospitals.ATTACKS,
    *set_back.ATTACKS,
    *behind.ATTACKS,
    *endings.ATTACKS,
    *group_secret.ATTACKS,
    *encrypted_sums.ATTACKS,
    *contexts.ATTACKS,
    *ciphertexts.ATTACKS,
    *values.ATTACKS,
    *wire.ATTACKS,
)

QUICK: Final = tuple(attack for attack in ATTACKS if attack.quick)
"""The most telling ones, which take seconds."""


@dataclass(frozen=True)
class Verdict:
    """What came of one attack, on the real build and, where it was asked for, on its weakened one.

    Attributes:
        seconds: that both took.
        control: None where no controls were asked for.
    """

    attack: Attack
    outcome: Outcome
    seconds: float
    control: Outcome | None = None
    without: str | None = None

    @property
    def refused(self) -> bool:
        """Whether the real build refused the attack, by whom and for what reasons it should."""
        return self.outcome == self.attack.refused

    @property
    def control_succeeded(self) -> bool:
        """Whether the attack is a real one: it succeeds where the defence is missing."""
        return self.control is None or isinstance(self.control, Succeeded)


def perform(attack: Attack, build: Build = REAL) -> Outcome:
    """Run one attack.

    Raises:
        LocalProtocolError: ``attack-broken``, if what is honest in the script was refused: nothing is known then.
    """
    with scratch_folder() as folder, build.in_force():
        try:
            return attack.run(build, folder)
        except SecaggError as error:
            raise LocalProtocolError(
                "attack-broken",
                f"The attack {attack.name} could not be carried out: {error}",
                culprit=attack.name,
                remedy="This build refuses what it should accept, or the attack is older than the build.",
            ) from error


def audit(attack: Attack, controls: Mapping[str, Control] | None = None) -> Verdict:
    """Run one attack on the real build and, if there are controls, on its weakened one.

    Raises:
        LocalProtocolError: ``attack-broken``, ``control-broken``.
    """
    start = time.perf_counter()
    outcome = perform(attack)
    if controls is None:
        return Verdict(attack, outcome, time.perf_counter() - start)
    control = controls[attack.name]
    try:
        weakened = perform(attack, control.build)
    except AttributeError as error:
        raise LocalProtocolError(
            "control-broken",
            f"The weakened build for {attack.name} takes out what this build does not have: {error}.",
            culprit=attack.name,
            remedy="Take tests/attacks from the same release as this command.",
        ) from error
    return Verdict(attack, outcome, time.perf_counter() - start, weakened, control.without)


def named(names: Iterable[str]) -> tuple[Attack, ...]:
    """The attacks of these names, each once.

    Raises:
        InputError: ``unknown-attack``.
    """
    known = {attack.name: attack for attack in ATTACKS}
    wanted = tuple(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            like = difflib.get_close_matches(name, known, n=3)
            raise InputError(
                "unknown-attack",
                f"There is no attack called {name}.",
                culprit=name,
                remedy=f"Did you mean {' or '.join(like)}?" if like else "`secagg audit attack --list` lists all.",
            )
    return tuple(known[name] for name in wanted)


def load_controls(folder: Path, attacks: Iterable[Attack]) -> Mapping[str, Control]:
    """The weakened builds of a source checkout, by attack. They are code, and it is run.

    Args:
        folder: holds the package ``weakened`` with ``CONTROLS``.

    Raises:
        InputError: ``no-controls``, ``control-missing``.
    """
    module = load_weakened(folder)
    controls: Mapping[str, Control] = getattr(module, "CONTROLS", {})
    missing = [attack.name for attack in attacks if attack.name not in controls]
    if missing:
        raise InputError(
            "control-missing",
            f"{folder} has no weakened build for {', '.join(missing)}.",
            culprit=str(folder),
            remedy="Take tests/attacks from the same release as this command.",
        )
    return controls

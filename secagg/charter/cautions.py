"""What everybody must be told of a charter before signing it, beyond its terms.

Knows what a scheme does not protect against, and what it costs. It is said here once, so that all say the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from secagg.charter.model import Charter
from secagg.charter.rounding import enough_patients, is_coarse
from secagg.charter.sections import ENCRYPTED_SCHEMES, MASKED_SCHEMES, Encoding, Scheme, ServerStep, TaskChoice
from secagg.graph import COMPLETE_UP_TO

SHARED_KEY_SCHEMES: Final = ENCRYPTED_SCHEMES - MASKED_SCHEMES
"""Encrypted and nothing else: whoever has the one key and the ciphertexts reads every update."""


@dataclass(frozen=True)
class Caution:
    """Something that is refused by nobody and that people must know, such as what a charter allows.

    Attributes:
        code: stable, for programs, in kebab-case.
        message: what it is, for people.
        remedy: what to choose instead, or to do; empty where there is nothing.
    """

    code: str
    message: str
    remedy: str

    def told(self) -> str:
        """On one line, for the terminal."""
        return " ".join(filter(None, (self.message, self.remedy, f"[{self.code}]")))


def cautions(charter: Charter) -> tuple[Caution, ...]:
    """All that is to be told of a charter, the gravest first."""
    found = []
    if charter.scheme in SHARED_KEY_SCHEMES:
        found.append(shared_key(charter.scheme))
    start = _start_of(charter.task)
    if start and charter.privacy.mode == "none":
        found.append(_chosen_start(start))
    if charter.privacy.mode != "distributed":
        # There gradients are rounded at random, on a grid of their own that is finer than the noise.
        sizes = len(charter.members), charter.model.parameters, charter.encoding
        if is_coarse(*sizes, charter.training.weighting):
            found.append(coarse_grid(*sizes))
    if charter.scheme in ENCRYPTED_SCHEMES and len(charter.members) > COMPLETE_UP_TO:
        found.append(_all_with_all(charter.scheme, len(charter.members)))
    if charter.training.server.warm_up >= charter.training.rounds:
        found.append(_never_warm(charter.training.server, charter.training.rounds))
    return tuple(found)


def shared_key(scheme: Scheme) -> Caution:
    """What a scheme of `SHARED_KEY_SCHEMES` does not protect against."""
    return Caution(
        "shared-key",
        f"Under the scheme {scheme} all hospitals have one key: a coordinator that colludes with any one of them "
        "reads every hospital's update.",
        "Choose the scheme double-lock: there a coordinator and up to max_colluding hospitals get the sum and nobody's "
        "update.",
    )


def _start_of(task: TaskChoice) -> str:
    """What the first model comes from, if that is neither the settings alone nor code of secagg; empty if it is not."""
    if ":" in task.kind:
        return f"the code of the task {task.kind}"
    model = task.settings.get("model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    return f"the backbone {backbone}" if backbone else ""


def _chosen_start(start: str) -> Caution:
    return Caution(
        "chosen-start",
        f"Training starts from {start}, without differential privacy: a model that was made for the purpose lets a sum "
        "show single patients, however many hospitals are in it.",
        "Choose differential privacy, or make sure who made that model, and how.",
    )


def coarse_grid(members: int, parameters: int, encoding: Encoding) -> Caution:
    """What rounding takes from hospitals with few patients, where `is_coarse`."""
    patients = math.ceil(enough_patients(members, parameters, encoding))
    of_whom = "any hospital" if patients > encoding.max_weight else f"a hospital with fewer than {patients} patients"
    return Caution(
        "coarse-grid",
        f"For {members} hospitals, {encoding.field_bits} bits and a max_weight of {encoding.max_weight} are a coarse "
        f"grid: an update of {of_whom} is lost to rounding, in part or whole, unless it is longer than a tenth of "
        "update_norm. A run may learn nothing.",
        "Choose more field_bits, a max_weight of about the largest hospital's patients, or a smaller update_norm.",
    )


def large_delta(delta: float, patients: int) -> tuple[Caution, ...]:
    """What is to be told of a delta that allows to show one of so many training patients in full.

    A charter does not say how many there are: this is for whoever knows.
    """
    if delta * patients < 1:
        return ()
    return (
        Caution(
            "delta-too-large",
            f"Delta is {delta:g}, and with {patients:,} patients in training 1 / {patients:,} is no more than that: it "
            "allows that one of them is shown in full, however small epsilon is.",
            f"Choose a delta well below 1 / {patients:,}, such as {0.1 / patients:.1g}.",
        ),
    )


def _never_warm(server: ServerStep, rounds: int) -> Caution:
    return Caution(
        "warm-up-too-long",
        f"The server's learning rate rises over {server.warm_up} rounds, and there are {rounds}: it never comes to "
        f"{server.learning_rate:g}.",
        f"Choose a warm-up of fewer than {rounds} rounds.",
    )


def _all_with_all(scheme: Scheme, members: int) -> Caution:
    return Caution(
        "all-with-all",
        f"Under the scheme {scheme} each of the {members} hospitals has to do with all {members - 1} others: every key "
        f"set-up takes {members * (members - 1)} messages from hospital to hospital.",
        "Choose the scheme mask, where each has a few neighbours, or more rounds a key set-up.",
    )

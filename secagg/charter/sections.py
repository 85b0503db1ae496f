"""The parts of a charter, and what each of their values may be by itself.

Whether they contradict each other is for `secagg.charter.contradictions`.
"""

from __future__ import annotations

import math
import sys
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from secagg.charter.names import Name
from secagg.errors import InputError
from secagg.graph import Graph
from secagg.homomorphic.parameters import DEFAULT_PARAMETERS
from secagg.identity import PublicKey
from secagg.labels import DIGEST_SIZE, Digest

MOST_MEMBERS = 1000
MOST_PARAMETERS = 1 << 32
# Of one hospital as it weighs, and of all together in a step.
MOST_RECORDS: Final = 1 << 20
# A delta of one in a hundred allows that one patient in a hundred is shown in full.
DELTA_LIMIT: Final = 0.01
# What float32 can hold: models are trained in it, and a larger factor is none.
LARGEST_FACTOR: Final = (2 - 2**-23) * 2.0**127
# Each is a secret more that every hospital shares for every round, and a draw more of noise.
MOST_NOISE_LEVELS: Final = 4
# A task's have three. With keys of many parts a short file has more than Python goes down.
MOST_SETTING_LEVELS: Final = 32

PrivacyMode = Literal["none", "local", "distributed"]
Optimizer = Literal["fedavg", "momentum", "adam"]
Scheme = Literal["mask", "double-lock", "bfv", "ckks"]
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)
"""In the order in which they are offered and compared."""
MASKED_SCHEMES: Final = frozenset({"mask", "double-lock"})
ENCRYPTED_SCHEMES: Final = frozenset({"ckks", "bfv", "double-lock"})

Count = Annotated[int, msgspec.Meta(ge=1, le=MOST_PARAMETERS)]
# The upper bound keeps infinity out: JSON has no infinity, so the canonical bytes could not tell it from others.
Positive = Annotated[float, msgspec.Meta(gt=0, le=sys.float_info.max)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]
PositiveFactor = Annotated[float, msgspec.Meta(gt=0, le=LARGEST_FACTOR)]
Factor = Annotated[float, msgspec.Meta(ge=0, le=LARGEST_FACTOR)]
Fraction = Annotated[float, msgspec.Meta(gt=0, le=1)]
# Beyond these, arithmetic in floating point ends before privacy does.
NoiseMultiplier = Annotated[float, msgspec.Meta(ge=0, le=10_000)]
ClipNorm = Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]
# Of one that is smaller by far the steps of the grid could not be counted in floating point.
UpdateNorm = Annotated[float, msgspec.Meta(ge=1e-30, le=LARGEST_FACTOR)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the charter: immutable, and nothing in it that we don't know."""


class Member(Section, frozen=True):
    """One hospital: its name within the consortium and its Ed25519 public key (32 bytes)."""

    name: Name
    public_key: PublicKey


class NeighbourGraph(Section, frozen=True):
    """With whom hospitals mask; see `secagg.graph`.

    Attributes:
        degree: k, how many holders each hospital draws for its shares; 0: everybody masks with everybody.
        threshold: how many of them rebuild its secrets; 0 with a degree of 0, where it is the charter's threshold.
    """

    degree: Annotated[int, msgspec.Meta(ge=0, le=MOST_MEMBERS)] = 0
    threshold: Annotated[int, msgspec.Meta(ge=0, le=MOST_MEMBERS)] = 0

    @classmethod
    def of(cls, graph: Graph | None) -> NeighbourGraph:
        """As a charter says it; None: everybody masks with everybody."""
        return cls(degree=graph.degree, threshold=graph.threshold) if graph else cls()


class Homomorphic(Section, frozen=True):
    """How updates are encrypted, where the scheme is one of homomorphic encryption.

    Attributes:
        parameters: the name of a parameter set of `secagg.homomorphic.parameters`.
    """

    parameters: Annotated[str, msgspec.Meta(max_length=32)] = DEFAULT_PARAMETERS


class Encoding(Section, frozen=True):
    """How updates become integers.

    Attributes:
        field_bits: b; the masking ring is Z_2^b.
        update_norm: the L2 norm that each hospital clips its update to, and the largest coordinate encoded.
        max_weight: w_max; a hospital with more patients counts as if it had this many.
    """

    field_bits: Annotated[int, msgspec.Meta(ge=16, le=64)] = 24
    update_norm: UpdateNorm = 10.0
    max_weight: Annotated[int, msgspec.Meta(ge=1, le=MOST_RECORDS)] = 10_000


class Model(Section, frozen=True):
    """The model all start from: its digest (SHA-256) and number of trained parameters."""

    digest: Digest
    parameters: Count


class TaskChoice(Section, frozen=True):
    """Which task is trained. `settings` belongs to the task; here it is only hashed and carried."""

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        _check_setting("task.settings", self.settings, MOST_SETTING_LEVELS)

    def settings_json(self) -> bytes:
        """The settings as canonical JSON: UTF-8, sorted keys, no white space."""
        return msgspec.json.encode(self.settings, order="sorted")


class Statistics(Section, frozen=True):
    """Feature means and variances taken by secure sum before training. `features` = 0: none are taken."""

    features: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 0


class Metrics(Section, frozen=True):
    """Validation counts summed with each update.

    Attributes:
        release: ``none``; ``exact`` (only without differential privacy); ``noisy`` (charged to the budget).
        every: they are released with each so-many-th sum and with the last.
        cells: how many counts there are; every validation patient adds one to exactly one of them.
        target: training stops once the task's metric reaches this value.
    """

    release: Literal["none", "exact", "noisy"] = "none"
    cells: Annotated[int, msgspec.Meta(ge=0, le=1 << 16)] = 0
    every: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    target: Fraction | None = None


class Privacy(Section, frozen=True):
    """The differential privacy of the run; see ``docs/accounting.md``.

    Attributes:
        mode: ``none``; ``local``: every hospital adds the whole noise to its own update; ``distributed``: every sum is
            one optimizer step on all records, and every hospital adds its share of the noise.
        noise_multiplier: standard deviation of the noise over ``clip_norm``; under ``distributed``, of the noise of all
            honest survivors together.
        noise: the distribution of noise shares, on integers, under ``distributed``.
        noise_levels: under ``distributed``, numbers of survivors, falling, each above the threshold: noise is sized for
            the fewest, and what is surplus where as many survive is removed from the sum again. None: it stays.
        noise_digest: where there are levels, of what is drawn from a known key: whoever draws otherwise does not start,
            and never removes other noise than was added.
        clip_norm: the most one patient's gradient can weigh, L2.
        sampling_rate: the probability with which a patient is in a step's batch (Poisson sampling).
        delta: the delta of (epsilon, delta).
        metric_noise_multiplier: standard deviation of the noise on each released count, in patients.
        budget: the epsilon that the whole run may cost each hospital.
    """

    mode: PrivacyMode = "none"
    noise_multiplier: NoiseMultiplier = 0.0
    noise: Literal["skellam", "discrete-gaussian"] = "skellam"
    noise_levels: Annotated[tuple[int, ...], msgspec.Meta(max_length=MOST_NOISE_LEVELS)] = ()
    noise_digest: Annotated[bytes, msgspec.Meta(max_length=DIGEST_SIZE)] = b""
    clip_norm: ClipNorm = 1.0
    sampling_rate: Fraction = 1.0
    delta: Annotated[float, msgspec.Meta(gt=0, lt=DELTA_LIMIT)] = 1e-5
    metric_noise_multiplier: NoiseMultiplier = 0.0
    budget: NotNegative = 0.0


class ServerStep(Section, frozen=True):
    """What every hospital does with the mean update (Reddi et al. 2021): identical everywhere.

    Attributes:
        schedule: how the learning rate falls to zero over the charter's rounds, if it does.
        warm_up: over how many rounds it first rises from zero.
    """

    optimizer: Optimizer = "fedavg"
    learning_rate: Positive = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warm_up: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    beta1: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.99
    tau: Positive = 1e-3


class Training(Section, frozen=True):
    """The local work of one round, and how many sums make the model.

    Attributes:
        rounds: how many sums are applied in all.
        local_steps: optimizer steps of each hospital between two sums.
        batch_size: records in a step, where ``privacy.mode`` is ``none``; where it is ``distributed``, what the sum of
            gradients is divided by: about the expected number of patients in a step, of all hospitals together. It is
            public, and tells how many patients train if it was computed from their exact number.
        learning_rate, momentum, weight_decay: of the local SGD.
        prox_mu: FedProx's mu (Li et al. 2020); 0 is FedAvg.
        weighting: ``records``: a hospital counts by its training patients; ``uniform``: all count the same.
    """

    rounds: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    local_steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=MOST_RECORDS)] = 32
    learning_rate: PositiveFactor = 0.1
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    weight_decay: Factor = 0.0
    prox_mu: Factor = 0.0
    weighting: Literal["records", "uniform"] = "records"
    server: ServerStep = ServerStep()


def _check_setting(path: str, value: object, levels: int) -> None:
    """Only what TOML and JSON both write in one way: other values could give two charters the same hash.

    Args:
        levels: how many more there may be, one within the other.
    """
    if not levels:
        raise InputError(
            "unsupported-setting",
            f"Settings lie within one another {MOST_SETTING_LEVELS} times or more.",
            culprit="task.settings",
            remedy="No task has such settings: ask whoever wrote the charter.",
        )
    match value:
        case dict():
            for key, item in value.items():
                _check_setting(f"{path}.{key}", item, levels - 1)
        case list() | tuple():
            for item in value:
                _check_setting(path, item, levels - 1)
        case str() | int():
            return
        case float() if math.isfinite(value):
            return
        case _:
            raise InputError(
                "unsupported-setting",
                f"{path} is {value}: a setting is text, a whole number, a finite number, true or false, or a list.",
                culprit=path,
                remedy="Write dates as text, and leave out what has no value.",
            )

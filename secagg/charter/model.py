"""The charter: everything a consortium agrees on before it trains, as one immutable value.

Knows what a charter says and which charters contradict themselves. Knows nothing of files or signatures, and of the
task only that it has a kind and settings.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

import msgspec

from secagg.errors import InputError
from secagg.graph import SECURITY_BITS, Graph, hiding_bound, smallest_threshold_of
from secagg.homomorphic.parameters import DEFAULT_PARAMETERS, parameter_set
from secagg.labels import DIGEST_SIZE, digest

CHARTER_VERSION: Final = 1
MOST_MEMBERS = 1000
MOST_PARAMETERS = 1 << 32
FEWEST_MEMBERS: Final = 3
# What a coordinator can learn of an epoch's homomorphic secret grows with it: `docs/encryption.md`, on false sums.
MOST_OPENINGS: Final = 10_000
# A delta of one in a hundred allows that one patient in a hundred is shown in full.
DELTA_LIMIT: Final = 0.01
# Where feature statistics are summed: means first, then variances around them.
STATISTICS_SUMS: Final = 2
# What float32 can hold: models are trained in it, and a larger factor is none.
LARGEST_FACTOR: Final = (2 - 2**-23) * 2.0**127
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"

# Each is a secret more that every hospital shares for every round, and a draw more of noise.
MOST_NOISE_LEVELS: Final = 4

PrivacyMode = Literal["none", "local", "distributed"]
Scheme = Literal["mask", "ckks", "bfv", "double-lock"]
MASKED_SCHEMES: Final = frozenset({"mask", "double-lock"})
ENCRYPTED_SCHEMES: Final = frozenset({"ckks", "bfv", "double-lock"})

Name = Annotated[str, msgspec.Meta(pattern=_NAME)]
PublicKey = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_SIZE, max_length=DIGEST_SIZE)]
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


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the charter: immutable, and nothing in it that we don't know."""


class Member(_Section, frozen=True):
    """One hospital: its name within the consortium and its Ed25519 public key (32 bytes)."""

    name: Name
    public_key: PublicKey


class NeighbourGraph(_Section, frozen=True):
    """With whom hospitals mask; see `secagg.graph`.

    Attributes:
        degree: k, how many holders each hospital draws for its shares; 0: everybody masks with everybody.
        threshold: how many of them rebuild its secrets; 0 with a degree of 0, where it is the charter's threshold.
    """

    degree: Annotated[int, msgspec.Meta(ge=0, le=MOST_MEMBERS)] = 0
    threshold: Annotated[int, msgspec.Meta(ge=0, le=MOST_MEMBERS)] = 0


class Homomorphic(_Section, frozen=True):
    """How updates are encrypted, where the scheme is one of homomorphic encryption.

    Attributes:
        parameters: the name of a parameter set of `secagg.homomorphic.parameters`.
    """

    parameters: Annotated[str, msgspec.Meta(max_length=32)] = DEFAULT_PARAMETERS


class Encoding(_Section, frozen=True):
    """How updates become integers.

    Attributes:
        field_bits: b; the masking ring is Z_2^b.
        update_norm: the L2 norm that each hospital clips its update to, and the largest coordinate encoded.
        max_weight: w_max; a hospital with more records counts as this many.
    """

    field_bits: Annotated[int, msgspec.Meta(ge=16, le=64)] = 24
    update_norm: Positive = 10.0
    max_weight: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 10_000


class Model(_Section, frozen=True):
    """The model all start from: its digest (SHA-256) and number of trained parameters."""

    digest: Digest
    parameters: Count


class TaskChoice(_Section, frozen=True):
    """Which task is trained. `settings` belongs to the task; here it is only hashed and carried."""

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        _check_setting("task.settings", self.settings)

    def settings_json(self) -> bytes:
        """The settings as canonical JSON: UTF-8, sorted keys, no white space."""
        return msgspec.json.encode(self.settings, order="sorted")


class Statistics(_Section, frozen=True):
    """Feature means and variances taken by secure sum before training. `features` = 0: none are taken."""

    features: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 0


class Metrics(_Section, frozen=True):
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


class Privacy(_Section, frozen=True):
    """The differential privacy of the run; see ``docs/accounting.md``.

    Attributes:
        mode: ``none``; ``local``: every hospital adds the whole noise to its own update; ``distributed``: every sum is
            one optimizer step on all records, and every hospital adds its share of the noise.
        noise_multiplier: standard deviation of the noise over ``clip_norm``; under ``distributed``, of the noise of all
            honest survivors together.
        noise: the distribution of noise shares, on integers, under ``distributed``.
        noise_levels: under ``distributed``, numbers of survivors, falling, each above the threshold: noise is sized for
            the fewest, and what is too much where as many survive is taken off the sum again. None: it stays.
        noise_digest: where there are levels, of what is drawn from a known key: whoever draws otherwise does not start,
            and never takes off other noise than was added.
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


class ServerStep(_Section, frozen=True):
    """What every hospital does with the mean update (Reddi et al. 2021): identical everywhere.

    Attributes:
        schedule: how the learning rate falls to zero over the charter's rounds, if it does.
        warm_up: over how many rounds it first rises from zero.
    """

    optimizer: Literal["fedavg", "momentum", "adam"] = "fedavg"
    learning_rate: Positive = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warm_up: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    beta1: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.99
    tau: Positive = 1e-3


class Training(_Section, frozen=True):
    """The local work of one round, and how many sums make the model.

    Attributes:
        rounds: how many sums are applied in all.
        local_steps: optimizer steps of each hospital between two sums.
        batch_size: records in a step, where ``privacy.mode`` is ``none``; where it is ``distributed``, what the sum of
            gradients is divided by: the expected number of patients in a step, of all hospitals together.
        learning_rate, momentum, weight_decay: of the local SGD.
        prox_mu: FedProx's mu (Li et al. 2020); 0 is FedAvg.
        weighting: ``records``: a hospital counts by its training patients; ``uniform``: all count the same.
    """

    rounds: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    local_steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 32
    learning_rate: PositiveFactor = 0.1
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    weight_decay: Factor = 0.0
    prox_mu: Factor = 0.0
    weighting: Literal["records", "uniform"] = "records"
    server: ServerStep = ServerStep()


class Charter(_Section, frozen=True):
    """Everything the members agree on. Nothing in it changes without a new charter and new signatures.

    Attributes:
        members: in the order that numbers them: the i-th member is number i, from 1, on the wire and in shares.
        threshold: t, the fewest hospitals of which a sum is ever taken.
        max_colluding: c, how many members may conspire with the coordinator.
        scheme: ``mask``: the coordinator sees the sum and no more. ``double-lock``: masked values inside BFV; it does
            not see the sum either. ``bfv`` and ``ckks``: encrypted under one key that every hospital has, and so open
            to a coordinator that conspires with any of them.
        epoch_rounds: E, the rounds that one key set-up serves.
        nonce: 16 random bytes, so that no two charters are the same, even where all else is: each is its own run.

    Raises:
        InputError: on construction, naming the first thing that contradicts itself.
    """

    name: Name
    nonce: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    members: Annotated[tuple[Member, ...], msgspec.Meta(max_length=MOST_MEMBERS)]
    threshold: Annotated[int, msgspec.Meta(ge=2)]
    max_colluding: Annotated[int, msgspec.Meta(ge=0)]
    model: Model
    task: TaskChoice
    training: Training
    scheme: Scheme = "mask"
    graph: NeighbourGraph = NeighbourGraph()
    homomorphic: Homomorphic = Homomorphic()
    encoding: Encoding = Encoding()
    statistics: Statistics = Statistics()
    metrics: Metrics = Metrics()
    privacy: Privacy = Privacy()
    epoch_rounds: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    version: Literal[1] = CHARTER_VERSION

    def __post_init__(self) -> None:
        _check_members(self)
        _check_threshold(self)
        _check_graph(self)
        _check_homomorphic(self)
        _check_privacy(self)
        _check_distributed(self)
        _check_metrics(self)

    def canonical_bytes(self) -> bytes:
        """The bytes that are hashed and signed: JSON, UTF-8, keys sorted, no white space, every default written out."""
        return msgspec.json.encode(self, order="sorted")

    def digest(self) -> bytes:
        """SHA-256 over the canonical bytes, 32 bytes."""
        return digest("charter", self.canonical_bytes())

    def number_of(self, name: str) -> int:
        """The number of the member called ``name``.

        Raises:
            InputError: ``unknown-member``.
        """
        for number, member in enumerate(self.members, start=1):
            if member.name == name:
                return number
        raise InputError(
            "unknown-member",
            f"{name} is not a member of the charter {self.name}.",
            culprit=name,
            remedy=f"Its members are {', '.join(member.name for member in self.members)}.",
        )

    def number_with_key(self, public_key: bytes) -> int | None:
        """The number of the member with this key, 32 bytes; None if there is none."""
        keys = [member.public_key for member in self.members]
        return keys.index(public_key) + 1 if public_key in keys else None

    def member(self, number: int) -> Member:
        """The member numbered ``number``, from 1."""
        return self.members[number - 1]


def is_name(text: str) -> bool:
    """Whether a charter can hold ``text`` as a name."""
    return re.match(_NAME, text) is not None


def check_name(name: str, whose: str) -> None:
    """Refuse what a charter cannot hold as a name.

    Args:
        whose: what would be called so.

    Raises:
        InputError: ``bad-name``.
    """
    if not is_name(name):
        raise InputError(
            "bad-name",
            f"{name!r} cannot be the name of {whose}.",
            culprit=name,
            remedy="A name has 1 to 64 letters A to Z or a to z, digits, dots, hyphens and underscores, "
            "and begins with a letter or a digit.",
        )


def smallest_threshold(members: int, colluding: int) -> int:
    """The smallest safe t for n members of which c collude: floor((n + c) / 2) + 1.

    Below it a coordinator could name two survivor sets and collect t shares for each: a victim's self-mask seed with
    one, its mask key with the other. With t at this value, two sets of t responders share more than c members, so at
    least one honest hospital, which answers only once. At least two honest hospitals remain in every sum.
    """
    return max((members + colluding) // 2 + 1, colluding + 2)


def _check_setting(path: str, value: object) -> None:
    """Only what TOML and JSON both write in one way: other values could give two charters the same hash."""
    match value:
        case dict():
            for key, item in value.items():
                _check_setting(f"{path}.{key}", item)
        case list() | tuple():
            for item in value:
                _check_setting(path, item)
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


def _check_members(charter: Charter) -> None:
    if len(charter.members) < FEWEST_MEMBERS:
        raise InputError(
            "too-few-members",
            f"A consortium has {FEWEST_MEMBERS} hospitals or more, and this one {len(charter.members)}: "
            "a sum over two tells each of them the other's part.",
            remedy="Add a hospital.",
        )
    for what, values in (
        ("name", [member.name for member in charter.members]),
        ("public key", [member.public_key for member in charter.members]),
    ):
        if len(set(values)) != len(values):
            raise InputError(
                "duplicate-member", f"Two members of the charter have the same {what}.", remedy="List each member once."
            )


def _check_threshold(charter: Charter) -> None:
    count = len(charter.members)
    smallest = smallest_threshold(count, charter.max_colluding)
    if smallest > count:
        raise InputError(
            "too-many-colluding",
            f"No threshold is safe for {count} members of which {charter.max_colluding} collude.",
            remedy="Lower max_colluding or add members.",
        )
    if not smallest <= charter.threshold <= count:
        raise InputError(
            "unsafe-threshold",
            f"The threshold {charter.threshold} is outside {smallest} to {count}, "
            f"what {count} members of which {charter.max_colluding} may collude need.",
            remedy=f"Set threshold = {smallest}.",
        )


def _check_graph(charter: Charter) -> None:
    count, chosen = len(charter.members), charter.graph
    graph = Graph(chosen.degree, chosen.threshold)
    if graph == Graph(0, 0):
        return
    if not 1 <= graph.threshold <= graph.degree < count:
        raise InputError(
            "graph-contradicts",
            f"A graph of degree {graph.degree} and threshold {graph.threshold} cannot be for {count} members.",
            remedy="Set 1 <= graph.threshold <= graph.degree < members, or leave graph out: all mask with all.",
        )
    if hiding_bound(count, charter.max_colluding, graph) <= -SECURITY_BITS:
        return
    safe = smallest_threshold_of(count, charter.max_colluding, graph.degree)
    raise InputError(
        "unsafe-graph",
        f"With {graph.degree} neighbours and a threshold of {graph.threshold} among {count} members of which "
        f"{charter.max_colluding} may collude, a sum could be over half of the others or fewer, with a probability "
        f"above 2^-{SECURITY_BITS}.",
        remedy=f"Set graph.threshold = {safe} or more." if safe else "Raise graph.degree: `secagg plan` says how far.",
    )


def _check_homomorphic(charter: Charter) -> None:
    parameter_set(charter.homomorphic.parameters)
    if charter.scheme not in ENCRYPTED_SCHEMES:
        return
    if len(charter.members) * charter.epoch_rounds > MOST_OPENINGS:
        raise InputError(
            "secret-used-too-often",
            f"{len(charter.members)} hospitals would each open {charter.epoch_rounds} sums with one secret. If one "
            f"opens, that may tell a coordinator that lies a bit of it; {MOST_OPENINGS} are the most.",
            culprit="epoch_rounds",
            remedy=f"Set epoch_rounds = {MOST_OPENINGS // len(charter.members)} or less.",
        )
    if charter.graph.degree:
        raise InputError(
            "graph-contradicts",
            f"Under the scheme {charter.scheme} every hospital opens the sum itself, and must know everybody's keys.",
            culprit="graph",
            remedy="Leave graph out: all have to do with all. Or choose the scheme mask.",
        )


def _check_privacy(charter: Charter) -> None:
    privacy = charter.privacy
    if privacy.mode == "none":
        return
    if privacy.noise_multiplier == 0:
        raise InputError(
            "no-noise",
            f"The privacy mode is {privacy.mode}, but the noise multiplier is 0.",
            remedy="Give a noise multiplier above 0, or mode none.",
        )
    if charter.training.weighting == "records":
        raise InputError(
            "weights-not-private",
            "Weighting by records releases record counts without noise, which differential privacy does not cover.",
            remedy='Set weighting = "uniform".',
        )
    if charter.statistics.features:
        raise InputError(
            "statistics-not-private",
            "Feature statistics taken by secure sum carry no noise, which differential privacy does not cover.",
            remedy='Set standardise = "bounds" in the task and give each feature its public bounds.',
        )


def _check_distributed(charter: Charter) -> None:
    privacy = charter.privacy
    if len(privacy.noise_digest) != (DIGEST_SIZE if privacy.noise_levels else 0):
        raise InputError(
            "noise-levels-contradict",
            f"A digest of noise has {DIGEST_SIZE} bytes where there are levels, and none where there are not.",
            culprit="privacy.noise_digest",
            remedy="Draft the charter with `secagg charter new`.",
        )
    if privacy.mode == "distributed":
        _check_steps(charter.training)
        _check_who_hides(charter)
    elif privacy.noise_levels:
        raise _levels_contradict(f"The privacy mode is {privacy.mode}, in which no hospital adds a share of noise.")
    if privacy.noise_levels:
        _check_levels(charter)


def _check_steps(training: Training) -> None:
    if training.local_steps != 1:
        raise InputError(
            "steps-contradict",
            f"Under distributed differential privacy every sum is one step, but training.local_steps is "
            f"{training.local_steps}.",
            culprit="training.local_steps",
            remedy="Set training.local_steps = 1, and training.rounds to the number of steps.",
        )
    if training.prox_mu or training.momentum or training.weight_decay:
        raise InputError(
            "steps-contradict",
            "Under distributed differential privacy no hospital takes steps of its own, to which momentum, weight "
            "decay or prox_mu could belong.",
            culprit="training",
            remedy="Leave them out. Momentum is the server's, as the learning rate is.",
        )


def _check_who_hides(charter: Charter) -> None:
    """Shares of noise hide a patient only if nobody sees a vector by itself."""
    if charter.scheme not in MASKED_SCHEMES:
        raise InputError(
            "noise-not-shared",
            f"Under the scheme {charter.scheme} a coordinator that conspires with one hospital sees every vector, and "
            "each carries a share of the noise only.",
            culprit="scheme",
            remedy="Choose the scheme mask or double-lock, or local differential privacy.",
        )


def _check_levels(charter: Charter) -> None:
    check_noise_levels(charter.privacy.noise_levels, len(charter.members), charter.threshold)
    if charter.graph.degree:
        raise _levels_contradict(
            "Among neighbours a lying coordinator can leave hospitals out of a sum, and their noise with them: it is "
            "sized for half of the honest ones, and none is too much."
        )
    if charter.privacy.noise != "skellam":
        raise _levels_contradict(
            "Discrete Gaussians of different variances do not add up to one, so that noise cannot be added in parts."
        )
    if charter.scheme != "mask":
        raise _levels_contradict(
            f"Noise that is too much is taken off a sum by the coordinator, who cannot under {charter.scheme}."
        )


def _levels_contradict(message: str) -> InputError:
    return InputError(
        "noise-levels-contradict",
        message,
        culprit="privacy.noise_levels",
        remedy="Leave privacy.noise_levels out.",
    )


def check_noise_levels(levels: Sequence[int], members: int, threshold: int) -> None:
    """Refuse numbers of survivors at which noise cannot come off.

    Raises:
        InputError: ``noise-levels-contradict``.
    """
    falling = all(above > below for above, below in pairwise((*levels, threshold)))
    if levels and not (falling and levels[0] <= members and len(levels) <= MOST_NOISE_LEVELS):
        raise InputError(
            "noise-levels-contradict",
            f"The noise levels {', '.join(map(str, levels))} do not fall from {members} members or fewer to above the "
            f"threshold {threshold}, or are more than {MOST_NOISE_LEVELS}.",
            culprit="privacy.noise_levels",
            remedy="Give numbers of survivors, the largest first.",
        )


def _check_metrics(charter: Charter) -> None:
    metrics, privacy = charter.metrics, charter.privacy
    if (metrics.release == "none") != (metrics.cells == 0):
        raise InputError(
            "metrics-contradict",
            f"Metrics are released as {metrics.release} with {metrics.cells} cells.",
            remedy="Set metrics.cells to the number of counts, or to 0 where none are released.",
        )
    if metrics.release == "exact" and privacy.mode != "none":
        raise InputError(
            "metrics-not-private",
            "Exact validation counts carry no noise, which differential privacy does not cover.",
            remedy='Set metrics.release = "noisy" with a metric_noise_multiplier, or "none".',
        )
    if metrics.release == "noisy" and (privacy.mode == "none" or privacy.metric_noise_multiplier == 0):
        raise InputError(
            "metrics-contradict",
            "Noisy metrics need a privacy mode and a metric_noise_multiplier above 0.",
            remedy='Set metrics.release = "exact" or "none", or give the noise.',
        )
    if metrics.target is not None and metrics.release == "none":
        raise InputError(
            "target-without-metrics",
            "The charter sets a target for a metric that it does not release.",
            remedy='Set metrics.release to "exact" or "noisy".',
        )

"""Options that `simulate`, `demo` and `charter new` share: what a consortium decides before it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import click

from cli.effect import Use
from cli.schemes import scheme_option
from cli.sizing import (
    BELOW_ONE,
    DELTA,
    FRACTION,
    MOST_ROUNDS,
    POSITIVE,
    Number,
    colluding_option,
    dropout_option,
    epoch_rounds_option,
    field_bits_option,
)
from secagg.charter import Encoding, Training
from secagg.charter.sections import LARGEST_FACTOR, MOST_RECORDS, ServerStep
from secagg.homomorphic.parameters import ALLOWED
from training.choices import FITTING_PARAMETERS, USUAL_BATCH, USUAL_WEIGHT, CharterChoices


class Factor(Number):
    """A number that a model's 32-bit floats are multiplied by; no help needs to show how large these get."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or click's failure, which names the option."""
        number = super().convert(value, param, ctx)
        if number > LARGEST_FACTOR:
            self.fail(f"{value} is more than {LARGEST_FACTOR:.2g}.", param, ctx)
        return number


_FACTOR = Factor(min=0)
_POSITIVE_FACTOR = Factor(min=0, min_open=True)
_CLIP = Number(min=1e-6, max=1e6)


class NoiseLevels(click.ParamType):  # type: ignore[type-arg]  # Generic only in newer releases.
    """``auto`` (None), ``none`` (no levels), or numbers of survivors, falling."""

    name = "levels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...] | None:
        """The numbers, or click's failure, which names the option."""
        if not isinstance(value, str):
            return cast(tuple[int, ...] | None, value)
        if value == "auto":
            return None
        try:
            return () if value == "none" else tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is neither auto, nor none, nor numbers such as 40,36.", param, ctx)


_OPTIONS = [
    click.option(
        "--rounds",
        type=click.IntRange(1, MOST_ROUNDS),
        default=20,
        show_default=True,
        help="Training rounds. Each makes one secure sum and one step of the model.",
    ),
    click.option(
        "--local-steps",
        type=click.IntRange(1, MOST_ROUNDS),
        default=10,
        show_default=True,
        help="SGD steps that each hospital takes in a round.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(1, MOST_RECORDS),
        help="Without differential privacy: records in each SGD step of a hospital; 32 if not given. With --dp "
        "distributed: about how many patients are expected in a step over all hospitals, which is the sampling rate "
        "times all training patients. It is public, so give a round number: the exact one tells how many train.",
    ),
    click.option(
        "--learning-rate",
        type=_POSITIVE_FACTOR,
        default=0.1,
        show_default=True,
        help="Learning rate of each hospital's own SGD. With --dp distributed, use --server-learning-rate.",
    ),
    click.option("--momentum", type=BELOW_ONE, default=0.0, help="Momentum of each hospital's own SGD."),
    click.option("--weight-decay", type=_FACTOR, default=0.0, help="Weight decay of each hospital's own SGD."),
    click.option(
        "--prox-mu", type=_FACTOR, default=0.0, help="Weight (mu) of FedProx's proximal term; 0 turns it off."
    ),
    click.option(
        "--server",
        type=click.Choice(["fedavg", "momentum", "adam"]),
        default="fedavg",
        show_default=True,
        help="Optimizer that applies the mean update (with --dp distributed, the mean gradient) to the model, alike "
        "at every hospital.",
    ),
    click.option(
        "--server-learning-rate", type=POSITIVE, default=1.0, show_default=True, help="Learning rate of --server."
    ),
    click.option(
        "--server-momentum", type=BELOW_ONE, default=0.9, show_default=True, help="Momentum of --server momentum."
    ),
    click.option(
        "--schedule",
        type=click.Choice(["constant", "linear", "cosine"]),
        default="constant",
        show_default=True,
        help="Schedule of --server-learning-rate; linear and cosine let it fall to zero.",
    ),
    click.option(
        "--warm-up",
        type=click.IntRange(0, MOST_ROUNDS),
        default=0,
        help="Rounds over which --server-learning-rate first rises.",
    ),
    click.option(
        "--weighting",
        type=click.Choice(["records", "uniform"]),
        default="records",
        show_default=True,
        help="records: a hospital counts by its number of patients; uniform: all count the same, as always under "
        "differential privacy.",
    ),
    click.option(
        "--dp",
        "privacy",
        type=click.Choice(["none", "local", "distributed"]),
        default="none",
        show_default=True,
        help="Differential privacy. local: every hospital adds all the noise that its own patients need. distributed: "
        "every round is one step over all hospitals, and every hospital adds a share of the noise.",
    ),
    click.option(
        "--epsilon", type=POSITIVE, default=8.0, show_default=True, help="Privacy budget of the run, with --dp."
    ),
    click.option(
        "--delta",
        type=DELTA,
        default=1e-5,
        show_default=True,
        help="Delta of (epsilon, delta)-differential privacy. Choose it well below 1 / number of patients.",
    ),
    click.option(
        "--clip",
        "clip_norm",
        type=_CLIP,
        default=1.0,
        show_default=True,
        help="Each patient's gradient is clipped to this L2 norm.",
    ),
    click.option(
        "--sampling-rate",
        type=FRACTION,
        default=0.1,
        show_default=True,
        help="Probability that a patient is in the batch of a step.",
    ),
    click.option(
        "--metrics",
        type=click.Choice(["none", "exact", "noisy"]),
        default="none",
        show_default=True,
        help="Whether validation counts (for accuracy and AUC) are summed along with the updates, and whether with "
        "noise.",
    ),
    click.option(
        "--metrics-every",
        type=click.IntRange(1, MOST_ROUNDS),
        default=1,
        show_default=True,
        help="Release metrics every this many rounds.",
    ),
    click.option(
        "--noise",
        type=click.Choice(["skellam", "discrete-gaussian"]),
        default="skellam",
        show_default=True,
        help="Distribution of the noise that each hospital adds, with --dp distributed.",
    ),
    click.option(
        "--noise-levels",
        type=NoiseLevels(),
        default="auto",
        show_default=True,
        help="With --dp distributed, surplus noise can be removed after the sum. Numbers such as 40,36: remove it "
        "where at least that many hospitals answer. auto: choose the numbers by --dropout. none: never remove it.",
    ),
    click.option("--target", type=FRACTION, help="Stop once the task's metric reaches this value."),
    scheme_option,
    click.option(
        "--homomorphic",
        type=click.Choice([FITTING_PARAMETERS, *sorted(ALLOWED)]),
        default=FITTING_PARAMETERS,
        show_default=True,
        help="Parameter set of an encrypted scheme; auto: one that fits model and consortium.",
    ),
    colluding_option,
    click.option(
        "--threshold",
        type=click.IntRange(0),
        default=0,
        help="Smallest number of hospitals in a sum; 0 chooses the smallest number that is safe.",
    ),
    dropout_option,
    field_bits_option,
    click.option(
        "--update-norm",
        type=POSITIVE,
        default=10.0,
        show_default=True,
        help="Each hospital's update is clipped to this L2 norm.",
    ),
    click.option(
        "--max-weight",
        type=click.IntRange(1, MOST_RECORDS),
        default=USUAL_WEIGHT,
        show_default=True,
        help="A hospital with more patients counts as if it had this many.",
    ),
    epoch_rounds_option,
]


_PRIVATE: Final = Use("privacy", frozenset({"local", "distributed"}))
_SHARED_NOISE: Final = Use("privacy", frozenset({"distributed"}))
_OWN_STEPS: Final = Use("privacy", frozenset({"none", "local"}))
CHARTER_USES: Final[Mapping[str, Use]] = {
    "epsilon": _PRIVATE,
    "delta": _PRIVATE,
    "clip_norm": _PRIVATE,
    "sampling_rate": _PRIVATE,
    "noise": _SHARED_NOISE,
    "noise_levels": _SHARED_NOISE,
    "local_steps": _OWN_STEPS,
    "learning_rate": _OWN_STEPS,
    "momentum": _OWN_STEPS,
    "weight_decay": _OWN_STEPS,
    "prox_mu": _OWN_STEPS,
    "batch_size": Use("privacy", frozenset({"none", "distributed"})),
    "metrics_every": Use("metrics", frozenset({"exact", "noisy"})),
    "server_momentum": Use("server", frozenset({"momentum"})),
}
"""What options of `charter_options` and of `secagg demo` need to mean anything."""


def charter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds every option of `choices_from`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def choices_from(name: str, options: dict[str, Any]) -> CharterChoices:
    """The choices that the options of `charter_options` amount to."""
    server = ServerStep(
        optimizer=options["server"],
        learning_rate=options["server_learning_rate"],
        momentum=options["server_momentum"],
        schedule=options["schedule"],
        warm_up=options["warm_up"],
    )
    training = Training(
        rounds=options["rounds"],
        local_steps=options["local_steps"],
        batch_size=options["batch_size"] or USUAL_BATCH,
        learning_rate=options["learning_rate"],
        momentum=options["momentum"],
        weight_decay=options["weight_decay"],
        prox_mu=options["prox_mu"],
        weighting=options["weighting"],
        server=server,
    )
    encoding = Encoding(
        field_bits=options["field_bits"], update_norm=options["update_norm"], max_weight=options["max_weight"]
    )
    return CharterChoices(
        name=name,
        training=training,
        scheme=options["scheme"],
        homomorphic=options["homomorphic"],
        encoding=encoding,
        privacy=options["privacy"],
        epsilon=options["epsilon"],
        delta=options["delta"],
        clip_norm=options["clip_norm"],
        sampling_rate=options["sampling_rate"],
        metrics=options["metrics"],
        metrics_every=options["metrics_every"],
        noise=options["noise"],
        noise_levels=options["noise_levels"],
        expected_batch=options["batch_size"] or 0,
        target=options["target"],
        max_colluding=options["colluding"],
        threshold=options["threshold"],
        dropout=options["dropout"],
        epoch_rounds=options["epoch_rounds"],
    )

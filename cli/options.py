"""Options that `simulate`, `demo` and `charter new` share: what a consortium decides before it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from secagg.charter import Encoding, Training
from secagg.charter.model import ServerStep
from training.draft import CharterChoices

_OPTIONS = [
    click.option("--rounds", type=click.IntRange(1), default=20, show_default=True, help="Sums that make the model."),
    click.option("--local-steps", type=click.IntRange(1), default=10, show_default=True, help="Steps between sums."),
    click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Without DP."),
    click.option("--learning-rate", type=float, default=0.1, show_default=True, help="Of the local SGD."),
    click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Of the local SGD."),
    click.option("--weight-decay", type=click.FloatRange(0), default=0.0, help="Of the local SGD."),
    click.option("--prox-mu", type=click.FloatRange(0), default=0.0, help="FedProx; 0 is FedAvg."),
    click.option(
        "--server",
        type=click.Choice(["fedavg", "momentum", "adam"]),
        default="fedavg",
        show_default=True,
        help="What every hospital does with the mean update.",
    ),
    click.option("--server-learning-rate", type=float, default=1.0, show_default=True),
    click.option("--server-momentum", type=click.FloatRange(0, 1, max_open=True), default=0.9, show_default=True),
    click.option(
        "--weighting",
        type=click.Choice(["records", "uniform"]),
        default="records",
        show_default=True,
        help="Whether larger hospitals count more. Always uniform under DP.",
    ),
    click.option("--dp", "privacy", type=click.Choice(["none", "local"]), default="none", show_default=True),
    click.option("--epsilon", type=float, default=8.0, show_default=True, help="Budget of the run, with --dp local."),
    click.option("--delta", type=float, default=1e-5, show_default=True),
    click.option("--clip", "clip_norm", type=float, default=1.0, show_default=True, help="L2, a patient's gradient."),
    click.option("--sampling-rate", type=float, default=0.1, show_default=True, help="Of a patient, in each step."),
    click.option(
        "--metrics",
        type=click.Choice(["none", "exact", "noisy"]),
        default="none",
        show_default=True,
        help="Whether validation counts are summed with the updates.",
    ),
    click.option("--target", type=float, help="Stop once the task's metric reaches this."),
    click.option("--colluding", type=click.IntRange(0), default=1, show_default=True, help="How many may conspire."),
    click.option("--threshold", type=click.IntRange(0), default=0, help="Fewest in a sum; 0: the least safe."),
    click.option("--field-bits", type=click.IntRange(16, 64), default=24, show_default=True, help="Bits a number."),
    click.option("--update-norm", type=float, default=10.0, show_default=True, help="Updates are clipped to this, L2."),
    click.option("--max-weight", type=click.IntRange(1), default=1024, show_default=True, help="Records at most."),
    click.option("--epoch-rounds", type=click.IntRange(1), default=10, show_default=True, help="Rounds a key set-up."),
]


def charter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds every option of `choices_from`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def choices_from(name: str, options: dict[str, Any]) -> CharterChoices:
    """The choices that the options of `charter_options` amount to.

    Raises:
        click.UsageError: if a number is out of range.
    """
    _require_positive(options, "learning_rate", "server_learning_rate", "epsilon", "clip_norm", "update_norm")
    _require_fraction(options, "sampling_rate", "delta", "target")
    server = ServerStep(
        optimizer=options["server"],
        learning_rate=options["server_learning_rate"],
        momentum=options["server_momentum"],
    )
    training = Training(
        rounds=options["rounds"],
        local_steps=options["local_steps"],
        batch_size=options["batch_size"],
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
        encoding=encoding,
        privacy=options["privacy"],
        epsilon=options["epsilon"],
        delta=options["delta"],
        clip_norm=options["clip_norm"],
        sampling_rate=options["sampling_rate"],
        metrics=options["metrics"],
        target=options["target"],
        max_colluding=options["colluding"],
        threshold=options["threshold"],
        epoch_rounds=options["epoch_rounds"],
    )


def _require_positive(options: dict[str, Any], *names: str) -> None:
    for name in names:
        if not 0 < options[name] < float("inf"):
            raise click.UsageError(f"--{name.replace('_', '-')} must be above 0.")


def _require_fraction(options: dict[str, Any], *names: str) -> None:
    for name in names:
        value = options[name]
        if value is not None and not 0 < value <= 1:
            raise click.UsageError(f"--{name.replace('_', '-')} must be above 0 and at most 1.")

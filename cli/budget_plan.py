"""`secagg budget plan`: what a run will cost before it starts, and the noise for an epsilon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
from rich.table import Column, Table

from cli.budget_plot import Unit, read_pilot, write_plot
from cli.chart_file import check_plot_path
from cli.effect import is_given
from cli.output import console, json_option, print_json, print_table
from cli.paths import FILE, FOLDER
from cli.sizing import DELTA, FRACTION, POSITIVE
from dp.accounting import EpsilonBound, noise_multiplier_for
from dp.forecast import forecast, quarters
from dp.plan import PrivacyPlan
from dp.stated import exact, no_less
from secagg.charter.folder import read_charter
from secagg.errors import InputError
from training.privacy_plan import privacy_plan

_MOST_STEPS = 10_000_000


class BoundJson(msgspec.Struct, frozen=True):
    """Epsilon after some rounds; null where an accountant does not apply, or nothing finite holds.

    Attributes:
        rdp: what a ledger will count.
        gaussian_reference: no bound: what continuous noise of the same deviation would cost.
    """

    rounds: int
    rdp: float
    prv: float | None
    pld: float | None
    gaussian_reference: float | None


class BudgetPlanJson(msgspec.Struct, frozen=True):
    """A plan and its price.

    Attributes:
        charter: the hash of the charter that was read, or null.
        limit: the target, or the charter's budget; null where there is neither.
        rounds: sums of a charter, or the steps that were given.
        epsilon: after all rounds, and ``after``: at each quarter of them.
        fits: whether what a ledger will count is within the limit; null without one.
    """

    charter: str | None
    mode: str
    noise_multiplier: float
    metric_noise_multiplier: float
    sampling_rate: float
    rounds: int
    delta: float
    limit: float | None
    fits: bool | None
    epsilon: BoundJson
    after: list[BoundJson]


@dataclass(frozen=True)
class _Subject:
    """What is planned: the events, and what is said about them."""

    plan: PrivacyPlan
    charter: str | None
    mode: str
    noise_multiplier: float
    metric_noise_multiplier: float
    sampling_rate: float
    limit: float | None

    @property
    def unit(self) -> Unit:
        """What the rounds of its plan are called."""
        return "rounds" if self.charter else "steps"


@click.command(short_help="Compute what a run will cost, before it starts.")
@click.option("--charter", type=FOLDER, help="Folder of the charter whose run is to be planned.")
@click.option("--target-epsilon", type=POSITIVE, help="Find the noise multiplier for this epsilon.")
@click.option(
    "--noise-multiplier", type=POSITIVE, help="Standard deviation of the noise over a patient's clipping norm."
)
@click.option("--sampling-rate", type=FRACTION, help="Probability that a patient is in the batch of a step.")
@click.option("--steps", type=click.IntRange(1, _MOST_STEPS), help="Optimizer steps of the whole run.")
@click.option(
    "--delta",
    type=DELTA,
    default=1e-5,
    show_default=True,
    help="Delta of (epsilon, delta): well below 1 / number of patients.",
)
@click.option("--plot", type=FILE, help="Draw epsilon against rounds or steps, into FILE.svg or FILE.html.")
@click.option(
    "--pilot", type=FILE, help='With --plot: file of pilot runs to draw as well, [{"epsilon": 3, "accuracy": 0.94}, …].'
)
@json_option
@click.pass_context
def plan(
    ctx: click.Context,
    charter: Path | None,
    target_epsilon: float | None,
    noise_multiplier: float | None,
    sampling_rate: float | None,
    steps: int | None,
    delta: float,
    plot: Path | None,
    pilot: Path | None,
    as_json: bool,
) -> None:
    """Compute what a run will cost a patient before it starts, or how much noise a target epsilon needs.

    Three accountants compute it. A hospital's ledger counts by RDP (Renyi differential privacy), which applies to every
    run; PRV and PLD are tighter, but apply to Gaussian noise only. See docs/accounting.md.

    \b
    Examples:
      secagg budget plan --target-epsilon 3 --sampling-rate 0.05 --steps 300
      secagg budget plan --noise-multiplier 1.2 --sampling-rate 0.05 --steps 300 --delta 1e-6
      secagg budget plan --charter charter
      secagg budget plan --charter charter --plot plan.svg --pilot pilot.json
    """
    if plot:
        check_plot_path(plot)
    elif pilot:
        raise click.UsageError("--pilot is drawn beside the plan: give --plot too.")
    points = read_pilot(pilot) if pilot else []
    if charter:
        _refuse_with_charter(ctx)
        subject = _of_charter(charter)
    else:
        subject = _of_options(target_epsilon, noise_multiplier, sampling_rate, steps, delta)
    after = {rounds: forecast(subject.plan, rounds) for rounds in quarters(subject.plan.rounds)}
    _require_finite(subject, after[subject.plan.rounds])
    if plot:
        write_plot(plot, subject.plan, subject.unit, subject.limit, points)
    if as_json:
        print_json(_as_json(subject, after))
        return
    _print(subject, after)
    if plot:
        click.echo(f"Drawn: {plot}")


def _refuse_with_charter(ctx: click.Context) -> None:
    for name in ("target_epsilon", "noise_multiplier", "sampling_rate", "steps", "delta"):
        if is_given(ctx, name):
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} is what the charter says: give one or the other.")


def _require_finite(subject: _Subject, whole: EpsilonBound) -> None:
    if not math.isfinite(whole.rdp):
        raise InputError(
            "unreachable-epsilon",
            f"With a noise multiplier of {subject.noise_multiplier:g} no epsilon covers the run.",
            culprit="noise_multiplier",
            remedy="Raise the noise multiplier.",
        )


def _of_charter(folder: Path) -> _Subject:
    content = read_charter(folder)
    privacy = content.privacy
    if privacy.mode == "none":
        raise InputError(
            "no-privacy",
            f"The charter in {folder} has no differential privacy: no epsilon covers its run.",
            culprit=str(folder),
            remedy="Draft one with `secagg charter new --dp …`.",
        )
    return _Subject(
        plan=privacy_plan(content),
        charter=content.digest().hex(),
        mode=privacy.mode,
        noise_multiplier=privacy.noise_multiplier,
        metric_noise_multiplier=privacy.metric_noise_multiplier if content.metrics.release == "noisy" else 0.0,
        sampling_rate=privacy.sampling_rate,
        limit=privacy.budget,
    )


def _of_options(
    target: float | None, noise: float | None, sampling_rate: float | None, steps: int | None, delta: float
) -> _Subject:
    if (target is None) == (noise is None):
        raise click.UsageError("Give --target-epsilon, --noise-multiplier or --charter: one of the three.")
    if sampling_rate is None or steps is None:
        raise click.UsageError("Without --charter, give --sampling-rate and --steps.")
    if noise is None:
        noise = noise_multiplier_for(target or 0.0, delta, sampling_rate, steps)
    run = PrivacyPlan(
        mode="local",
        noise_multiplier=noise,
        clip_norm=1.0,
        sampling_rate=sampling_rate,
        delta=delta,
        rounds=steps,
        steps_per_round=1,
    )
    return _Subject(run, None, "gaussian", noise, 0.0, sampling_rate, target)


def _as_json(subject: _Subject, after: dict[int, EpsilonBound]) -> BudgetPlanJson:
    bounds = [
        BoundJson(rounds, bound.rdp, bound.prv, bound.pld, bound.gaussian_reference) for rounds, bound in after.items()
    ]
    return BudgetPlanJson(
        charter=subject.charter,
        mode=subject.mode,
        noise_multiplier=subject.noise_multiplier,
        metric_noise_multiplier=subject.metric_noise_multiplier,
        sampling_rate=subject.sampling_rate,
        rounds=subject.plan.rounds,
        delta=subject.plan.delta,
        limit=subject.limit,
        fits=None if subject.limit is None else bounds[-1].rdp <= subject.limit,
        epsilon=bounds[-1],
        after=bounds,
    )


def _print(subject: _Subject, after: dict[int, EpsilonBound]) -> None:
    console.print(_told(subject), soft_wrap=True)
    print_table(_table(after, subject.unit))
    total = after[subject.plan.rounds]
    if total.gaussian_reference is not None:
        console.print(
            'PRV and PLD do not apply to integer noise. "continuous" is not a bound: it is what Gaussian noise '
            "of the same standard deviation would cost.",
            soft_wrap=True,
        )
    elif lacking := [name for name, bound in (("PRV", total.prv), ("PLD", total.pld)) if bound is None]:
        console.print(
            f"Left out: {' and '.join(lacking)}. There is too little noise, there are too many steps, or delta or the "
            "sampling rate is beyond their precision.",
            soft_wrap=True,
        )
    if subject.limit is not None:
        verdict = "within" if total.rdp <= subject.limit else "[bold red]above[/bold red]"
        name = "the charter's budget" if subject.charter else "the target"
        console.print(
            f"A ledger will count {no_less(total.rdp, 3)}: {verdict} {name} of {exact(subject.limit)}.", soft_wrap=True
        )


def _told(subject: _Subject) -> str:
    head = f"Charter {subject.charter[:16]}, mode {subject.mode}: " if subject.charter else ""
    metrics = ""
    if subject.metric_noise_multiplier:
        metrics = f", {subject.metric_noise_multiplier:g} on validation counts"
    return (
        f"{head}noise multiplier [bold]{subject.noise_multiplier:g}[/bold]{metrics}, sampling rate "
        f"{subject.sampling_rate:g}, {subject.plan.rounds} {subject.unit}, delta {subject.plan.delta:g}."
    )


def _table(after: dict[int, EpsilonBound], unit: Unit) -> Table:
    referenced = any(bound.gaussian_reference is not None for bound in after.values())
    names = ["RDP (enforced)", "PRV", "PLD", *(["continuous"] if referenced else [])]
    table = Table(Column(f"epsilon after {unit}", justify="right"), *(Column(name, justify="right") for name in names))
    for count, bound in after.items():
        figures: Sequence[float | None] = (bound.rdp, bound.prv, bound.pld)
        if referenced:
            figures = (*figures, bound.gaussian_reference)
        table.add_row(str(count), *("-" if figure is None else no_less(figure, 3) for figure in figures))
    return table

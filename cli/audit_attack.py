"""`secagg audit attack`: the attacks of the threat model, run against this build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.table import Column, Table

from cli.output import console, json_option, print_json, quiet_progress
from cli.paths import FOLDER
from secagg.errors import TamperingError
from training.attacks.model import Attack, Outcome, Refused
from training.attacks.suite import ATTACKS, QUICK, Verdict, audit, load_controls, named

_SHOWN_REASONS = 2
_WIDE = 160
_ROOMY = 110


class ControlJson(msgspec.Struct, frozen=True):
    """The same attack on a build that lacks ``without``; ``learned`` is null where it failed there too."""

    without: str
    succeeded: bool
    learned: str | None


class AttackJson(msgspec.Struct, frozen=True):
    """One attack.

    ``refused``: by whom and for the reasons it should. ``reasons``: every code that the attacker was refused with.
    ``expected``: the codes it should be. ``learned``: what the attacker got, null if nothing.
    """

    name: str
    liar: str
    does: str
    claim: str
    source: str
    refused: bool
    by: str | None
    reasons: list[str]
    expected: list[str]
    learned: str | None
    seconds: float
    control: ControlJson | None


class KnownJson(msgspec.Struct, frozen=True):
    """An attack that there is: who lies, what they do, and which claim of which paper or document it is against."""

    name: str
    liar: str
    does: str
    claim: str
    source: str


class AttacksJson(msgspec.Struct, frozen=True):
    """All that were run; ``withstood``: all were refused, and every control succeeded."""

    withstood: bool
    attacks: list[AttackJson]
    known: int
    seconds: float


@click.command()
@click.option("--all", "everything", is_flag=True, help="Run all attacks, not only the most telling ones.")
@click.option(
    "--only", "names", multiple=True, metavar="NAME", help="Run only the attack of this name. Can be repeated."
)
@click.option("--list", "listed", is_flag=True, help="List all attacks, and run none.")
@click.option(
    "--controls",
    type=FOLDER,
    help="Also run each attack on a weakened build, where it must succeed: give tests/attacks of a source checkout.",
)
@json_option
@click.pass_context
def attack(
    context: click.Context,
    everything: bool,
    names: tuple[str, ...],
    listed: bool,
    controls: Path | None,
    as_json: bool,
) -> None:
    """Attack a consortium on this machine in every way that the threat model names, and show who refuses it.

    Each attack is a coordinator, a hospital or the author of a charter that lies to real parties over real messages,
    tries all it can, and reports what it learned. Weakened builds are not installed; with --controls they are loaded
    from a source checkout and run, to show that each attack works where the defence is missing. Exit code 4 if an
    attack was not refused as it should be, or a control did not succeed.

    \b
    Examples:
      secagg audit attack
      secagg audit attack --all --controls tests/attacks
      secagg audit attack --only two-survivor-sets --json
    """
    if names and everything:
        raise click.UsageError("Give --all or --only, not both.")
    if listed:
        if names or everything or controls:
            raise click.UsageError("--list runs nothing: leave out --all, --only and --controls.")
        _list(as_json)
        return
    attacks = named(names) if names else ATTACKS if everything else QUICK
    weakened = load_controls(controls, attacks) if controls else None
    verdicts = [audit(chosen, weakened) for chosen in _with_progress(attacks)]
    failures = _failures(verdicts)
    if as_json:
        seconds = round(sum(verdict.seconds for verdict in verdicts), 3)
        print_json(AttacksJson(not failures, [_describe(verdict) for verdict in verdicts], len(ATTACKS), seconds))
    else:
        # A file or a pipe has no width: nothing need be folded there.
        wide = console if console.is_terminal else Console(highlight=False, emoji=False, width=_WIDE)
        wide.print(_table(verdicts, wide.width))
        _say(verdicts, failures)
    context.exit(TamperingError.exit_code if failures else 0)


def _with_progress(attacks: Sequence[Attack]) -> Iterator[Attack]:
    with quiet_progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()) as progress:
        task = progress.add_task("attacking", total=len(attacks))
        for chosen in attacks:
            progress.update(task, description=chosen.name)
            yield chosen
            progress.advance(task)


def _failures(verdicts: Sequence[Verdict]) -> list[str]:
    """A sentence for each attack that did not go as it should."""
    sentences = []
    for verdict in verdicts:
        name, expected = verdict.attack.name, ", ".join(sorted(verdict.attack.refused.reasons))
        if not verdict.refused:
            got = _learned(verdict.outcome) or f"refused for {', '.join(_reasons(verdict.outcome)) or 'no reason'}"
            sentences.append(f"{name} should be refused for {expected}, and was not: {got}.")
        if not verdict.control_succeeded:
            why = ", ".join(_reasons(verdict.control)) or "no reason"
            sentences.append(f"{name} should succeed without {verdict.without}, and was refused for {why}.")
    return sentences


def _describe(verdict: Verdict) -> AttackJson:
    attack, outcome, control = verdict.attack, verdict.outcome, verdict.control
    return AttackJson(
        name=attack.name,
        liar=attack.liar,
        does=attack.does,
        claim=attack.claim,
        source=attack.source,
        refused=verdict.refused,
        by=outcome.by if isinstance(outcome, Refused) else None,
        reasons=_reasons(outcome),
        expected=sorted(attack.refused.reasons),
        learned=_learned(outcome),
        seconds=round(verdict.seconds, 3),
        control=None
        if control is None
        else ControlJson(verdict.without or "", verdict.control_succeeded, _learned(control)),
    )


def _reasons(outcome: Outcome | None) -> list[str]:
    return sorted(outcome.reasons) if isinstance(outcome, Refused) else []


def _learned(outcome: Outcome) -> str | None:
    return None if isinstance(outcome, Refused) else outcome.learned


def _list(as_json: bool) -> None:
    if as_json:
        print_json([KnownJson(one.name, one.liar, one.does, one.claim, one.source) for one in ATTACKS])
        return
    table = Table(Column("attack", no_wrap=True), "what it does")
    for attack in ATTACKS:
        table.add_row(attack.name, attack.does)
    console.print(table)


def _table(verdicts: Sequence[Verdict], width: int) -> Table:
    """Names stay whole, to be copied; where there is little room, who lies and how long it took are left out."""
    columns = {"attack": Column("attack", no_wrap=True), "who lies": Column("who lies")}
    columns |= {"refused by": Column("refused by"), "reason": Column("reason"), "s": Column("s", justify="right")}
    columns |= {"control": Column("control")} if any(verdict.control for verdict in verdicts) else {}
    if width < _ROOMY:
        del columns["who lies"], columns["s"]
    table = Table(*columns.values())
    for verdict in verdicts:
        cells = _cells(verdict)
        table.add_row(*(cells[name] for name in columns))
    return table


def _cells(verdict: Verdict) -> dict[str, str]:
    outcome = verdict.outcome
    if isinstance(outcome, Refused):
        by = str(outcome.by) if verdict.refused else f"[red]{outcome.by}[/red]"
        reason = _shortened(_reasons(outcome))
    else:
        by, reason = "[red]nobody[/red]", f"[red]learned {outcome.learned}[/red]"
    verb = "succeeds" if verdict.control_succeeded else "[red]fails[/red]"
    return {
        "attack": verdict.attack.name,
        "who lies": verdict.attack.liar.value,
        "refused by": by,
        "reason": reason,
        "s": f"{verdict.seconds:.1f}",
        "control": f"{verb} without {verdict.without}",
    }


def _shortened(reasons: Sequence[str]) -> str:
    shown = ", ".join(reasons[:_SHOWN_REASONS])
    return f"{shown}, {len(reasons) - _SHOWN_REASONS} more" if len(reasons) > _SHOWN_REASONS else shown


def _say(verdicts: Sequence[Verdict], failures: Sequence[str]) -> None:
    for sentence in failures:
        click.echo(f"No: {sentence}")
    if not failures:
        controls = sum(verdict.control is not None for verdict in verdicts)
        on_weakened = f", and all {controls} controls succeed" if controls else ""
        click.echo(f"Yes: {len(verdicts)} of {len(verdicts)} attacks were refused as they should be{on_weakened}.")
    if len(verdicts) < len(ATTACKS):
        click.echo(f"--all runs {len(ATTACKS) - len(verdicts)} more.")

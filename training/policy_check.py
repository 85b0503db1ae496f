"""A site's policy looked at as a whole: whether it is in force, what a charter asks of it, what is spent under it.

Knows policy, charter, ledger and latch of one site, and changes none of them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from dp.ledger import BudgetUse
from secagg.charter import Charter
from secagg.charter.cautions import Caution, cautions
from secagg.errors import TamperingError
from secagg.files import read_bounded, require_there
from secagg.policy.acceptance import Change, fingerprints, read_change
from secagg.policy.checks import refusals
from secagg.policy.loosening import Loosening, shown
from secagg.policy.model import Policy
from secagg.policy.needs import needed_policy
from secagg.policy.toml import LARGEST_POLICY, POLICY_FILE, line_of, read_policy
from secagg.signed_log import noted_head
from training.hospital_folder import HospitalFolder
from training.hospital_logs import read_site_ledger


class Line(msgspec.Struct, frozen=True):
    """One key of a policy, and what a charter asks of it.

    Attributes:
        line: where the file sets it; null where it is the default.
        needs: what the charter asks for; null if no charter was given, or it does not ask.
        reason, remedy: why this line refuses the charter; null if it does not.
    """

    key: str
    allows: str
    line: int | None
    needs: str | None = None
    reason: str | None = None
    message: str | None = None
    remedy: str | None = None


class DataSetUse(msgspec.Struct, frozen=True):
    """What the ledger has of one data set, beside the policy's ``maximum_epsilon``.

    Attributes:
        unprotected: as in `Spending`.
    """

    data_set: str
    use: BudgetUse
    percent: float
    alert: int
    unprotected: bool


class PolicyCheck(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        exists: whether there is a file; where there is none, the strict defaults are looked at.
        in_force: whether a site goes by this policy as it is.
        remembered: whether the latch remembers a policy that this one is held to.
        head: the end of the chain of changes, to be noted; null where nothing is remembered.
        loosened: what it allows beyond the policy in force, of which ``missing`` signatures are lacking; if none is, it
            is remembered at the next start.
        signed_by: officers that have signed for it; ``officers``: all that may; ``new_officers``: those that only the
            file names, who may once it is in force.
        data_sets: null where there is no ledger.
        members: by the fingerprint of each of the charter's members, whether it is known here; null without a charter.
        warnings: what everybody must be told of the charter.
    """

    policy: str
    exists: bool
    in_force: bool
    remembered: bool
    head: str | None
    officers: list[str]
    new_officers: list[str]
    signatures: int
    loosened: tuple[Loosening, ...]
    signed_by: list[str]
    missing: int
    lines: list[Line]
    data_sets: list[DataSetUse] | None = None
    members: dict[str, bool] | None = None
    warnings: tuple[Caution, ...] = ()

    @property
    def awaits_start(self) -> bool:
        """Whether enough officers have signed what the latch does not remember yet."""
        return bool(self.loosened) and not self.missing

    @property
    def refusing(self) -> list[Line]:
        """The lines that refuse the charter."""
        return [line for line in self.lines if line.reason]


def policy_file(place: Path) -> Path:
    """The policy that ``place``, a site's folder or the file itself, means; a folder need not have one.

    Raises:
        InputError: ``unreadable``, if there is nothing at ``place``.
    """
    require_there(place)
    return place / POLICY_FILE if place.is_dir() else place


def check_policy(path: Path, charter: Charter | None = None, noted: str | None = None) -> PolicyCheck:
    """Look at the policy at ``path`` and, if one is given, at what a charter asks of it.

    Args:
        noted: the head of the chain, hex, if somebody wrote it down.

    Raises:
        InputError: ``malformed-policy``; ``bad-head``.
        TamperingError: ``policy-memory-set-back``, if the chain does not end where it was noted; ``latch-damaged``.
    """
    policy = read_policy(path)
    change = read_change(path, policy)
    if noted is not None:
        _require_noted(change, noted, path)
    asked = change.countersigning or policy.countersigning
    return PolicyCheck(
        str(path),
        path.exists(),
        change.missing == 0,
        change.before is not None,
        change.head.hex() if change.before else None,
        fingerprints(asked.officers) if asked else [],
        fingerprints(change.new_officers),
        asked.signatures if asked else 0,
        change.loosened,
        fingerprints(change.signed),
        change.missing,
        _lines(path, policy, charter),
        members=_members(policy, charter) if charter else None,
        warnings=cautions(charter) if charter else (),
    )


def uses_of(folder: HospitalFolder, public_key: bytes) -> list[DataSetUse]:
    """What each data set of a site has spent, by its ledger, of what its policy's file allows.

    Raises:
        TamperingError: if the ledger was altered or rolled back.
    """
    _, account = read_site_ledger(folder, public_key)
    limit = read_policy(folder.policy).maximum_epsilon
    found = []
    for name in account.data_sets:
        spending = account.spending(name)
        use = BudgetUse(spending.epsilon(account.delta(name)), limit)
        found.append(DataSetUse(name, use, use.percent, use.alert, spending.unprotected))
    return found


def _lines(path: Path, policy: Policy, charter: Charter | None) -> list[Line]:
    text = read_bounded(path, LARGEST_POLICY).decode("utf-8-sig") if path.exists() else ""
    needed = needed_policy(charter) if charter else None
    refused = refusals(charter, policy) if charter else {}
    lines = []
    for key in Policy.__struct_fields__:
        needs = shown(getattr(needed, key)) if needed and key != "countersigning" else None
        line = Line(key, shown(getattr(policy, key)), line_of(text, key), needs)
        if key in refused:
            error = refused[key]
            line = msgspec.structs.replace(line, reason=error.reason, message=error.message, remedy=error.remedy)
        lines.append(line)
    return lines


def _members(policy: Policy, charter: Charter) -> dict[str, bool]:
    return {member: member in policy.known_members for member in sorted(needed_policy(charter).known_members)}


def _require_noted(change: Change, noted: str, path: Path) -> None:
    remedy = "Give all 64 characters that `secagg policy show` printed."
    wanted = noted_head(noted, "what a site remembers of its policy", remedy)
    head = change.head.hex() if change.before else ""
    if head != wanted:
        raise TamperingError(
            "policy-memory-set-back",
            f"What this site remembers of its policy ends with {head[:16] or 'nothing'} and not with the head that was "
            "noted.",
            culprit=str(path),
            remedy="If nobody has agreed to a change since, somebody removed or replaced the site's latch.",
        )

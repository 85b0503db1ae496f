"""Which policy a site has accepted, and what a looser one needs before it is: the signatures of its officers.

The latch remembers the accepted policy, and a chain that each change makes longer. A signature is over the end of that
chain and the new policy: it is good for this site, for one change, and never again. Strictness needs no signature.

What this cannot see: a latch that is removed or rolled back, and a host whose owner changes this program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from secagg.errors import RefusedError, TamperingError
from secagg.files import read_bounded, write_atomically
from secagg.identity import Identity, Signature, fingerprint, is_valid_signature
from secagg.json_documents import MALFORMED, json_for_people
from secagg.labels import digest, label
from secagg.latch import LATCH_FILE, AcceptedPolicy, Latch, read_accepted_policy
from secagg.policy.loosening import Loosening, loosenings
from secagg.policy.model import Countersigning, OfficerKey, Policy
from secagg.policy.toml import read_policy

SIGNATURES_FILE: Final = "policy.signatures.json"
_LARGEST_SIGNATURES = 64 * 1024
_HEAD_SIZE = 32


class PolicySignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One officer's Ed25519 signature (64 bytes) over a change."""

    officer: OfficerKey
    signature: Signature


class Change(msgspec.Struct, frozen=True):
    """From the policy that is in force to the one in the file.

    Attributes:
        head: the end of the chain that the change follows.
        before: the policy in force; None where none is remembered, so that nothing is compared with it.
        signed: which officers have signed it, so that it counts.
    """

    head: bytes
    before: Policy | None
    after: Policy
    signed: frozenset[OfficerKey] = frozenset()

    @property
    def loosened(self) -> tuple[Loosening, ...]:
        """What the new policy allows beyond the one in force."""
        return loosenings(self.before, self.after) if self.before else ()

    @property
    def countersigning(self) -> Countersigning | None:
        """By the policy in force: who has to sign. Officers that only the new one names have no say."""
        return self.before.countersigning if self.before else None

    @property
    def new_officers(self) -> frozenset[OfficerKey]:
        """Officers that only the new policy names, beside or in the place of those of the policy in force."""
        if self.before is None or self.after.countersigning is None:
            return frozenset()
        before = self.before.countersigning
        return self.after.countersigning.officers - (before.officers if before else frozenset())

    @property
    def missing(self) -> int:
        """How many signatures are missing."""
        if not self.loosened or self.countersigning is None:
            return 0
        return max(0, self.countersigning.signatures - len(self.signed))


def load_policy(path: Path) -> Policy:
    """The policy that a site is held to: the file's, or the strict defaults where there is none.

    Raises:
        InputError: ``malformed-policy``, ``unreadable``.
        RefusedError: ``policy-loosened``, if it allows more than the policy in force and too few officers have signed.
        TamperingError: ``malformed-policy-signatures``, ``policy-memory-damaged``, ``latch-damaged``.
    """
    policy = read_policy(path)
    require_countersigned(read_change(path, policy), path)
    return policy


def read_change(path: Path, policy: Policy) -> Change:
    """What putting ``policy``, the file's at ``path``, in force would change; the latch beside it is only read."""
    return _change(read_accepted_policy(path.with_name(LATCH_FILE)), policy, path)


def accept_policy(latch: Latch, policy: Policy, path: Path) -> None:
    """Remember a policy as the one in force, where it or the one before names officers.

    Raises:
        RefusedError: ``policy-loosened``, as `load_policy`.
        InputError: ``unwritable``.
    """
    accepted = latch.accepted_policy()
    change = _change(accepted, policy, path)
    require_countersigned(change, path)
    if _is_news(change):
        latch.record_policy(AcceptedPolicy(_after(change), policy.canonical()))


def put_in_force(path: Path) -> None:
    """Have the latch beside the policy at ``path`` remember it now, and not only when a job opens the site.

    A change that enough officers have signed and that is not accepted yet could be taken back, and be put in force by
    anybody later: the end of the chain, which they signed, moves only when a change is accepted. Where there is nothing
    to remember, the latch is only read, and another process may have it.

    Raises:
        RefusedError: ``policy-loosened``, as `load_policy`.
        InputError: ``malformed-policy``, ``state-in-use``, ``unwritable``.
        TamperingError: as `load_policy`.
    """
    policy = load_policy(path)
    if not _is_news(read_change(path, policy)):
        return
    with Latch(path.with_name(LATCH_FILE)) as latch:
        accept_policy(latch, policy, path)


def require_countersigned(change: Change, path: Path) -> None:
    """Refuse a looser policy that too few officers have signed.

    Raises:
        RefusedError: ``policy-loosened``.
    """
    if change.missing:
        told = "; ".join(entry.told() for entry in change.loosened)
        raise RefusedError(
            "policy-loosened",
            f"The policy {path} allows more than the one in force: {told}. "
            f"Signatures of officers that are missing: {change.missing}.",
            culprit=str(path),
            remedy=f"Put it back as it was, or let officers sign it: secagg policy sign {path} --identity officer.pem",
        )


def sign_change(change: Change, officer: Identity) -> PolicySignature:
    """An officer's consent to one change.

    Raises:
        RefusedError: ``not-an-officer``, ``nothing-to-sign``.
    """
    if not change.loosened or change.countersigning is None:
        raise RefusedError(
            "nothing-to-sign",
            "The policy allows nothing beyond the one in force, or nobody has to sign here.",
            remedy="`secagg policy check` says what is in force.",
        )
    if officer.public_key not in change.countersigning.officers:
        raise RefusedError(
            "not-an-officer",
            f"The key {officer.fingerprint} is not one of the officers' keys in the policy in force.",
            culprit=officer.fingerprint,
            remedy="`secagg policy show` lists the officers. A change of officers is signed by those before it.",
        )
    return PolicySignature(officer.public_key, officer.sign(_message(change)))


def add_signature(path: Path, signature: PolicySignature) -> None:
    """Keep a signature beside the policy at ``path``, in place of an earlier one of the same officer.

    Raises:
        InputError: ``unwritable``.
    """
    others = (entry for entry in _read_signatures(path) if entry.officer != signature.officer)
    content = sorted((*others, signature), key=lambda entry: entry.officer)
    write_atomically(path.with_name(SIGNATURES_FILE), json_for_people(content))


def _is_news(change: Change) -> bool:
    """Whether there is something to remember: what nobody has to sign for is not, unless somebody had to until now."""
    return change.before != change.after and not (change.before is None and change.after.countersigning is None)


def _change(accepted: AcceptedPolicy | None, policy: Policy, path: Path) -> Change:
    if accepted is None:
        return Change(bytes(_HEAD_SIZE), None, policy)
    change = Change(accepted.head, _remembered(accepted, path), policy)
    return msgspec.structs.replace(change, signed=_signers(change, _read_signatures(path)))


def _signers(change: Change, signatures: Iterable[PolicySignature]) -> frozenset[OfficerKey]:
    """Officers whose signature is over this change. What was signed for another is left from before, and is none."""
    officers = change.countersigning.officers if change.countersigning else frozenset()
    message = _message(change)
    return frozenset(
        entry.officer
        for entry in signatures
        if entry.officer in officers and is_valid_signature(entry.officer, entry.signature, message)
    )


def _message(change: Change) -> bytes:
    return label("policy change", change.head, change.after.canonical())


def _after(change: Change) -> bytes:
    """The end of the chain after a change; it begins at random, so that no two sites have the same."""
    head = change.head if change.before else os.urandom(_HEAD_SIZE)
    return digest("policy chain", change.after.canonical(), head)


def _remembered(accepted: AcceptedPolicy, path: Path) -> Policy:
    try:
        return msgspec.json.decode(accepted.content, type=Policy)
    except MALFORMED as error:
        raise TamperingError(
            "policy-memory-damaged",
            f"What the latch beside {path} remembers of this site's policy cannot be read: {error}.",
            culprit=str(path.with_name(LATCH_FILE)),
            remedy="Ask who has had access to this site's folder; nothing is trained meanwhile.",
        ) from error


def _read_signatures(path: Path) -> tuple[PolicySignature, ...]:
    file = path.with_name(SIGNATURES_FILE)
    if not file.exists():
        return ()
    try:
        return msgspec.json.decode(read_bounded(file, _LARGEST_SIGNATURES), type=tuple[PolicySignature, ...])
    except MALFORMED as error:
        raise TamperingError(
            "malformed-policy-signatures",
            f"{file} cannot be read: {error}.",
            culprit=str(file),
            remedy="Remove it, and let the officers sign again.",
        ) from error


def fingerprints(keys: Iterable[OfficerKey]) -> list[str]:
    """Officers' keys as people compare them."""
    return sorted(fingerprint(key) for key in keys)

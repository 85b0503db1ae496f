"""Attacks on what a run leaves behind: the release, and what all have signed about their logs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from secagg.files import write_atomically
from secagg.identity import fingerprint
from secagg.log_excerpt import checkpoint_of
from secagg.release import PrivacyClaim, attest, verify_release
from secagg.release.checkpoints import (
    CHECKPOINTS_FILE,
    checkpoints_statement,
    is_vouched_for,
    sign_checkpoint,
    verify_checkpoints,
)
from secagg.release.dsse import SignedStatement, StatementSignature, assemble, read_envelope
from secagg.release.folder import STATEMENT_FILE, read_release
from secagg.release.statement import MODEL_FILE, Contributor, statement_bytes
from secagg.wire import Stage, open_envelope
from secagg.wire.envelope import decode, peek
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.engines.base import Engine, Exchange, Outbox, Phase
from training.messages import AskSnapshot, Attest, Conclude, Cosign, Cosigned, Endorsed, Query, Release, Witness
from training.testbed.build import Build

if TYPE_CHECKING:
    from training.attacks.ward import Ward

VICTIM: Final = 1
COLLUDER: Final = 5
_ANY_SIZE: Final = 1 << 24


@dataclass
class _Parting:
    """Gives the first sum to the victim alone, which has put nothing into it, and nothing more from then on."""

    engine: Engine
    parted: bool = False

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        """As any engine does."""
        kept = [item for item in outbox if (item[0] == VICTIM) is (phase is Phase.APPLY and not self.parted)]
        if phase in (Phase.MASK, Phase.APPLY) or self.parted:
            outbox = kept
        self.parted = self.parted or phase is Phase.APPLY
        return self.engine.exchange(phase, outbox, round_number)


@dataclass
class _Withholding:
    """Delivers everything but the checkpoints with everybody's signatures, which it keeps."""

    engine: Engine
    withheld: Outbox = ()

    def exchange(self, phase: Phase, outbox: Outbox, round_number: int) -> Exchange:
        """As any engine does."""
        if outbox and peek(outbox[0][1]).stage is Stage.COSIGNED:
            self.withheld, outbox = outbox, ()
        return self.engine.exchange(phase, outbox, round_number)


def _finished(folder: Path) -> Ward:
    ward, withheld = _ended(folder)
    _give(ward, withheld)
    return ward


def _give(ward: Ward, outbox: Outbox) -> None:
    for number, message in outbox:
        ward.parties[number].receive(message)


def _ended(folder: Path) -> tuple[Ward, Outbox]:
    """A run to its end, and what its coordinator has not given out yet: the checkpoints that all have signed."""
    # torch and opacus take seconds to import, and few attacks need them.
    from training.attacks.ward import Ward
    from training.coordinator import Coordinator
    from training.engines.embedded import EmbeddedEngine

    ward = Ward.open(folder, rounds=1, standardise="none")
    hospitals = {number: party.hospital for number, party in ward.parties.items()}
    engine = _Withholding(EmbeddedEngine(hospitals))
    Coordinator(ward.charter, engine, ward.folder / "coordinator").run()
    return ward, engine.withheld


def release_of_one(_build: Build, folder: Path) -> Outcome:
    """A hospital that colludes states another epsilon, as the only contributor and as all of them, and signs alone.

    It is given to a hospital in the place of the release that all signed, and to an outsider who verifies it.
    """
    with _finished(folder) as ward:
        tries, victim = Tries(Refuser.HOSPITAL), ward.parties[VICTIM]
        place = victim.hospital.release_folder
        name = ward.charter.charter.member(COLLUDER).name
        for named in ([name], [name] * ward.charter.charter.threshold):
            forged = _signed_alone(ward, place, named)
            tries(victim.receive, ward.forge(Stage.RELEASE, Release(forged)))
            given = folder / "given"
            shutil.copytree(place, given, dirs_exist_ok=True)
            write_atomically(given / STATEMENT_FILE, forged)
            if tries(verify_release, given):
                return tries.outcome("a release that one hospital made, and that passes for one of all")
        return tries.outcome(None)


def _signed_alone(ward: Ward, release: Path, contributors: Iterable[str]) -> bytes:
    _, statement = read_release(release)
    invented = replace(
        statement.predicate,
        contributors=tuple(Contributor(name, 1) for name in contributors),
        privacy=PrivacyClaim("local", "patient", 0.5, 1e-5),
    )
    forged = statement_bytes((release / MODEL_FILE).read_bytes(), invented)
    return assemble(forged, [attest(forged, ward.identities[COLLUDER])]).to_json()


def second_release(_build: Build, folder: Path) -> Outcome:
    """The victim alone is given a last sum, and the others make theirs anew without it.

    It is handed their state, attests to its own, and is given their word then; and is handed their state once more.
    """
    with _parted(folder) as ward:
        tries = Tries(Refuser.HOSPITAL)
        words = [ward.parties[number].receive(ward.forge(Stage.QUERY, Query()))[0] for number in range(2, COLLUDER)]
        endorsed = ward.forge(Stage.ENDORSED, Endorsed([memoryview(word) for word in words]))
        victim, statements = ward.parties[VICTIM], set()
        for _ in range(2):
            tries(_hand_over, ward)
            for message in (ward.forge(Stage.CONCLUDE, Conclude(rounds=2)), endorsed) * 2:
                for reply in tries(victim.receive, message) or ():
                    envelope = open_envelope(reply, ward.charter, _ANY_SIZE)
                    if envelope.header.stage is Stage.ATTEST:
                        statements.add(decode(envelope.payload, Attest).statement)
        return tries.outcome("h1's signatures under two releases" if len(statements) > 1 else None)


def _parted(folder: Path) -> Ward:
    # torch and opacus take seconds to import, and few attacks need them.
    from training.attacks.ward import Ward
    from training.coordinator import Coordinator
    from training.engines.embedded import EmbeddedEngine

    ward = Ward.open(folder, rounds=1, standardise="none", scheme="double-lock")
    hospitals = {number: party.hospital for number, party in ward.parties.items()}
    Coordinator(ward.charter, _Parting(EmbeddedEngine(hospitals)), ward.folder / "coordinator").run()
    return ward


def _hand_over(ward: Ward) -> None:
    """Have an honest hospital hand its state to the victim."""
    (asking,) = ward.parties[VICTIM].receive(ward.forge(Stage.QUERY, Query()))
    ask = ward.forge(Stage.ASK_SNAPSHOT, AskSnapshot(memoryview(asking)))
    (snapshot,) = ward.parties[2].receive(ask)
    ward.parties[VICTIM].receive(snapshot)


def checkpoints_anew(_build: Build, folder: Path) -> Outcome:
    """A hospital that colludes says less of its own logs, and the coordinator has all sign that beside what is so.

    Once before anybody is given what all have signed. Once after: those who sign are given the other in the place of
    what they have; and the same list without signatures.
    """
    ward, withheld = _ended(folder)
    with ward:
        tries = Tries(Refuser.HOSPITAL)
        real = decode(open_envelope(withheld[0][1], ward.charter, _ANY_SIZE).payload, Cosigned).signed
        anew = _said_anew(ward, real)
        signed = _signed_by_all(ward, anew, tries)
        if is_vouched_for(verify_checkpoints(signed, ward.charter), ward.charter.charter):
            return tries.outcome("two lists of checkpoints that enough have signed")
        _give(ward, withheld)
        place = ward.parties[VICTIM].hospital.release_folder / CHECKPOINTS_FILE
        for given in (assemble(read_envelope(real).payload, []), _signed_by_all(ward, anew, tries)):
            tries(ward.parties[VICTIM].receive, ward.forge(Stage.COSIGNED, Cosigned(given.to_json())))
        lost = place.read_bytes() != real
        return tries.outcome("a hospital without the checkpoints that all signed" if lost else None)


def _said_anew(ward: Ward, real: bytes) -> bytes:
    said = verify_checkpoints(read_envelope(real), ward.charter)
    name, nothing = ward.charter.charter.member(COLLUDER).name, checkpoint_of(())
    own = sign_checkpoint(ward.charter, name, nothing, nothing, ward.identities[COLLUDER])
    return checkpoints_statement(ward.charter, {**said.by_name, name: own}.values(), said.transcript)


def _signed_by_all(ward: Ward, anew: bytes, tries: Tries) -> SignedStatement:
    """By the hospital that colludes, and whoever else signs it."""
    signatures = [attest(anew, ward.identities[COLLUDER])]
    for number in sorted(ward.parties.keys() - {COLLUDER}):
        for reply in tries(ward.parties[number].receive, ward.forge(Stage.WITNESS, Witness(anew))) or ():
            payload = decode(open_envelope(reply, ward.charter, _ANY_SIZE).payload, Cosign)
            key = ward.charter.charter.member(number).public_key
            signatures.append(StatementSignature(fingerprint(key), payload.signature))
    return assemble(anew, signatures)


ATTACKS: Final = (
    Attack(
        "release-of-one",
        Liar.BOTH,
        "Puts a release with an invented epsilon, which one hospital alone has signed, in the place of the one of all.",
        "What holds around the rounds",
        Refused.with_reasons(Refuser.HOSPITAL, "other-release", "too-few-contributors", "repeated-contributor"),
        release_of_one,
    ),
    Attack(
        "second-release-by-snapshot",
        Liar.COORDINATOR,
        "Has a hospital attest to its model while it is handed the others', to have it attest to theirs too.",
        "What holds around the rounds",
        Refused.with_reasons(Refuser.HOSPITAL, "nothing-to-endorse", "not-ahead"),
        second_release,
    ),
    Attack(
        "checkpoints-signed-anew",
        Liar.BOTH,
        "Has all sign for two logs of one hospital: before they are given what they have signed, and afterwards.",
        "What holds around the rounds",
        Refused.with_reasons(Refuser.HOSPITAL, "already-witnessed", "too-few-signatures"),
        checkpoints_anew,
    ),
)

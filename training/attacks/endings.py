"""Attacks on what a run leaves behind: the release, and what all have signed about their logs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from secagg.files import write_atomically
from secagg.identity import fingerprint
from secagg.log_excerpt import checkpoint_of
from secagg.release import PrivacyClaim, attest, verify_release
from secagg.release.checkpoints import CHECKPOINTS_FILE, checkpoints_statement, read_checkpoints, sign_checkpoint
from secagg.release.dsse import StatementSignature, assemble, read_signed
from secagg.release.folder import STATEMENT_FILE, read_release
from secagg.release.statement import MODEL_FILE, Contributor, statement_bytes
from secagg.wire import Stage, open_envelope
from secagg.wire.envelope import decode
from training.attacks.build import Build
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.messages import Cosign, Cosigned, Release, Witness

if TYPE_CHECKING:
    from training.attacks.ward import Ward

VICTIM: Final = 1
COLLUDER: Final = 5
_ANY_SIZE: Final = 1 << 24


def _finished(folder: Path) -> Ward:
    # torch and opacus take seconds to import, and few attacks need them.
    from training.attacks.ward import Ward
    from training.coordinator import Coordinator
    from training.engines.embedded import EmbeddedEngine

    ward = Ward.open(folder, rounds=1, standardise="none")
    hospitals = {number: party.hospital for number, party in ward.parties.items()}
    Coordinator(ward.charter, EmbeddedEngine(hospitals), ward.folder / "coordinator").run()
    return ward


def release_of_one(_build: Build, folder: Path) -> Outcome:
    """A hospital that conspires states another epsilon, as the only contributor and as all of them, and signs alone.

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


def checkpoints_anew(_build: Build, folder: Path) -> Outcome:
    """After a run a hospital that conspires says less of its own logs, and the coordinator has all sign that instead.

    Those who sign are given what they signed, in the place of what they have; and the same list without signatures.
    """
    with _finished(folder) as ward:
        tries, places = Tries(Refuser.HOSPITAL), {}
        for number, party in ward.parties.items():
            places[number] = party.hospital.release_folder / CHECKPOINTS_FILE
        real = places[VICTIM].read_bytes()
        anew = _said_anew(ward, places[VICTIM].parent)
        signatures = [attest(anew, ward.identities[COLLUDER])]
        for number in sorted(ward.parties.keys() - {COLLUDER}):
            for reply in tries(ward.parties[number].receive, ward.forge(Stage.WITNESS, Witness(anew))) or ():
                payload = decode(open_envelope(reply, ward.charter, _ANY_SIZE).payload, Cosign)
                key = ward.charter.charter.member(number).public_key
                signatures.append(StatementSignature(fingerprint(key), payload.signature))
        for signed in (assemble(read_signed(real).payload, []), assemble(anew, signatures)):
            tries(ward.parties[VICTIM].receive, ward.forge(Stage.COSIGNED, Cosigned(signed.to_json())))
        lost = places[VICTIM].read_bytes() != real
        return tries.outcome("a hospital without the checkpoints that all signed" if lost else None)


def _said_anew(ward: Ward, release: Path) -> bytes:
    said = read_checkpoints(release, ward.charter)
    name, nothing = ward.charter.charter.member(COLLUDER).name, checkpoint_of(())
    own = sign_checkpoint(ward.charter, name, nothing, nothing, ward.identities[COLLUDER])
    return checkpoints_statement(ward.charter, {**said.by_name, name: own}.values())


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
        "checkpoints-signed-anew",
        Liar.BOTH,
        "Has all sign, after a run, for other logs of one hospital than those that they have signed for.",
        "What holds around the rounds",
        Refused.with_reasons(Refuser.HOSPITAL, "already-witnessed", "too-few-signatures"),
        checkpoints_anew,
    ),
)

"""Attacks on what a run leaves behind: the release."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from secagg.files import write_atomically
from secagg.release import PrivacyClaim, attest, verify_release
from secagg.release.dsse import assemble
from secagg.release.folder import STATEMENT_FILE, read_release
from secagg.release.statement import MODEL_FILE, Contributor, statement_bytes
from secagg.wire import Stage
from training.attacks.build import Build
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.messages import Release

if TYPE_CHECKING:
    from training.attacks.ward import Ward

VICTIM: Final = 1
COLLUDER: Final = 5


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


ATTACKS: Final = (
    Attack(
        "release-of-one",
        Liar.BOTH,
        "Puts a release with an invented epsilon, which one hospital alone has signed, in the place of the one of all.",
        "What holds around the rounds",
        Refused.with_reasons(Refuser.HOSPITAL, "other-release", "too-few-contributors", "repeated-contributor"),
        release_of_one,
    ),
)

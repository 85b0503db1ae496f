"""Harnesses for files that come from other members, from other sites, or from an officer's own editor."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

from secagg.charter import sign_charter, verify_charter
from secagg.charter.signing import parse_signatures, render_signatures
from secagg.charter.toml import parse_charter, render_charter
from secagg.egress import EgressLog, read_egress, sending
from secagg.errors import InputError, TamperingError
from secagg.identity import Identity
from secagg.latch import Latch, Sighting
from secagg.masking.journal import Begun, Lost, Received, TimedOut
from secagg.masking.messages import Abort
from secagg.policy import Policy, load_policy, render_policy
from secagg.release.dsse import assemble, attest, read_envelope, verify_signatures
from secagg.release.statement import Contributor, PrivacyClaim, Release, read_statement, statement_bytes
from secagg.transcript.files import TranscriptWriter, read_events
from secagg.wire import COORDINATOR, Sealer, Stage
from tests.fuzz.harness import Harness, nested, on_a_file, scratch
from tests.support.consortium import make_charter, make_identities, sign_by_all

_IDENTITIES = make_identities(3)
_CHARTER = make_charter(_IDENTITIES)
_SHA = "0" * 64
_LARGEST_EVENT = 1 << 20
# Of an algorithm that nobody knows, and of one (X448) whose keys are longer.
_OTHER_KINDS_OF_KEYS = [
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK%sBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB\n"
    b"-----END PRIVATE KEY-----\n" % algorithm
    for algorithm in (b"1Vw", b"2Vv")
]
DEEP_TOML = [
    b"a = " + b"[" * 5000,
    b"a = " + b"{a=" * 5000,
    b"[" + b"a." * 5000 + b"a]",
    b"a." * 5000 + b"a = 1",
    b"a = " + b"1" * 5000,
]


def _charter(data: bytes) -> None:
    charter = parse_charter(data)
    assert parse_charter(render_charter(charter)) == charter
    charter.digest()


def _signatures(data: bytes) -> None:
    verify_charter(_CHARTER, parse_signatures(data))


def _release(data: bytes) -> None:
    signed = read_envelope(data)
    statement = read_statement(signed.payload)
    verify_signatures(signed, _CHARTER, [contributor.name for contributor in statement.predicate.contributors])


def _statement() -> bytes:
    release = Release(
        _SHA, "test", _SHA, _SHA, 1, 1, (Contributor("h1", 1),), PrivacyClaim("none", "patient", None, None)
    )
    return statement_bytes(b"a model", release)


def _release_seeds() -> list[bytes]:
    statement = _statement()
    return [assemble(statement, [attest(statement, _IDENTITIES[0])]).to_json(), *nested(b"[", b'{"a":')]


def _identity_seeds() -> list[bytes]:
    path = scratch() / "seed.pem"
    found = []
    for passphrase in (None, b"secret"):
        path.unlink(missing_ok=True)
        _IDENTITIES[0].save(path, passphrase)
        found.append(path.read_bytes())
    return [*found, *_OTHER_KINDS_OF_KEYS]


def _transcript_seeds() -> list[bytes]:
    folder = scratch() / "transcripts"
    writer = TranscriptWriter(folder, 1)
    for event in (Begun(1), Received(1, bytes(40)), TimedOut(), Lost()):
        writer(event)
    (path,) = folder.glob("*")
    return [path.read_bytes(), *(len(deep).to_bytes(8, "big") + deep for deep in nested(b"\x91"))]


def one_file(path: Path) -> bytes:
    """One file, without the log beside it."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=DELETE")
    database.close()
    return path.read_bytes()


def _egress_seeds() -> list[bytes]:
    path = scratch() / "seed-egress.sqlite"
    message = Sealer(sign_by_all(_CHARTER, _IDENTITIES), COORDINATOR, None, 1).seal(Stage.ABORT, Abort("so"), round=1)
    with EgressLog(path, _IDENTITIES[0]) as log:
        log.record(*[sending(message, "now")] * 3)
    return [one_file(path)]


def _latch_seeds() -> list[bytes]:
    path = scratch() / "seed-latch.sqlite"
    with Latch(path) as latch:
        latch.record_epoch(bytes(32), 1)
        latch.record_masked(bytes(32), 1, 1)
        latch.record_revealed(bytes(32), 1, 1, (1, 2), bytes(32))
        latch.record_seen(bytes(32), {2: Sighting(1, 1)})
    return [one_file(path)]


def _read_latch(path: Path) -> None:
    with Latch(path) as latch:
        latch.last_epoch(bytes(32))
        latch.is_stopped(bytes(32))
        latch.cohorts(bytes(32), bytes(32))
        latch.sightings(bytes(32))


def _open_egress(path: Path) -> None:
    EgressLog(path, _IDENTITIES[0]).close()


_signatures_of_all = [sign_charter(_CHARTER, identity) for identity in _IDENTITIES]

HARNESSES = (
    Harness("charter", lambda: [render_charter(_CHARTER), *DEEP_TOML], _charter, (InputError,)),
    Harness("latch", _latch_seeds, on_a_file("latch.sqlite", _read_latch), (InputError, TamperingError)),
    Harness(
        "signatures",
        lambda: [render_signatures(_signatures_of_all), *nested(b"[", b'[{"a":')],
        _signatures,
        (InputError, TamperingError),
    ),
    Harness(
        "policy", lambda: [render_policy(Policy()), *DEEP_TOML], on_a_file("policy.toml", load_policy), (InputError,)
    ),
    Harness("identity", _identity_seeds, on_a_file("identity.pem", Identity.load), (InputError,)),
    Harness(
        "locked-identity",
        _identity_seeds,
        on_a_file("identity.pem", partial(Identity.load, passphrase=b"secret")),
        (InputError,),
    ),
    Harness("release", _release_seeds, _release, (TamperingError,)),
    Harness("statement", lambda: [_statement(), *nested(b"[", b'{"a":')], read_statement, (TamperingError,)),
    Harness(
        "transcript",
        _transcript_seeds,
        on_a_file("epoch-000001.transcript", lambda path: list(read_events(path, _LARGEST_EVENT))),
        (InputError, TamperingError),
    ),
    Harness(
        "egress",
        _egress_seeds,
        on_a_file("egress.sqlite", lambda path: read_egress(path, _IDENTITIES[0].public_key)),
        (InputError, TamperingError),
    ),
    Harness("own-egress", _egress_seeds, on_a_file("own.sqlite", _open_egress), (InputError, TamperingError)),
)

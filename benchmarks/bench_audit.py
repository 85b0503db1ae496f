"""CPU time of looking at records: a release of 40 hospitals, a log of 100,000 entries, a transcript of 300 rounds."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from benchmarks.measure import by_turns, cpu_seconds, median_ratio
from benchmarks.measure import seconds as seconds_passed
from benchmarks.sizes import size
from secagg.charter import Model
from secagg.charter.folder import write_charter, write_signatures
from secagg.egress import EGRESS, Direction, EgressEntry, EgressLog, read_egress
from secagg.files import write_atomically
from secagg.identity import Identity, is_valid_signature
from secagg.log_excerpt import checkpoint_of
from secagg.masking import MaskingServer
from secagg.processes import team
from secagg.release import Contributor, PrivacyClaim, Release, attest, verify_release
from secagg.release.dsse import assemble
from secagg.release.folder import STATEMENT_FILE
from secagg.release.statement import MODEL_FILE, statement_bytes
from secagg.transcript import TranscriptWriter, audit_folder
from tests.support.consortium import MODEL_DIGEST, Consortium, make_charter, make_identities, sign_by_all

HOSPITALS = size(40, 8)
PARAMETERS = size(15_000, 1_000)
MOST_ROUNDS, MOST_ENTRIES = 300, 100_000
ROUNDS = size(MOST_ROUNDS, 3, 10)
ENTRIES = size(MOST_ENTRIES, 1_000, 10_000)
# Signatures checked beside a log, and how often.
CHECKS = size(10_000, 200, 5_000)
TURNS = size(3, 1, 4)
# SQLite takes so many values in one statement.
AT_ONCE = 5_000


def seconds(benchmark, work: Callable[[], object]) -> float:
    """Of CPU time: others may be at work on the machine, and all of it is on one core."""
    spent: list[float] = []
    benchmark.pedantic(lambda: spent.append(cpu_seconds(work)), rounds=1)
    return spent[0]


def bench_release(benchmark, figure, tmp_path):
    identities = make_identities(HOSPITALS)
    charter = sign_by_all(make_charter(identities), identities)
    file = bytes(4 * PARAMETERS)
    names = [member.name for member in charter.charter.members]
    digest = hashlib.sha256(b"parameters").hexdigest()
    stated = Release(
        charter=charter.digest.hex(),
        charter_name=charter.charter.name,
        model_digest=digest,
        initial_model_digest=charter.charter.model.digest.hex(),
        sums=300,
        rounds=300,
        contributors=tuple(Contributor(name, 300) for name in names),
        privacy=PrivacyClaim("local", "patient", 3.0, 1e-5),
    )
    statement = statement_bytes(file, stated)
    write_charter(tmp_path, charter.charter)
    write_signatures(tmp_path, charter.signatures)
    write_atomically(tmp_path / MODEL_FILE, file)
    signed = assemble(statement, [attest(statement, identity) for identity in identities])
    write_atomically(tmp_path / STATEMENT_FILE, signed.to_json())
    took = seconds(benchmark, lambda: verify_release(tmp_path))
    figure(f"release of {HOSPITALS} hospitals, verified", took, "s", at_most=2)


@pytest.fixture
def long_log(tmp_path) -> tuple[Path, Identity]:
    identity, path = Identity.generate(), tmp_path / "egress.sqlite"
    draft = partial(
        EgressEntry,
        charter="0" * 64,
        direction=Direction.SENT,
        stage="MASKED",
        epoch=1,
        round=1,
        recipient=0,
        bytes=45_000,
        sha256="1" * 64,
        time="2026-01-01T00:00:00+00:00",
    )
    with EgressLog(path, identity) as log:
        for _ in range(0, ENTRIES, AT_ONCE):
            log.record(*[draft] * min(AT_ONCE, ENTRIES))
    return path, identity


def bench_log(benchmark, figure, monkeypatch, long_log):
    path, identity = long_log
    monkeypatch.setattr(team, "usable_cores", lambda: 1)
    message, taken = bytes(100), []
    signature = identity.sign(message)

    def check() -> None:
        for _ in range(CHECKS):
            is_valid_signature(identity.public_key, signature, message)

    # A signature's check suffers less from who shares the core than Python does: so both by turns.
    works = check, lambda: read_egress(path, identity.public_key)
    benchmark.pedantic(lambda: taken.extend(by_turns(TURNS, *works, measure=cpu_seconds)), rounds=1)
    checked, read = taken
    figure(f"log of {ENTRIES} entries, read and verified on one core", median(read), "s")
    # Of which, what the signatures take: beside it nothing may count.
    share = median_ratio(read, checked) * CHECKS / ENTRIES
    figure("log read and verified, over its signatures alone", share, "", at_most=1.5)
    monkeypatch.undo()
    spread = seconds_passed(lambda: read_egress(path, identity.public_key))
    figure(f"log of {ENTRIES} entries on {team.usable_cores()} cores, by the clock", spread, "s")
    tracemalloc.start()
    entries = read_egress(path, identity.public_key)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    figure("memory of a log's entries, each", held / len(entries), "B", at_most=2_000)
    figure("peak while reading a log, over what is kept", peak / held, "", at_most=1.5)
    took = cpu_seconds(lambda: checkpoint_of(entries))
    figure("checkpoint of a log", took, "s", at_most=5 * ENTRIES / MOST_ENTRIES)
    assert EGRESS.head(entries)


def bench_transcript(benchmark, figure, tmp_path):
    model = Model(digest=MODEL_DIGEST, parameters=PARAMETERS)
    with Consortium.make(tmp_path / "hospitals", HOSPITALS, model=model, epoch_rounds=ROUNDS) as consortium:
        folder = tmp_path / "transcript"
        consortium.server = MaskingServer(consortium.server.session, journal=TranscriptWriter(folder, 1))
        consortium.set_up()
        vectors = consortium.random_vectors(np.random.default_rng(1))
        for number in range(ROUNDS):
            consortium.run_round(vectors, mask_silent={1 + number % HOSPITALS}, step=number + 1)
            consortium.sent.clear()
        took = seconds(benchmark, lambda: audit_folder(folder, consortium.charter))
    megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    figure(f"transcript of {ROUNDS} rounds, {HOSPITALS} hospitals, {PARAMETERS} parameters", megabytes, "MB")
    figure(f"transcript of {ROUNDS} rounds, every sum recomputed", took, "s", at_most=60 * ROUNDS / MOST_ROUNDS)

"""The egress log: what is noted of a message, and that the note is there before anything leaves."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from functools import partial

import msgspec
import pytest

from dp.ledger.entries import LEDGER
from secagg.egress import EGRESS, Direction, EgressEntry, EgressLog, read_egress, sending, taking
from secagg.errors import InputError, RemoteProtocolError, TamperingError
from secagg.identity import Identity
from secagg.masking.messages import Agree, Begin
from secagg.signed_log import FIRST_PREVIOUS, read_log
from secagg.wire import COORDINATOR, Sealer, Stage, open_envelope
from tests.support.consortium import make_charter, make_identities, sign_by_all
from tests.support.errors import error_of

NOW = "2026-01-01T00:00:00+00:00"
CHARTER, MESSAGE = "a" * 64, "b" * 64


def passage(**changes) -> partial:
    given = {
        "charter": CHARTER,
        "direction": Direction.SENT,
        "stage": "DEAL",
        "epoch": 2,
        "round": 0,
        "recipient": 4,
        "bytes": 491,
        "sha256": MESSAGE,
        "time": NOW,
    }
    return partial(EgressEntry, **(given | changes))


def entry(**changes) -> EgressEntry:
    return passage(**changes)(**({"sequence": 1, "previous": FIRST_PREVIOUS} | changes))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "egress.sqlite"


@pytest.fixture
def site():
    return Identity.from_seed(bytes(range(32)))


@pytest.fixture
def log(path, site):
    with EgressLog(path, site) as log:
        yield log


@pytest.fixture(scope="module")
def charter():
    identities = make_identities(4)
    return sign_by_all(make_charter(identities), identities)


# Entries


def test_the_bytes_of_a_recorded_entry_never_change():
    # Logs are kept for years, and an officer must be able to check them with another program.
    assert entry().body() == (
        b'{"bytes":491,"charter":"' + b"a" * 64 + b'","direction":"sent","epoch":2,"previous":"' + b"0" * 64 + b'",'
        b'"recipient":4,"round":0,"sequence":1,"sha256":"' + b"b" * 64 + b'","stage":"DEAL",'
        b'"time":"2026-01-01T00:00:00+00:00"}'
    )


def test_the_chain_hash_and_what_is_signed_are_labelled_sha_256():
    body = entry().body()
    expected = hashlib.sha256(b"secagg egress entry 1\n" + body)
    assert EGRESS.chain_hash(body) == expected.hexdigest()
    assert EGRESS.signed_bytes(body) == b"secagg egress signature 1\n" + expected.digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sent"', b'"kept"'),
        (b'"DEAL"', b'"deal"'),
        (b'"DEAL"', b'""'),
        (b'"epoch":2', b'"epoch":-2'),
        (b'"epoch":2', b'"epoch":4294967296'),
        (b'"recipient":4', b'"recipient":1001'),
        (b'"bytes":491', b'"bytes":-1'),
        (b'"sha256":"b', b'"sha256":"B'),
        (b'"charter":"a', b'"charter":"'),
        (b'"round":0', b'"cost":0'),
        (b"2026-01-01", b"2026-01-01" * 5),
    ],
)
def test_an_entry_that_cannot_be_is_refused_when_it_is_read(old, new):
    body = entry().body()
    assert old in body
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body.replace(old, new, 1), type=EgressEntry)


def test_of_a_message_that_is_sent_its_header_and_the_hash_of_all_of_it_are_noted(charter):
    sealer = Sealer(charter, 2, make_identities(4)[1], 7)
    message = sealer.seal(Stage.AGREE, Agree(bytes(32)), recipient=3, round=9)
    noted = sending(message, NOW)(sequence=1, previous=FIRST_PREVIOUS)
    assert noted == entry(
        charter=charter.digest.hex(),
        stage="AGREE",
        epoch=7,
        round=9,
        recipient=3,
        bytes=len(message),
        sha256=hashlib.sha256(message).hexdigest(),
    )


def test_of_a_sum_that_is_taken_the_hash_of_its_payload_is_noted_whatever_brought_it(charter):
    payload = msgspec.msgpack.encode(Begin(5))
    for stage in (Stage.SUM, Stage.MISSED_SUM):
        message = Sealer(charter, COORDINATOR, None, 7).seal(stage, Begin(5), round=9)
        envelope = open_envelope(message, charter, 100)
        assert taking(envelope, 3, NOW)(sequence=1, previous=FIRST_PREVIOUS) == entry(
            charter=charter.digest.hex(),
            direction=Direction.TOOK,
            stage=stage.name,
            epoch=7,
            round=9,
            recipient=3,
            bytes=len(payload),
            sha256=hashlib.sha256(payload).hexdigest(),
        )


@pytest.mark.parametrize(
    ("direction", "stage", "took"),
    [
        (Direction.TOOK, Stage.SUM, (True, False)),
        (Direction.TOOK, Stage.MISSED_SUM, (True, False)),
        (Direction.TOOK, Stage.SNAPSHOT, (False, True)),
        (Direction.SENT, Stage.SNAPSHOT, (False, False)),
        (Direction.SENT, Stage.MASKED, (False, False)),
    ],
    ids=str,
)
def test_a_snapshot_that_was_taken_is_no_sum_that_was_taken(direction, stage, took):
    noted = entry(direction=direction, stage=stage.name)
    assert (noted.took_sum, noted.took_snapshot) == took


def test_what_is_no_message_cannot_be_noted_and_so_cannot_leave():
    for garbage in (b"", b"garbage", bytes(400)):
        with pytest.raises(RemoteProtocolError):
            sending(garbage, NOW)


def test_every_stage_has_a_name_that_can_be_noted():
    for stage in Stage:
        body = entry(stage=stage.name).body()
        assert msgspec.json.decode(body, type=EgressEntry).stage == stage.name


# The file


def test_what_was_recorded_is_read_back_in_order_with_the_public_key_alone(log, path, site):
    log.record(*(passage(recipient=number) for number in range(1, 40)))
    log.record(passage(direction=Direction.TOOK))
    entries = read_egress(path, site.public_key)
    assert entries == log.entries
    assert [noted.recipient for noted in entries] == [*range(1, 40), 4]
    assert [noted.sequence for noted in entries] == list(range(1, 41))


def test_a_log_opened_again_goes_on_where_it_stopped(path, site):
    for count in (1, 2, 3):
        with EgressLog(path, site) as log:
            assert len(log.entries) == count - 1
            log.record(passage(round=count))
    assert [noted.round for noted in read_egress(path, site.public_key)] == [1, 2, 3]


def test_the_log_is_private_and_belongs_to_one_process(log, path, site):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = error_of(EgressLog, path, site)
    assert isinstance(found, InputError)
    assert found.reason == "state-in-use"


@pytest.mark.parametrize("pragma", ["query_only = ON", "max_page_count = 1"])
def test_where_it_cannot_be_written_it_says_so_and_keeps_what_it_has(log, path, site, pragma):
    log.record(passage())
    log._database.execute(f"PRAGMA {pragma}")
    found = error_of(log.record, *(passage(round=number) for number in range(1, 60)))
    assert (found.reason, found.culprit, found.exit_code) == ("unwritable", str(path), 2)
    assert len(log.entries) == len(read_egress(path, site.public_key)) == 1


DYING = """
import os, signal, sys
from functools import partial
from pathlib import Path
from secagg.egress import EgressEntry, EgressLog
from secagg.identity import Identity
log = EgressLog(Path(sys.argv[1]), Identity.from_seed(bytes(range(32))))
log.record(*(partial(EgressEntry, charter="a" * 64, direction="sent", stage="DEAL", epoch=1, round=0, recipient=number,
                     bytes=1, sha256="b" * 64, time="") for number in range(39)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_recorded_survives_kill_9_right_after_it(path, site):
    child = subprocess.run([sys.executable, "-c", DYING, path], check=False)
    assert child.returncode == -signal.SIGKILL
    with EgressLog(path, site) as log:
        assert [noted.recipient for noted in log.entries] == list(range(39))


# Tampering


def change(path, statement, *values):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)


@pytest.fixture
def written(path, site):
    with EgressLog(path, site) as log:
        log.record(*(passage(round=number) for number in (1, 2, 3)))
    return path


@pytest.mark.parametrize(
    ("number", "old", "new"),
    [
        (1, b'"round":1', b'"round":2'),
        (2, b'"bytes":491', b'"bytes":490'),
        (2, b'"sha256":"b', b'"sha256":"c'),
        (3, b'"stage":"DEAL"', b'"stage":"SUMS"'),
        (3, b'"recipient":4', b'"recipient":5'),
    ],
)
def test_an_altered_entry_is_found_and_named_by_its_owner_and_by_a_reader(written, site, number, old, new):
    body = read_egress(written, site.public_key)[number - 1].body()
    assert old in body
    change(written, "UPDATE entries SET body = ? WHERE sequence = ?", body.replace(old, new), number)
    for call, key in ((EgressLog, site), (read_egress, site.public_key)):
        found = error_of(call, written, key)
        assert isinstance(found, TamperingError)
        assert (found.reason, found.culprit, found.exit_code) == ("egress-altered", f"entry {number}", 4)
        assert found.message.startswith(f"Entry {number} of the egress log {written} was altered: ")
        assert "officer" in found.remedy


def test_a_removed_entry_is_found(written, site):
    change(written, "DELETE FROM entries WHERE sequence = 2")
    assert error_of(EgressLog, written, site).culprit == "entry 2"


def test_another_hospitals_log_is_not_believed(written):
    found = error_of(EgressLog, written, Identity.generate())
    assert (found.reason, found.culprit) == ("egress-altered", "entry 1")


def test_a_file_that_is_no_log_is_damage_and_not_a_fresh_start(path, site):
    path.write_bytes(bytes(4096))
    for call, key in ((EgressLog, site), (read_egress, site.public_key)):
        found = error_of(call, path, key)
        assert (found.reason, found.exit_code) == ("egress-damaged", 4)
        assert f"{path} cannot be read as an egress log" in found.message


def test_a_ledger_and_an_egress_log_cannot_stand_for_one_another(written, site):
    assert error_of(read_log, written, site.public_key, LEDGER).culprit == "entry 1"

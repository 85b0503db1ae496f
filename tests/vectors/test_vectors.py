"""The recorded vectors are those that the code makes, and both sides take and give exactly the recorded bytes."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from base64 import b64decode
from fractions import Fraction

import pytest

from secagg.errors import RemoteProtocolError
from secagg.labels import digest
from secagg.masking import MaskingClient, MaskingServer
from secagg.masking.states import ClientState
from secagg.masking.verification import ForgedSumError
from secagg.release.checkpoints import verify_checkpoints
from secagg.release.dsse import read_envelope
from secagg.release.folder import verify_parts
from tests.vectors import generate

LARGEST_FILE = 300_000


def load(name: str) -> dict:
    return json.loads((generate.FOLDER / name).read_text())


TRANSCRIPT = load("transcript.json")
NOISE = load("noise.json")
BAD = load("bad.json")["vectors"]
STATEMENTS = load("statements.json")
MOMENTS = load("moments.json")
CHARTERS = {charter.digest.hex(): charter for charter in (generate.make_charter(), generate.make_noise_charter())}


def test_generating_again_gives_the_same_bytes():
    for name, content in generate.files().items():
        assert content == (generate.FOLDER / name).read_bytes(), f"{name}: run python -m tests.vectors.generate"
        assert len(content) < LARGEST_FILE


def replay_hospital(folder, number: int, until: int | None = None, recorded: dict = TRANSCRIPT) -> MaskingClient:
    """A fresh hospital that gets its recorded messages and must answer with the recorded bytes."""
    client = generate.make_client(CHARTERS[recorded["charter_digest"]], number, folder)
    due: list[bytes] = []
    for event in recorded["events"][:until]:
        if event.get("to") == number:
            due += client.receive(bytes.fromhex(event["bytes"]))
        elif event.get("from") == number and event["stage"] == "MASKED":
            assert generate.mask(client).hex() == event["bytes"]
        elif event.get("from") == number:
            assert due.pop(0).hex() == event["bytes"]
    if until is None:
        assert due == []
    return client


def replay_coordinator(until: int | None = None, recorded: dict = TRANSCRIPT) -> MaskingServer:
    """A fresh coordinator that gets the hospitals' recorded messages and must send the recorded bytes."""
    server = generate.make_server(CHARTERS[recorded["charter_digest"]])
    due: list[tuple[int, bytes]] = []
    for event in recorded["events"][:until]:
        match event:
            case {"action": "open"}:
                due += server.open()
            case {"action": "begin", "step": step}:
                due += server.begin(step)
            case {"action": "timeout"}:
                due += server.timeout()
            case {"from": 0}:
                assert due.pop(0) == (event["to"], bytes.fromhex(event["bytes"]))
            case _:
                due += server.receive(event["from"], bytes.fromhex(event["bytes"]))
    if until is None:
        assert due == []
    return server


both = pytest.mark.parametrize("recorded", [TRANSCRIPT, NOISE], ids=["transcript", "noise"])


@both
def test_a_hospital_answers_the_recorded_messages_with_the_recorded_bytes(tmp_path, recorded):
    for number in range(1, len(recorded["identity_seeds"]) + 1):
        client = replay_hospital(tmp_path, number, recorded=recorded)
        taken = client.take_sum()
        assert client.session.ring.to_signed(taken.total.vector).tolist() == recorded["sums"][-1]["sum"]


@both
def test_the_coordinator_answers_the_recorded_messages_with_the_recorded_bytes(recorded):
    server = replay_coordinator(recorded=recorded)
    assert server.session.ring.to_signed(server.result.vector).tolist() == recorded["sums"][-1]["sum"]


def without_noise(recorded: dict, total: dict) -> list[int]:
    summed = [
        one["values"]
        for one in recorded["vectors"]
        if one["round"] == total["round"] and one["hospital"] in total["survivors"]
    ]
    return [sum(column) for column in zip(*summed, strict=True)]


def test_the_recorded_sums_are_those_of_the_recorded_vectors():
    for total in TRANSCRIPT["sums"]:
        assert without_noise(TRANSCRIPT, total) == total["sum"]
    assert [total["survivors"] for total in TRANSCRIPT["sums"]] == [[1, 2, 3, 4], [1, 2, 4]]


def test_in_the_recorded_sums_with_noise_all_of_it_came_off_some_of_it_and_none():
    """Component 1 is 5 at most in magnitude, component 2 is 10."""
    largest = [
        max(abs(found - bare) for found, bare in zip(total["sum"], without_noise(NOISE, total), strict=True))
        for total in NOISE["sums"]
    ]
    assert [total["survivors"] for total in NOISE["sums"]] == [[1, 2, 3, 4, 5], [1, 2, 4, 5], [2, 3, 5]]
    assert largest[0] == 0
    assert 0 < largest[1] <= 4 * 5
    assert largest[1] < largest[2] <= 3 * 15


@pytest.mark.parametrize("bad", BAD, ids=[bad["name"] for bad in BAD])
def test_a_bad_message_is_refused_with_its_reason_and_changes_nothing_but_for_forgeries(tmp_path, bad):
    if bad["receiver"] == 0:
        party = replay_coordinator(bad["after"])

        def receive() -> object:
            return party.receive(1, bytes.fromhex(bad["bytes"]))
    else:
        party = replay_hospital(tmp_path, bad["receiver"], bad["after"])

        def receive() -> object:
            return party.receive(bytes.fromhex(bad["bytes"]))

    after = {"forged-sum": ClientState.STOPPED, "forged-agreement": ClientState.READY}.get(bad["reason"], party.state)
    with pytest.raises((RemoteProtocolError, ForgedSumError)) as caught:
        receive()
    assert caught.value.reason == bad["reason"]
    assert party.state is after


# --- What is signed at the end, made once more as the document says -----------------------------------------


def as_documented(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).replace("1e-05", "0.00001").encode()


@pytest.mark.parametrize("kind", ["release", "checkpoints"])
def test_a_statement_is_canonical_json_and_its_file_a_line_for_each_value_signed_by_key(kind):
    recorded = STATEMENTS[kind]
    statement, file = recorded["statement"].encode(), json.loads(recorded["file"])
    assert statement == as_documented(json.loads(statement))
    assert recorded["file"] == json.dumps(file, indent=1) + "\n"
    assert b64decode(file["payload"]) == statement
    assert [one["keyid"] for one in file["signatures"]] == sorted(one["keyid"] for one in file["signatures"])


def test_the_recorded_statements_are_signed_by_whom_they_name():
    charter = CHARTERS[STATEMENTS["charter_digest"]]
    release, checkpoints = (read_envelope(STATEMENTS[kind]["file"].encode()) for kind in ("release", "checkpoints"))
    model = hashlib.sha256(bytes.fromhex(STATEMENTS["release"]["model_file"])).hexdigest()
    found = verify_parts(charter, release, model, "the vector").statement.predicate
    assert [(entry.name, entry.sums) for entry in found.contributors] == [
        *(("hospital-1", 2), ("hospital-2", 2), ("hospital-3", 1), ("hospital-4", 2))
    ]
    assert verify_checkpoints(checkpoints, charter).cosigned_by == ("hospital-1", "hospital-2", "hospital-4")


def test_the_recorded_model_file_is_a_header_and_numbers():
    file, parameters = bytes.fromhex(STATEMENTS["release"]["model_file"]), STATEMENTS["state"]["parameters"]
    header = {
        "standardisation.mean": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]},
        "standardisation.std": {"dtype": "F64", "shape": [2], "data_offsets": [16, 32]},
        "bias": {"dtype": "F32", "shape": [1], "data_offsets": [32, 36]},
        "weight": {"dtype": "F32", "shape": [2, 4], "data_offsets": [36, 68]},
    }
    told = json.dumps(header, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)
    numbers = struct.pack("<4d", 0.5, -1.5, 0.5, 2.0) + struct.pack("<9f", *parameters)
    assert file == struct.pack("<Q", len(told)) + told + numbers


def test_the_recorded_state_digest_is_of_what_sums_have_made_of_the_state():
    state = STATEMENTS["state"]
    model = digest("model", struct.pack("<9f", *state["parameters"]), "bias 1", "weight 2x4")
    second = struct.pack("<9d", *state["second_moments"])
    statistics = [struct.pack("<2d", *state[kind]) for kind in ("means", "variances")]
    applied = b'[{"round":3,"survivors":[1,2,3,4],"cells":[]},{"round":5,"survivors":[1,2,4],"cells":[7,0]}]'
    assert state["digest"] == digest("state", b"", model, 2, b"", second, 1, *statistics, applied).hex()


# --- Feature statistics, made once more as the document says -------------------------------------------------


def sums_of_digits(numbers: list[Fraction], count: int, finest: int) -> list[int]:
    steps = [round(number * 2**finest) for number in numbers]
    digits = [[(1 if step > 0 else -1) * (abs(step) >> 32 * k & 2**32 - 1) for k in range(count)] for step in steps]
    return [sum(column) % 2**64 for column in zip(*digits, strict=True)]


def number_of(sums: list[int], finest: int) -> Fraction:
    return Fraction(sum(2 ** (32 * k) * digits for k, digits in enumerate(sums)), 2**finest)


def test_the_recorded_moments_are_sums_of_digits_over_rows():
    for hospital in MOMENTS["hospitals"]:
        elements = [len(hospital["rows"])]
        for column in zip(*hospital["rows"], strict=True):
            values = [Fraction(value) for value in column]
            elements += sums_of_digits(values, 4, 80) + sums_of_digits([value**2 for value in values], 7, 128)
        assert hospital["elements"] == elements


def test_the_recorded_sum_is_that_of_the_hospitals_and_is_read_in_fractions():
    total = [sum(column) % 2**64 for column in zip(*(h["elements"] for h in MOMENTS["hospitals"]), strict=True)]
    assert MOMENTS["sum"] == total
    rows, *sums = [element - 2**64 * (element >= 2**63) for element in total]
    for number, (mean, variance) in enumerate(zip(MOMENTS["means"], MOMENTS["variances"], strict=True)):
        of_one = sums[11 * number :][:11]
        m, square = number_of(of_one[:4], 80) / rows, number_of(of_one[4:], 128) / rows
        assert (mean, variance) == (float(m), float(max(Fraction(0), square - m * m)))
    assert MOMENTS["spreads"] == [*map(math.sqrt, MOMENTS["variances"][:2]), None]

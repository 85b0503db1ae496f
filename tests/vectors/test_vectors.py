"""The recorded vectors are those that the code makes, and both sides take and give exactly the recorded bytes."""

from __future__ import annotations

import json

import pytest

from secagg.errors import RemoteProtocolError
from secagg.masking import MaskingClient, MaskingServer
from secagg.masking.states import ClientState
from secagg.masking.verification import ForgedSumError
from tests.vectors import generate

LARGEST_FILE = 300_000


def load(name: str) -> dict:
    return json.loads((generate.FOLDER / name).read_text())


TRANSCRIPT = load("transcript.json")
BAD = load("bad.json")["vectors"]


def test_generating_again_gives_the_same_bytes():
    for name, content in generate.files().items():
        assert content == (generate.FOLDER / name).read_bytes(), f"{name}: run python -m tests.vectors.generate"
        assert len(content) < LARGEST_FILE


def replay_hospital(folder, number: int, until: int) -> MaskingClient:
    """A fresh hospital that gets its recorded messages and must answer with the recorded bytes."""
    charter = generate.make_charter()
    client = generate.make_client(charter, number, folder)
    due: list[bytes] = []
    for event in TRANSCRIPT["events"][:until]:
        if event.get("to") == number:
            due += client.receive(bytes.fromhex(event["bytes"]))
        elif event.get("from") == number and event["stage"] == "MASKED":
            vector = generate.vector(client.session, number, client.round)
            assert client.mask(vector, generate.MODEL).hex() == event["bytes"]
        elif event.get("from") == number:
            assert due.pop(0).hex() == event["bytes"]
    if until == len(TRANSCRIPT["events"]):
        assert due == []
    return client


def replay_coordinator(until: int) -> MaskingServer:
    """A fresh coordinator that gets the hospitals' recorded messages and must send the recorded bytes."""
    server = MaskingServer(generate.make_session(generate.make_charter()))
    due: list[tuple[int, bytes]] = []
    for event in TRANSCRIPT["events"][:until]:
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
    if until == len(TRANSCRIPT["events"]):
        assert due == []
    return server


@pytest.mark.parametrize("number", generate.HOSPITALS)
def test_a_hospital_answers_the_recorded_messages_with_the_recorded_bytes(tmp_path, number):
    client = replay_hospital(tmp_path, number, len(TRANSCRIPT["events"]))
    taken = client.take_sum()
    assert client.session.ring.to_signed(taken.total.vector).tolist() == TRANSCRIPT["sums"][-1]["sum"]


def test_the_coordinator_answers_the_recorded_messages_with_the_recorded_bytes():
    server = replay_coordinator(len(TRANSCRIPT["events"]))
    assert server.session.ring.to_signed(server.result.vector).tolist() == TRANSCRIPT["sums"][-1]["sum"]


def test_the_recorded_sums_are_those_of_the_recorded_vectors():
    for total in TRANSCRIPT["sums"]:
        summed = [
            one["values"]
            for one in TRANSCRIPT["vectors"]
            if one["round"] == total["round"] and one["hospital"] in total["survivors"]
        ]
        assert [sum(column) for column in zip(*summed, strict=True)] == total["sum"]
    assert [total["survivors"] for total in TRANSCRIPT["sums"]] == [[1, 2, 3, 4], [1, 2, 4]]


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

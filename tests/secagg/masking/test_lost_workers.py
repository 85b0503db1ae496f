"""A coordinator that loses a process which adds vectors loses a round's sum, and not the epoch or its good name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from secagg.charter.sections import Model
from secagg.homomorphic import vectors as encrypted_vectors
from secagg.homomorphic.vectors import CiphertextSum
from secagg.masking import MaskingServer
from secagg.masking.journal import Lost, Received
from secagg.masking.states import ServerState
from secagg.processes import team as teams
from secagg.processes.team import Spare
from secagg.processes.worker import WorkerLostError, first_to_answer
from secagg.transcript import audit_epoch
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.support.consortium import MODEL_DIGEST, Consortium

PATIENCE = 60
MEMBERS = 5
schemes = pytest.mark.parametrize("scheme", ["bfv", "ckks", "double-lock"])


@pytest.fixture
def spare(monkeypatch) -> Iterator[Spare]:
    """Two workers, who are asked however little there is to add."""
    monkeypatch.setattr(encrypted_vectors, "PARALLEL_ADD_FROM_BLOCKS", 1)
    monkeypatch.setattr(teams, "usable_cores", lambda: 3)
    spare = Spare()
    monkeypatch.setattr(teams, "SPARE", spare)
    yield spare
    spare.end()


def set_up(folder, scheme: str, events: list) -> Consortium:
    consortium = Consortium.make(folder, MEMBERS, scheme=scheme, model=Model(digest=MODEL_DIGEST, parameters=60_000))
    consortium.server = MaskingServer(consortium.server.session, journal=events.append)
    consortium.set_up()
    return consortium


def helpers(consortium: Consortium) -> list:
    """The workers that add this round's vectors, each of which has a part of the sum."""
    (total,) = consortium.server._round.collection._sums.values()
    for worker in total._parts:
        while not worker.ready:
            first_to_answer([worker], PATIENCE)
            assert list(worker.collect(total._job)) == []
    return list(total._parts)


def kill(workers: list) -> None:
    for worker in workers:
        worker._process.kill()
        worker._process.wait()


def the_next_round_gives_the_sum(consortium: Consortium, step: int = 1) -> None:
    vectors = consortium.random_vectors(np.random.default_rng(2))
    consortium.run_round(vectors)
    result, ring = consortium.server.result, consortium.server.session.ring
    assert (result.round, result.step) == (2, step)
    for number, client in consortium.clients.items():
        found = ring.to_signed(client.take_sum().total.vector)
        assert np.array_equal(found, consortium.integers(vectors, *result.survivors.numbers)), number


def nothing_is_found(events: list, consortium: Consortium) -> None:
    audit = audit_epoch(events, consortium.charter)
    assert audit.findings == []
    assert [record.payload_sha256 is None for record in audit.rounds] == [True, False]


@schemes
def test_a_worker_that_is_lost_among_the_vectors_costs_the_round_its_sum_and_no_more(tmp_path, scheme, spare):
    events = []
    consortium = set_up(tmp_path, scheme, events)
    server, outbox = consortium.server, []
    consortium.deliver(server.begin(1))
    masked = consortium.mask(consortium.random_vectors(np.random.default_rng(1)))
    server.receive(*masked[0])
    workers = helpers(consortium)
    server.receive(*masked[1])
    kill(workers)
    for number, message in masked[2:]:
        # Nobody is refused for it.
        outbox = server.receive(number, message)
    assert (server.state, server.fault.reason, server.result) == (ServerState.READY, "worker-lost", None)
    assert {peek(message).stage for _, message in outbox} == {Stage.ABORT}
    assert len([event for event in events if isinstance(event, Lost)]) == 1
    consortium.deliver(outbox)
    the_next_round_gives_the_sum(consortium)
    nothing_is_found(events, consortium)


@pytest.mark.parametrize("silent", [None, 5], ids=["all answer", "time runs out"])
def test_a_worker_that_is_lost_after_the_last_vector_costs_no_more_either(tmp_path, spare, silent):
    events = []
    consortium = set_up(tmp_path, "double-lock", events)
    server = consortium.server
    consortium.deliver(server.begin(1))
    masked = consortium.mask(consortium.random_vectors(np.random.default_rng(1)))
    server.receive(*masked[0])
    workers = helpers(consortium)
    reveals = consortium.deliver(consortium.answer(masked[1:]))
    assert server.state is ServerState.UNMASKING
    kill(workers)
    outbox = []
    for number, message in reveals:
        if number != silent:
            outbox = server.receive(number, message)
    outbox = outbox or server.timeout()
    assert (server.state, server.fault.reason, server.result) == (ServerState.READY, "worker-lost", None)
    consortium.deliver(outbox)
    the_next_round_gives_the_sum(consortium)
    nothing_is_found(events, consortium)


def test_a_worker_that_is_lost_at_who_judges_a_transcript_accuses_nobody(tmp_path, monkeypatch):
    events = []
    consortium = set_up(tmp_path, "bfv", events)
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)))

    def lost(*arguments):
        raise WorkerLostError("worker-lost", "It has ended.")

    monkeypatch.setattr(CiphertextSum, "add", lost)
    with pytest.raises(WorkerLostError):
        audit_epoch(events, consortium.charter)


def test_a_loss_that_is_added_to_a_transcript_does_not_fit_the_sum_that_was_sent(tmp_path):
    events = []
    consortium = set_up(tmp_path, "bfv", events)
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)))
    place = max(index for index, event in enumerate(events) if isinstance(event, Received))
    audit = audit_epoch([*events[:place], Lost(), *events[place:]], consortium.charter)
    assert [finding.reason for finding in audit.findings] == ["output-differs"]

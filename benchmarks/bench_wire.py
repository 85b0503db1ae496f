"""Bytes on the wire, counted in the messages of a whole round among 50 hospitals, set-up aside.

Sixteen-bit values: the sum of 50 of them needs 22 bits. Fields of 22 bits hold it; fields of 24, the default, are
whole bytes, and leave room for values of 18 bits.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.sizes import size
from secagg.charter import Encoding, Model
from secagg.encoding import Ring
from secagg.masking.states import ServerState
from tests.support.consortium import MODEL_DIGEST, Consortium

HOSPITALS = size(50, 8)
PARAMETERS = size(1_000_000, 20_000)
SIXTEEN_BITS = (1 << 15) - 1


def bytes_of_a_round(consortium: Consortium, drops: set[int]) -> tuple[float, float]:
    """What a hospital that is in the sum sends and gets, on average, in bytes."""
    server, clients = consortium.server, consortium.clients
    vector = server.session.ring.zeros(server.session.length)
    up = dict.fromkeys(clients, 0)
    down = dict.fromkeys(clients, 0)

    def hand_down(outbox: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        for number, message in outbox:
            down[number] += len(message)
        return consortium.deliver(outbox, drops)

    def hand_up(number: int, message: bytes) -> list[tuple[int, bytes]]:
        up[number] += len(message)
        return server.receive(number, message)

    hand_down(server.begin(1))
    outbox: list[tuple[int, bytes]] = []
    for number, client in clients.items():
        if number not in drops:
            outbox += hand_up(number, client.mask(vector, MODEL_DIGEST))
    outbox = outbox or server.timeout()
    while server.state is not ServerState.READY:
        answered = [hand_up(number, message) for number, message in hand_down(outbox)]
        outbox = [item for part in answered for item in part]
    hand_down(outbox)
    assert server.result is not None
    survivors = server.result.survivors.numbers
    assert set(survivors) == set(clients) - drops
    return float(np.mean([up[number] for number in survivors])), float(np.mean([down[number] for number in survivors]))


@pytest.mark.parametrize("drops", [set(), {3, 4, 5, 6, 7} if HOSPITALS == 50 else {3}], ids=["all answer", "some drop"])
@pytest.mark.parametrize("bits", [22, 24])
def bench_wire_bytes(benchmark, figure, tmp_path, bits, drops):
    assert Ring(bits).largest // HOSPITALS >= SIXTEEN_BITS
    model = Model(digest=MODEL_DIGEST, parameters=PARAMETERS)
    consortium = Consortium.make(tmp_path, HOSPITALS, model=model, encoding=Encoding(field_bits=bits), epoch_rounds=1)
    consortium.set_up()
    found = []
    benchmark.pedantic(lambda: found.extend(bytes_of_a_round(consortium, drops)), rounds=1)
    up, down = found[0] / PARAMETERS, found[1] / PARAMETERS
    benchmark.extra_info.update(up=up, down=down)
    what = f"n = {HOSPITALS}, {len(drops)} drop out, 16-bit values in {bits} bits"
    figure(f"{what}: sent", up, "B/par", at_most=3.05)
    figure(f"{what}: received", down, "B/par", at_most=3.05)

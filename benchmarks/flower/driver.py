"""Times Flower SecAgg+'s own functions. Run by the Python of Flower's environment; imports nothing of secagg.

One JSON object a line on standard input, {"work": ..., "parameters": d, "hospitals": n, "threshold": t, "dropped": k};
on standard output one with the seconds by part: wall time, or CPU time if the order has {"clock": "cpu"}, and of
rounds yardsticks too. An order with {"seconds": s} is done until so many CPU seconds have gone, each time with an
answer. Works are "mask", "hospital" (one hospital's part of a round), "round" (the coordinator's as well), and "piece":
the next piece of a round, answered with the seconds of all until then and with how many are left. Functions are called
in the order in which `flwr.client.mod.secure_aggregation.secaggplus_mod` (hospital) and
`flwr.server.workflow.secure_aggregation.secaggplus_workflow` (coordinator) call them; all neighbours are each other's,
as in SecAgg. Quantising is a part of its own: what is masked is quantised already.
"""

import json
import os
import sys
import time
from collections import Counter
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from flwr.common import bytes_to_ndarray, ndarray_to_bytes
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import decrypt, encrypt, generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import quantize
from flwr.common.secure_aggregation.secaggplus_utils import (
    pseudo_rand_gen,
    share_keys_plaintext_concat,
    share_keys_plaintext_separate,
)
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
)

# Wherever it is called from, and whatever Python is told of safe paths.
sys.path.insert(0, str(Path(__file__).parent))
from yardstick import Pace, Yardstick

MOD_RANGE = 1 << 32  # SecAggPlusWorkflow's default modulus_range.
QUANTISATION_RANGE = 1 << 22  # Its default too.
CLIPPING_RANGE = 8.0  # And this.


class Party:
    """A hospital's keys, as bytes, as Flower keeps them."""

    def __init__(self, number):
        private, public = generate_key_pairs()
        self.number = number
        self.sk1, self.pk1 = private_key_to_bytes(private), public_key_to_bytes(public)
        private, public = generate_key_pairs()
        self.sk2, self.pk2 = private_key_to_bytes(private), public_key_to_bytes(public)
        self.rd_seed = os.urandom(32)


def quantised(parameters):
    return [np.random.default_rng(1).integers(0, QUANTISATION_RANGE, parameters)]


def share_keys(own, parties, threshold):
    """`_share_keys`: shares of both secrets, sealed for each peer. The ciphertexts and the keys they are under."""
    b_shares = create_shares(own.rd_seed, threshold, len(parties))
    sk1_shares = create_shares(own.sk1, threshold, len(parties))
    keys, ciphertexts = {}, {}
    for index, peer in enumerate(parties):
        if peer is not own:
            key = generate_shared_key(bytes_to_private_key(own.sk2), bytes_to_public_key(peer.pk2))
            text = share_keys_plaintext_concat(own.number, peer.number, b_shares[index], sk1_shares[index])
            keys[peer.number], ciphertexts[peer.number] = key, encrypt(key, text)
    return keys, ciphertexts, b_shares, sk1_shares


def open_shares(keys, ciphertexts):
    """The first part of `_collect_masked_vectors`."""
    return [share_keys_plaintext_separate(decrypt(keys[number], text)) for number, text in ciphertexts.items()]


def mask(own, parties, vector):
    """The rest of `_collect_masked_vectors`, after quantising."""
    vector = factor_combine(1, vector)
    shapes = [array.shape for array in vector]
    vector = parameters_addition(vector, pseudo_rand_gen(own.rd_seed, MOD_RANGE, shapes))
    for peer in parties:
        if peer is own:
            continue
        shared_key = generate_shared_key(bytes_to_private_key(own.sk1), bytes_to_public_key(peer.pk1))
        pairwise_mask = pseudo_rand_gen(shared_key, MOD_RANGE, shapes)
        if own.number > peer.number:
            vector = parameters_addition(vector, pairwise_mask)
        else:
            vector = parameters_subtraction(vector, pairwise_mask)
    vector = parameters_mod(vector, MOD_RANGE)
    return [ndarray_to_bytes(array) for array in vector]


class Coordinator:
    """The sum of a round, and what is done to it. What one step frees is freed within its time."""

    def __init__(self, masked):
        self._masked, self._sum, self._secret = masked, None, None

    def add(self):
        """`collect_masked_vectors_stage`, for one who sent a vector."""
        vector = [bytes_to_ndarray(data) for data in self._masked]
        self._sum = vector if self._sum is None else parameters_addition(self._sum, vector)

    def reduce(self):
        """The end of `collect_masked_vectors_stage`, and of `unmask_stage`."""
        self._sum = parameters_mod(self._sum, MOD_RANGE)

    def take_off_own_mask(self, seed_shares):
        """Of `unmask_stage`, for one who answered: rebuild the seed, take off the mask."""
        seed = combine_shares(seed_shares)
        self._sum = parameters_subtraction(self._sum, self._mask(seed))

    def rebuild_key(self, key_shares):
        """Of `unmask_stage`, for one who dropped out."""
        self._secret = combine_shares(key_shares)

    def take_off_pairwise_mask(self, owner, peer):
        """Of `unmask_stage`, for each of the others, who masked with the key of the one who dropped out."""
        pairwise_mask = self._mask(
            generate_shared_key(bytes_to_private_key(self._secret), bytes_to_public_key(peer.pk1))
        )
        combine = parameters_addition if owner.number > peer.number else parameters_subtraction
        self._sum = combine(self._sum, pairwise_mask)

    def _mask(self, key):
        return pseudo_rand_gen(key, MOD_RANGE, get_parameters_shape(self._sum))


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def timed(work, clock=time.perf_counter):
    start = clock()
    result = work()
    return clock() - start, result


def time_mask(parties, order):
    vector = quantised(order["parameters"])
    seconds, masked = timed(lambda: mask(parties[0], parties, vector))
    return {"mask": seconds, "bytes": sum(len(data) for data in masked)}


class Parts:
    """How long the parts of a round take, and how many yardsticks."""

    def __init__(self, clock):
        self._clock, self._pace = clock, Pace(Yardstick(clock))
        self._seconds, self._yardsticks = Counter(), Counter()

    def time(self, name, work):
        """What ``work`` gives; its time is added to what the part took before."""

        def tell(yardsticks):
            self._yardsticks[name] += yardsticks

        self._pace.refresh()
        seconds, result = timed(work, self._clock)
        self._seconds[name] += seconds
        self._pace.note(seconds, tell)
        return result

    def answer(self):
        self._pace.settle()
        return {**self._seconds, "yardsticks": self._yardsticks}


def time_hospital(parties, order):
    """One hospital's part of a round."""
    parts = Parts(CLOCKS[order.get("clock", "wall")])
    masked = hospitals_part(parts, parties, order)
    return {**parts.answer(), "bytes": sum(len(data) for data in masked)}


def time_round(parties, order):
    """One hospital's part, and the coordinator's."""
    whole = Round(parties, order)
    while whole.left:
        whole.do_one()
    return whole.answer()


class Round:
    """One hospital's part, then the coordinator's by piece: all of it takes longer than a machine stays as fast."""

    def __init__(self, parties, order):
        self._parts = Parts(CLOCKS[order.get("clock", "wall")])
        masked = hospitals_part(self._parts, parties, order)
        self._bytes = sum(len(data) for data in masked)
        self._pieces = iter(pieces := coordinators_pieces(parties, order, masked))
        self.left = len(pieces)

    def do_one(self):
        self._parts.time(*next(self._pieces))
        self.left -= 1

    def answer(self):
        return {**self._parts.answer(), "bytes": self._bytes}


def hospitals_part(parts, parties, order):
    """What it sends."""
    floats = np.random.default_rng(1).standard_normal(order["parameters"])
    parts.time("encode", lambda: quantize([floats], CLIPPING_RANGE, QUANTISATION_RANGE))
    vector = quantised(order["parameters"])
    keys, ciphertexts, *_ = parts.time("shares", lambda: share_keys(parties[0], parties, order["threshold"]))
    parts.time("shares", lambda: open_shares(keys, ciphertexts))
    return parts.time("mask", lambda: mask(parties[0], parties, vector))


def coordinators_pieces(parties, order, masked):
    """The part of a round each belongs to, and what to do."""
    threshold, dropped = order["threshold"], parties[len(parties) - order["dropped"] :]
    # The coordinator combines what everybody answered; it is given no more than it needs, which is faster.
    seeds = {party.number: create_shares(party.rd_seed, threshold, len(parties))[:threshold] for party in parties}
    keys = {party.number: create_shares(party.sk1, threshold, len(parties))[:threshold] for party in dropped}
    coordinator = Coordinator(masked)
    pieces = [("add", coordinator.add)] * (len(parties) - len(dropped)) + [("add", coordinator.reduce)]
    for owner in parties:
        if owner not in dropped:
            pieces.append(("unmask", partial(coordinator.take_off_own_mask, seeds[owner.number])))
            continue
        pieces.append(("unmask", partial(coordinator.rebuild_key, keys[owner.number])))
        peers = [peer for peer in parties if peer is not owner]
        pieces += [("unmask", partial(coordinator.take_off_pairwise_mask, owner, peer)) for peer in peers]
    return [*pieces, ("unmask", coordinator.reduce)]


class ByPiece:
    """A round of which each order does one piece, and the last ends it."""

    def __init__(self):
        self._round = None

    def __call__(self, parties, order):
        self._round = self._round or Round(parties, order)
        self._round.do_one()
        answer = {**self._round.answer(), "left": self._round.left}
        if not self._round.left:
            self._round = None
        return answer


def main():
    print(json.dumps({"flwr": version("flwr"), "numpy": version("numpy")}), flush=True)
    works = {"mask": time_mask, "hospital": time_hospital, "round": time_round, "piece": ByPiece()}
    parties = []
    for line in sys.stdin:
        order = json.loads(line)
        if len(parties) != order["hospitals"]:
            parties = [Party(number) for number in range(1, order["hospitals"] + 1)]
        work = works[order["work"]]
        began = time.process_time()
        print(json.dumps(work(parties, order)), flush=True)
        while time.process_time() - began < order.get("seconds", 0):
            print(json.dumps(work(parties, order)), flush=True)


if __name__ == "__main__":
    main()

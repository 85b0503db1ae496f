"""Times Flower SecAgg+'s own functions. Run by the Python of Flower's environment; imports nothing of secagg.

One JSON object a line on standard input, {"work": ..., "parameters": d, "hospitals": n, "threshold": t, "dropped": k};
on standard output one with the seconds by part: wall time, or CPU time if the order has {"clock": "cpu"}, and of
rounds yardsticks too. An order with {"seconds": s} is done until so many CPU seconds have gone, each time with an
answer. Works are "mask", "hospital" (one hospital's part of a round) and "round" (the coordinator's as well). Functions
are called in the order in which `flwr.client.mod.secure_aggregation.secaggplus_mod` (hospital) and
`flwr.server.workflow.secure_aggregation.secaggplus_workflow` (coordinator) call them; all neighbours are each other's,
as in SecAgg. Quantising is a part of its own: what is masked is quantised already.
"""

import json
import os
import sys
import time
from collections import Counter
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


def add_up(masked, times):
    """`collect_masked_vectors_stage`: the sum of what came in."""
    total = None
    for _ in range(times):
        vector = [bytes_to_ndarray(data) for data in masked]
        total = vector if total is None else parameters_addition(total, vector)
    return parameters_mod(total, MOD_RANGE)


def take_off_own_mask(total, seed_shares):
    """Of `unmask_stage`, for one who answered: rebuild the seed, take off the mask."""
    seed = combine_shares(seed_shares)
    return parameters_subtraction(total, pseudo_rand_gen(seed, MOD_RANGE, get_parameters_shape(total)))


def take_off_pairwise_masks(total, owner, parties, key_shares):
    """Of `unmask_stage`, for one who dropped out: rebuild the key, take off what others masked with it."""
    secret = combine_shares(key_shares)
    for peer in parties:
        if peer is owner:
            continue
        shared_key = generate_shared_key(bytes_to_private_key(secret), bytes_to_public_key(peer.pk1))
        pairwise_mask = pseudo_rand_gen(shared_key, MOD_RANGE, get_parameters_shape(total))
        if owner.number > peer.number:
            total = parameters_addition(total, pairwise_mask)
        else:
            total = parameters_subtraction(total, pairwise_mask)
    return total


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
    parts = Parts(CLOCKS[order.get("clock", "wall")])
    masked = hospitals_part(parts, parties, order)
    coordinators_part(parts, parties, order, masked)
    return {**parts.answer(), "bytes": sum(len(data) for data in masked)}


def hospitals_part(parts, parties, order):
    """What it sends."""
    floats = np.random.default_rng(1).standard_normal(order["parameters"])
    parts.time("encode", lambda: quantize([floats], CLIPPING_RANGE, QUANTISATION_RANGE))
    vector = quantised(order["parameters"])
    keys, ciphertexts, *_ = parts.time("shares", lambda: share_keys(parties[0], parties, order["threshold"]))
    parts.time("shares", lambda: open_shares(keys, ciphertexts))
    return parts.time("mask", lambda: mask(parties[0], parties, vector))


def coordinators_part(parts, parties, order, masked):
    threshold, dropped = order["threshold"], parties[len(parties) - order["dropped"] :]
    survivors = len(parties) - len(dropped)
    total = parts.time("add", lambda: add_up(masked, survivors))
    # The coordinator combines what everybody answered; it is given no more than it needs, which is faster.
    seeds = {party.number: create_shares(party.rd_seed, threshold, len(parties))[:threshold] for party in parties}
    secrets = {party.number: create_shares(party.sk1, threshold, len(parties))[:threshold] for party in dropped}
    # What one step frees is freed within its time.
    left = [total]
    del total
    for owner in parties:
        # By party: it takes seconds, and the machine is not as fast all the while.
        if owner in dropped:
            shares = secrets[owner.number]
            parts.time("unmask", lambda: left.append(take_off_pairwise_masks(left.pop(), owner, parties, shares)))  # noqa: B023
        else:
            shares = seeds[owner.number]
            parts.time("unmask", lambda: left.append(take_off_own_mask(left.pop(), shares)))  # noqa: B023
    parts.time("unmask", lambda: parameters_mod(left.pop(), MOD_RANGE))


def main():
    print(json.dumps({"flwr": version("flwr"), "numpy": version("numpy")}), flush=True)
    parties = []
    for line in sys.stdin:
        order = json.loads(line)
        if len(parties) != order["hospitals"]:
            parties = [Party(number) for number in range(1, order["hospitals"] + 1)]
        work = {"mask": time_mask, "hospital": time_hospital, "round": time_round}[order["work"]]
        began = time.process_time()
        print(json.dumps(work(parties, order)), flush=True)
        while time.process_time() - began < order.get("seconds", 0):
            print(json.dumps(work(parties, order)), flush=True)


if __name__ == "__main__":
    main()

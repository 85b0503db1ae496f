"""Times Flower SecAgg+'s own functions. Run by the Python of Flower's environment; imports nothing of secagg.

One JSON object a line on standard input, {"work": ..., "parameters": d, "hospitals": n, "threshold": t, "dropped": k};
one a line on standard output, seconds by part: wall time, or CPU time if the order has {"clock": "cpu"}, which is given
in yardsticks too; the best of {"times": k} for all parts but that of unmasking, which takes longest. The functions are
called in the order in which
`flwr.client.mod.secure_aggregation.secaggplus_mod` (hospital) and
`flwr.server.workflow.secure_aggregation.secaggplus_workflow` (coordinator) call them; all neighbours are each other's,
as in SecAgg. Quantising is a part of its own: what is masked is quantised already.
"""

import json
import os
import statistics
import sys
import time
from collections import Counter, defaultdict
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


def time_round(parties, order):
    """One hospital's part, and the coordinator's; and each part in yardsticks."""
    clock, times = CLOCKS[order.get("clock", "wall")], order.get("times", 1)
    pace, seconds, counted = Pace(Yardstick(clock)), Counter(), defaultdict(list)

    def part(name, work, times=1):
        """The best of so many times, in yardsticks the median."""
        spent, counts = [], []
        for _ in range(times):
            pace.refresh()
            taken, result = timed(work, clock)
            spent.append(taken)
            pace.note(taken, counts.append)
        seconds[name] += min(spent)
        counted[name].append(counts)
        return result

    threshold, dropped = order["threshold"], parties[len(parties) - order["dropped"] :]
    floats = np.random.default_rng(1).standard_normal(order["parameters"])
    part("encode", lambda: quantize([floats], CLIPPING_RANGE, QUANTISATION_RANGE), times)
    vector = quantised(order["parameters"])
    keys, ciphertexts, *_ = part("shares", lambda: share_keys(parties[0], parties, threshold), times)
    part("shares", lambda: open_shares(keys, ciphertexts), times)
    masked = part("mask", lambda: mask(parties[0], parties, vector), times)
    survivors = len(parties) - len(dropped)
    total = part("add", lambda: add_up(masked, survivors), times)
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
            part("unmask", lambda: left.append(take_off_pairwise_masks(left.pop(), owner, parties, shares)))  # noqa: B023
        else:
            shares = seeds[owner.number]
            part("unmask", lambda: left.append(take_off_own_mask(left.pop(), shares)))  # noqa: B023
    part("unmask", lambda: parameters_mod(left.pop(), MOD_RANGE))
    pace.settle()
    yardsticks = {name: sum(map(statistics.median, each)) for name, each in counted.items()}
    return {**seconds, "bytes": sum(len(data) for data in masked), "yardsticks": yardsticks}


def main():
    print(json.dumps({"flwr": version("flwr"), "numpy": version("numpy")}), flush=True)
    parties = []
    for line in sys.stdin:
        order = json.loads(line)
        if len(parties) != order["hospitals"]:
            parties = [Party(number) for number in range(1, order["hospitals"] + 1)]
        work = {"mask": time_mask, "round": time_round}[order["work"]]
        print(json.dumps(work(parties, order)), flush=True)


if __name__ == "__main__":
    main()

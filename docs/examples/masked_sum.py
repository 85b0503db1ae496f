"""A masked sum of vectors of one's own: the protocol alone, all parties in one process and only bytes between them.

One hospital drops out; the others' sum is exact all the same, and each of them checks it. Nothing here loads torch.
"""

import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from secagg.charter import Charter, Member, Model, TaskChoice, Training, VerifiedCharter, sign_charter, verify_charter
from secagg.encoding import Layout, Ring, Section
from secagg.identity import Identity, fingerprint
from secagg.latch import Latch
from secagg.masking import MaskingClient, MaskingServer, Purpose, Session
from secagg.policy import Policy

HOSPITALS, LENGTH, LARGEST, ROUNDS = 4, 1_000, 5.0, 10
SILENT = 4
# Hospitals that name different models are not summed together. Here all sum what belongs to none.
NO_MODEL = bytes(32)


def agree(identities: list[Identity]) -> VerifiedCharter:
    """What all have signed."""
    charter = Charter(
        name="our-sums",
        nonce=secrets.token_bytes(16),
        members=tuple(Member(name=f"h{number}", public_key=key.public_key) for number, key in enumerate(identities, 1)),
        threshold=3,
        max_colluding=1,
        model=Model(digest=NO_MODEL, parameters=LENGTH),
        task=TaskChoice(kind="our-sums", settings={}),
        training=Training(rounds=ROUNDS),
    )
    return verify_charter(charter, [sign_charter(charter, identity) for identity in identities])


def open_hospital(charter: VerifiedCharter, identity: Identity, latch: Latch) -> MaskingClient:
    """One hospital's side. What its policy does not allow, it does not take part in."""
    policy = Policy(
        known_members=frozenset(fingerprint(member.public_key) for member in charter.charter.members),
        allowed_privacy_modes=frozenset({"none"}),
        allowed_tasks=frozenset({"our-sums"}),
    )
    return MaskingClient(charter, identity, latch, policy)


def pass_on(server: MaskingServer, hospitals: dict[int, MaskingClient], outbox: list[tuple[int, bytes]]) -> None:
    """Carry messages to and fro until nobody has anything to say. Over a network, this is the part that you write."""
    while outbox:
        reached = [(number, message) for number, message in outbox if number in hospitals]
        replies = [(number, reply) for number, message in reached for reply in hospitals[number].receive(message)]
        outbox = [message for number, reply in replies for message in server.receive(number, reply)]


def main() -> None:
    """Sum one vector of each hospital but the silent one."""
    identities = [Identity.generate() for _ in range(HOSPITALS)]
    charter = agree(identities)
    # As the charter's encoding has it: 24 bits an element. The last element is the weight that every vector carries.
    layout = Layout(Ring(24), HOSPITALS, (Section("vector", LENGTH, LARGEST), Section("weight", 1, 1, "whole")))
    vectors = np.random.default_rng(1).uniform(-LARGEST, LARGEST, (HOSPITALS, LENGTH))
    with TemporaryDirectory() as folder:
        # What a hospital has answered must outlive its process: one latch a site, for good.
        latches = [Latch(Path(folder) / f"h{number}.sqlite") for number in range(1, HOSPITALS + 1)]
        hospitals = {
            number: open_hospital(charter, identity, latch)
            for number, (identity, latch) in enumerate(zip(identities, latches, strict=True), 1)
        }
        server = MaskingServer(Session(charter, epoch=1, purpose=Purpose.TRAINING, first_round=1, rounds=ROUNDS))
        pass_on(server, hospitals, server.open())

        pass_on(server, hospitals, server.begin(step=1))
        del hospitals[SILENT]
        for number, hospital in hospitals.items():
            encoded = layout.encode([vectors[number - 1], np.ones(1)])
            server.receive(number, hospital.mask(encoded, NO_MODEL))
        pass_on(server, hospitals, server.timeout())

        checked = hospitals[1].take_sum()
        for latch in latches:
            latch.close()
    if checked is None:
        raise SystemExit(f"There is no sum: {server.fault}")
    numbers = checked.total.survivors.numbers
    total, weight = layout.decode(checked.total.vector)
    error = np.abs(total - sum(vectors[number - 1] for number in numbers)).max()
    roundings = len(numbers) / 2 / layout.scale(layout.sections[0])
    print(f"{weight[0]:.0f} hospitals are in the sum: {', '.join(charter.charter.member(n).name for n in numbers)}.")
    print(f"No element is off by more than {error:.1e}; rounding to the grid allows {roundings:.1e}.")


if __name__ == "__main__":
    main()

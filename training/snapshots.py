"""What one hospital hands to another, sealed so that the coordinator carries it and cannot read it.

Knows keys and bytes. Knows nothing of what is sealed, nor of who may be given it.

The key is agreed between the recipient, which signs its part as it says where it is, and the donor, which makes its
part for this one message and signs the whole. It is bound to both, to both their parts, and to the charter.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from secagg.charter import Charter, VerifiedCharter
from secagg.charter.sections import ENCRYPTED_SCHEMES
from secagg.charter.state_size import LARGEST_SEALED
from secagg.errors import InputError, RemoteProtocolError
from secagg.labels import label
from secagg.masking import kdf
from secagg.masking.messages import KEY_SIZE
from secagg.masking.sealing import OneTimeKey
from secagg.masking.shamir import Randomness
from training.messages import Snapshot


def are_used(charter: Charter) -> bool:
    """Whether hospitals catch up by snapshots: where the coordinator never has a sum that it could send again."""
    return charter.scheme in ENCRYPTED_SCHEMES


@dataclass(frozen=True)
class Route:
    """From whom to whom a snapshot goes, by member number, and under which charter."""

    charter: VerifiedCharter
    donor: int
    recipient: int

    def name(self, number: int) -> str:
        """A member's name, for errors."""
        return self.charter.charter.member(number).name

    def key(self, shared_secret: bytes, donor_key: bytes, recipient_key: bytes) -> OneTimeKey:
        """The key of one snapshot on this route, from both public keys and what they agree on."""
        route = (self.charter.digest, self.donor, self.recipient)
        return OneTimeKey(kdf.expand(shared_secret, label("snapshot sealing", *route, donor_key, recipient_key)))


def seal_snapshot(route: Route, content: bytes, recipient_key: bytes, randomness: Randomness) -> Snapshot:
    """Seal ``content`` for the owner of ``recipient_key``, with a key that nobody has afterwards but that one.

    Raises:
        RemoteProtocolError: ``weak-key``, naming the recipient.
        InputError: ``snapshot-too-large``.
    """
    if len(content) > LARGEST_SEALED:
        raise InputError(
            "snapshot-too-large",
            f"What {route.name(route.recipient)} lacks has {len(content)} bytes; {LARGEST_SEALED} "
            "can be sealed at once.",
            remedy="Hospitals that miss a sum of such a large model cannot catch up: train a smaller one.",
        )
    private = randomness(KEY_SIZE)
    donor_key = kdf.public_key(private)
    shared = kdf.agree(private, recipient_key, route.name(route.recipient))
    sealed = route.key(shared, donor_key, recipient_key).seal(content)
    return Snapshot(donor_key, memoryview(sealed))


def open_snapshot(route: Route, snapshot: Snapshot, private_key: bytes) -> bytes:
    """What was sealed for the owner of ``private_key``.

    Raises:
        RemoteProtocolError: ``weak-key``, ``unreadable-snapshot``, naming the donor.
    """
    donor = route.name(route.donor)
    shared = kdf.agree(private_key, snapshot.donor_key, donor)
    key = route.key(shared, snapshot.donor_key, kdf.public_key(private_key))
    try:
        return key.open(snapshot.sealed)
    except InvalidTag as error:
        raise RemoteProtocolError(
            "unreadable-snapshot", f"The snapshot from {donor} cannot be unsealed.", culprit=donor
        ) from error

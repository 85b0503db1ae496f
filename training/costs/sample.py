"""A consortium of three that never trains: what single operations of the protocol are measured on.

Knows how to make a signed charter and a session. Keys are new each time, and forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from secagg.charter import Charter, Encoding, Member, Model, TaskChoice, Training, sign_charter, verify_charter
from secagg.charter.contradictions import FEWEST_MEMBERS
from secagg.identity import Identity
from secagg.labels import DIGEST_SIZE
from secagg.masking.session import Purpose, Session
from secagg.wire import COORDINATOR, Sealer


@dataclass(frozen=True)
class Sample:
    """One epoch among the three.

    Attributes:
        length: elements of a vector, with the one that stands for the weight.
        bits: of an element.
    """

    length: int = 2
    bits: int = 24
    rounds: int = 1

    @cached_property
    def identities(self) -> list[Identity]:
        """Of the three."""
        return [Identity.generate() for _ in range(FEWEST_MEMBERS)]

    @cached_property
    def session(self) -> Session:
        """Under a charter that all three have signed."""
        charter = Charter(
            name="sample",
            nonce=bytes(16),
            members=tuple(Member(name=f"h{i}", public_key=one.public_key) for i, one in enumerate(self.identities)),
            threshold=FEWEST_MEMBERS,
            max_colluding=1,
            model=Model(digest=bytes(DIGEST_SIZE), parameters=self.length - 1),
            task=TaskChoice(kind="sample", settings={}),
            training=Training(rounds=1),
            encoding=Encoding(field_bits=self.bits),
            epoch_rounds=self.rounds,
        )
        signed = verify_charter(charter, [sign_charter(charter, identity) for identity in self.identities])
        return Session(signed, 1, Purpose.TRAINING, 1, self.rounds)

    def hospital(self, number: int) -> Sealer:
        """What seals messages of the member numbered so."""
        return Sealer(self.session.charter, number, self.identities[number - 1], 1)

    @cached_property
    def coordinator(self) -> Sealer:
        """What makes messages of the coordinator."""
        return Sealer(self.session.charter, COORDINATOR, None, 1)

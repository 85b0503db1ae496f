"""Messages as bytes: signed envelopes, and the stages of the protocol that they belong to."""

from secagg.wire.envelope import COORDINATOR, Envelope, Header, Outbox, Sealer, open_envelope
from secagg.wire.stage import Stage

__all__ = ["COORDINATOR", "Envelope", "Header", "Outbox", "Sealer", "Stage", "open_envelope"]

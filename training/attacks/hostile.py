"""Values that no message may have, derived from the schemas, so that a new field has hostile values at once.

Knows types and bounds. Knows no protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec
from msgspec import inspect

from secagg.masking.messages import (
    Abort,
    Acknowledge,
    Advertise,
    Agree,
    Begin,
    Deal,
    Deals,
    EncryptedSum,
    Masked,
    Open,
    Propose,
    Refusal,
    Reveal,
    Roster,
    SealedReveal,
    Sum,
    Unmask,
)
from secagg.wire import COORDINATOR, Sealer, Stage
from training.messages import (
    AskSnapshot,
    Attest,
    Checkpoint,
    Conclude,
    Cosign,
    Cosigned,
    Endorsed,
    Query,
    Release,
    Snapshot,
    Status,
    Witness,
)

Payloads = Mapping[Stage, type[msgspec.Struct]]

PAYLOADS: Payloads = {
    Stage.OPEN: Open,
    Stage.ADVERTISE: Advertise,
    Stage.ROSTER: Roster,
    Stage.DEAL: Deal,
    Stage.DEALS: Deals,
    Stage.BEGIN: Begin,
    Stage.MASKED: Masked,
    Stage.PROPOSE: Propose,
    Stage.AGREE: Agree,
    Stage.UNMASK: Unmask,
    Stage.REVEAL: Reveal,
    Stage.SUM: Sum,
    Stage.ABORT: Abort,
    Stage.REFUSAL: Refusal,
    Stage.QUERY: Query,
    Stage.STATUS: Status,
    Stage.MISSED_SUM: Sum,
    Stage.CONCLUDE: Conclude,
    Stage.ATTEST: Attest,
    Stage.RELEASE: Release,
    Stage.ENDORSED: Endorsed,
    Stage.ACKNOWLEDGE: Acknowledge,
    Stage.ASK_SNAPSHOT: AskSnapshot,
    Stage.SNAPSHOT: Snapshot,
    Stage.CHECKPOINT: Checkpoint,
    Stage.WITNESS: Witness,
    Stage.COSIGN: Cosign,
    Stage.COSIGNED: Cosigned,
}

ENCRYPTED_PAYLOADS: Payloads = {**PAYLOADS, Stage.REVEAL: SealedReveal, Stage.SUM: EncryptedSum}
"""The same where sums are encrypted."""


def fields_of(stage: Stage, payloads: Payloads = PAYLOADS) -> tuple[str, ...]:
    """The names of a payload's fields, in their order."""
    return payloads[stage].__struct_fields__


def impossible(stage: Stage, field: str, payloads: Payloads = PAYLOADS) -> tuple[object, ...]:
    """Values that the schema of one field does not allow."""
    info = inspect.type_info(payloads[stage])
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{stage.name} has no payload")
    (kind,) = (candidate.type for candidate in info.fields if candidate.name == field)
    return (None, *_impossible(kind))


def _impossible(kind: inspect.Type) -> tuple[object, ...]:
    match kind:
        case inspect.BoolType():
            return (2, "yes")
        case inspect.IntType(ge=least, le=most):
            return (-1, "1", 1.5, (1 << 64) - 1, (least or 0) - 1, (most or (1 << 63) - 1) + 1)
        case inspect.BytesType(min_length=least, max_length=most):
            wrong = [b""] if least else []
            wrong += [bytes(least - 1)] if least else []
            wrong += [bytes(most + 1)] if most is not None else []
            return (7, "text", *wrong)
        case inspect.StrType(max_length=most):
            return (7, b"\xff", *(["x" * (most + 1)] if most is not None else []))
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return (7, b"", [None], *([value] for value in _impossible(item)))
        case _:
            return (7, [], "no such thing")


def altered(
    payload: bytes | memoryview, stage: Stage, field: str, value: object, payloads: Payloads = PAYLOADS
) -> bytes:
    """A payload with one field set to anything at all."""
    content = msgspec.msgpack.decode(payload)
    content[fields_of(stage, payloads).index(field)] = value
    return msgspec.msgpack.encode(content)


def seal(sealer: Sealer, stage: Stage, payload: bytes, *, recipient: int = COORDINATOR, round_number: int = 0) -> bytes:
    """An envelope in order, around any bytes at all."""
    # A sealer encodes what it is given, and this is encoded already.
    raw = cast(msgspec.Struct, msgspec.Raw(payload))
    return sealer.seal(stage, raw, recipient=recipient, round=round_number)

"""Attacks by bytes: too many, no message at all, altered, or code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from secagg.labels import label
from secagg.masking.messages import Begin
from secagg.wire import COORDINATOR, Header, Sealer, Stage
from training.attacks.coordinator import LyingCoordinator
from training.attacks.hostile import seal
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries
from training.testbed.build import Build
from training.testbed.consortium import Consortium

_LARGE: Final = 8 * 1024 * 1024


@dataclass(frozen=True)
class _Doors:
    """Where bytes come in, and a genuine message for each; none of them was delivered yet."""

    to_hospital: Callable[[bytes], object]
    to_coordinator: Callable[[bytes], object]
    begin: bytes
    masked: bytes


def _doors(stage: Consortium) -> _Doors:
    """The coordinator waits for h2's masked vector; h1 waits for the next round to begin."""
    stage.set_up()
    vectors = stage.random_vectors(np.random.default_rng(1))
    stage.deliver(stage.server.begin(1))
    masked = dict(stage.mask(vectors))
    begin = LyingCoordinator(stage.charter, stage.clients).forge(Stage.BEGIN, Begin(step=2), round_number=2)
    return _Doors(stage.clients[1].receive, lambda data: stage.server.receive(2, data), begin, masked[2])


def oversized(build: Build, folder: Path) -> Outcome:
    """Eight megabytes in a well-formed envelope: nothing is wrong with them but how many they are."""
    with Consortium.make(folder, 4, build) as stage:
        doors, tries = _doors(stage), Tries(Refuser.BOTH)
        payload = msgspec.msgpack.encode([bytes(_LARGE)])
        large = seal(Sealer(stage.charter, COORDINATOR, None, 1), Stage.BEGIN, payload, round_number=2)
        tries(doors.to_hospital, large)
        large = seal(Sealer(stage.charter, 2, stage.identities[1], 1), Stage.MASKED, payload, round_number=1)
        tries(doors.to_coordinator, large)
        read = tries.reasons - {"oversized"}
        return tries.outcome(f"{_LARGE >> 20} MiB were read and hashed before anybody said no" if read else None)


def malformed(build: Build, folder: Path) -> Outcome:
    """No message, pieces of messages, messages with more or less in them than there should be."""
    with Consortium.make(folder, 4, build) as stage:
        doors, tries, crashes = _doors(stage), Tries(Refuser.BOTH), 0
        for door, genuine in ((doors.to_hospital, doors.begin), (doors.to_coordinator, doors.masked)):
            for data in _no_messages(genuine):
                try:
                    tries(door, data)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    crashes += 1
        return tries.outcome(f"{crashes} messages that end a party's process" if crashes else None)


def _no_messages(genuine: bytes) -> Iterable[bytes]:
    header, signature, payload = msgspec.msgpack.decode(genuine)
    fields = msgspec.msgpack.decode(header)
    encode = msgspec.msgpack.encode
    yield from (b"", b"\xc1", b"\x93", b"secagg", bytes(100), b"\xff" * 300, "naïve".encode("latin-1"))
    yield from (genuine[:size] for size in range(1, len(genuine), 7))
    yield genuine + b"\x00"
    nothing: tuple[object, ...] = (None, 7, "text", [], {}, [header], [header, signature])
    yield from (encode(value) for value in nothing)
    yield from (encode([header, signature, payload, b""]), encode({"header": header}), encode([payload, header, 1]))
    yield encode([encode(fields[:-1]), signature, payload])
    yield encode([encode([*fields, 0]), signature, payload])
    yield encode([encode([2, *fields[1:]]), signature, payload])
    yield encode([encode([*fields[:6], 99, *fields[7:]]), signature, payload])
    yield encode([encode([*fields[:8], b"short"]), signature, payload])


def pickled(build: Build, folder: Path) -> Outcome:
    """A pickle that makes a file where it is loaded."""
    with Consortium.make(folder, 4, build) as stage:
        doors, tries = _doors(stage), Tries(Refuser.BOTH)
        for number, door in enumerate((doors.to_hospital, doors.to_coordinator)):
            trace = folder / f"ran{number}"
            # Protocol 0, written by hand: exec("open(...)").
            tries(door, f"cbuiltins\nexec\n(Vopen({str(trace)!r}, 'w').close()\ntR.".encode())
        ran = list(folder.glob("ran*"))
        return tries.outcome(f"code of the attacker's ran at {len(ran)} parties" if ran else None)


def altered(build: Build, folder: Path) -> Outcome:
    """Every byte of a signed message changed, one at a time."""
    with Consortium.make(folder, 4, build) as stage:
        doors, tries, taken = _doors(stage), Tries(Refuser.COORDINATOR), 0
        for place in range(len(doors.masked)):
            data = bytearray(doors.masked)
            data[place] ^= 1
            taken += tries(doors.to_coordinator, bytes(data)) is not None
        return tries.outcome(f"{taken} altered messages were taken" if taken else None)


def another_payload(build: Build, folder: Path) -> Outcome:
    """A signed header is kept, and another payload put behind it."""
    with Consortium.make(folder, 4, build) as stage:
        doors, tries = _doors(stage), Tries(Refuser.COORDINATOR)
        header, signature, payload = msgspec.msgpack.decode(doors.masked)
        other = bytearray(payload)
        other[-20] ^= 1
        taken = tries(doors.to_coordinator, msgspec.msgpack.encode([header, signature, bytes(other)])) is not None
        return tries.outcome("a payload that its sender did not sign was taken" if taken else None)


def coordinators_signature(build: Build, folder: Path) -> Outcome:
    """The coordinator's message carries a hospital's signature, as if that vouched for it."""
    with Consortium.make(folder, 4, build) as stage:
        doors, tries = _doors(stage), Tries(Refuser.HOSPITAL)
        header, _, payload = msgspec.msgpack.decode(doors.begin)
        # Over what h2 would sign of a message of its own.
        signature = stage.identities[1].sign(label("envelope", header))
        signed = msgspec.msgpack.encode([header, signature, payload])
        taken = tries(doors.to_hospital, signed) is not None
        return tries.outcome("a hospital took a coordinator's message with a signature" if taken else None)


def hostile_headers(build: Build, folder: Path) -> Outcome:
    """Every field of a coordinator's header set to what it must not be."""
    with Consortium.make(folder, 4, build) as stage:
        doors, tries, taken = _doors(stage), Tries(Refuser.HOSPITAL), []
        header, signature, payload = msgspec.msgpack.decode(doors.begin)
        fields = dict(zip(Header.__struct_fields__, msgspec.msgpack.decode(header), strict=True))
        for name, values in HOSTILE_HEADERS.items():
            for value in values:
                changed = msgspec.msgpack.encode(list((fields | {name: value}).values()))
                data = msgspec.msgpack.encode([changed, signature, payload])
                if tries(doors.to_hospital, data) is not None:
                    taken.append(name)
        return tries.outcome(f"{len(taken)} hostile headers were taken: {', '.join(taken)}" if taken else None)


_UINT32_END: Final = 1 << 32
# One entry for each field of a header; `tests/attacks` holds it to that.
HOSTILE_HEADERS: Final = {
    "version": (0, 2, -1, "1", None),
    "charter": (bytes(32), bytes(31), b"", None),
    "sender": (1, 5, 1001, -1, None),
    "recipient": (2, 5, 1001, -1, None),
    "epoch": (0, 2, _UINT32_END, -1, None),
    "round": (0, 4, _UINT32_END, -1, None),
    "stage": (Stage.OPEN, Stage.ROSTER, Stage.DEALS, Stage.PROPOSE, Stage.UNMASK, Stage.SUM, Stage.MASKED, 0, 99, None),
    "sequence": (_UINT32_END, -1, "0", None),
    "payload_digest": (hashlib.sha256(b"another").digest(), bytes(31), None),
}

_AROUND = "What holds around the rounds"

ATTACKS: Final = (
    Attack(
        "oversized-bytes",
        Liar.COORDINATOR,
        "Sends eight megabytes where a message has a hundred bytes; a hospital sends them to the coordinator.",
        _AROUND,
        Refused.with_reasons(Refuser.BOTH, "oversized"),
        oversized,
        quick=True,
    ),
    Attack(
        "malformed-bytes",
        Liar.COORDINATOR,
        "Sends no message, pieces of messages, or messages with more or less in them; a hospital likewise.",
        _AROUND,
        Refused.with_reasons(Refuser.BOTH, "malformed"),
        malformed,
        quick=True,
    ),
    Attack(
        "pickled-bytes",
        Liar.COORDINATOR,
        "Sends a pickle that runs code where it is loaded; a hospital likewise.",
        _AROUND,
        Refused.with_reasons(Refuser.BOTH, "malformed"),
        pickled,
    ),
    Attack(
        "altered-bytes",
        Liar.COORDINATOR,
        "Changes every byte of a hospital's signed message, one at a time.",
        _AROUND,
        Refused.with_reasons(
            Refuser.COORDINATOR,
            "malformed",
            "bad-signature",
            "payload-altered",
            "other-charter",
            "wrong-sender",
        ),
        altered,
    ),
    Attack(
        "another-payload",
        Liar.COORDINATOR,
        "Puts another payload behind a hospital's signed header.",
        _AROUND,
        Refused.with_reasons(Refuser.COORDINATOR, "payload-altered"),
        another_payload,
    ),
    Attack(
        "borrowed-signature",
        Liar.COORDINATOR,
        "Puts a hospital's signature on a message of its own.",
        _AROUND,
        Refused.with_reasons(Refuser.HOSPITAL, "malformed"),
        coordinators_signature,
    ),
    Attack(
        "hostile-headers",
        Liar.COORDINATOR,
        "Sets every field of a message's header to what it must not be.",
        _AROUND,
        Refused.with_reasons(
            Refuser.HOSPITAL,
            "malformed",
            "other-charter",
            "unknown-sender",
            "wrong-sender",
            "payload-altered",
            "other-recipient",
            "unexpected-message",
            "other-epoch",
            "round-outside-epoch",
        ),
        hostile_headers,
    ),
)

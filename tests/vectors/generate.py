"""Makes the test vectors beside this file: ``python -m tests.vectors.generate``.

Nothing in them is random: what a party draws comes from SHA-256 over its name and a counter, so that any
implementation can record the same run.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from secagg.charter import Charter as CharterModel
from secagg.charter import Encoding, Member, Model, TaskChoice, Training, VerifiedCharter
from secagg.charter.signing import sign_charter, verify_charter
from secagg.encoding import Layout, Ring, Section, pack
from secagg.identity import Identity, fingerprint
from secagg.labels import digest, label
from secagg.latch import Latch
from secagg.masking import MaskingClient, MaskingServer, Purpose, Session, Survivors, kdf, shamir
from secagg.masking.contributions import inputs_digest
from secagg.masking.kdf import Secret
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.messages import (
    Abort,
    Advertise,
    Agree,
    Begin,
    Contribution,
    Deals,
    Masked,
    Open,
    Propose,
    Reveal,
    Roster,
    Sum,
    Unmask,
)
from secagg.masking.neighbours import roster_digest
from secagg.masking.prg import CHUNK_BYTES
from secagg.masking.tags import tag, tag_size
from secagg.policy import Policy
from secagg.wire import COORDINATOR, Sealer, Stage
from secagg.wire.envelope import peek
from tests.support.misbehaving import detached
from tests.vectors.encrypted import encrypted
from tests.vectors.moments import moments
from tests.vectors.statements import statements
from training.testbed.toy_noise import ToyNoise, noisy

FOLDER = Path(__file__).parent
HOSPITALS = range(1, 5)
MODEL = hashlib.sha256(b"vector model").digest()
PARAMETERS = 9
ROUNDS = 2
Drops = Mapping[int, Collection[int]]
"""In which round which hospitals send no vector."""
DROPS: Drops = {2: [3]}
NOISE_HOSPITALS = range(1, 6)
NOISE_DROPS: Drops = {2: [3], 3: [1, 4]}


class Counted:
    """Randomness that can be recorded: SHA-256(name || counter as 8 bytes big-endian), block after block."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._counter = 0
        self._rest = b""

    def __call__(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._rest += hashlib.sha256(self._name + self._counter.to_bytes(8, "big")).digest()
            self._counter += 1
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def seed(number: int) -> bytes:
    return hashlib.sha256(f"identity {number}".encode()).digest()


def identities(hospitals: Iterable[int] = HOSPITALS) -> list[Identity]:
    return [Identity.from_seed(seed(number)) for number in hospitals]


def make_charter(scheme: str = "mask") -> VerifiedCharter:
    return signed_charter(identities(), max_colluding=1, training=Training(rounds=ROUNDS), scheme=scheme)


def make_noise_charter() -> VerifiedCharter:
    return signed_charter(identities(NOISE_HOSPITALS), max_colluding=0, epoch_rounds=3, **noisy(5, 4))


def signed_charter(keys: list[Identity], **changes: Any) -> VerifiedCharter:
    settings: dict[str, Any] = {
        "name": "vectors",
        "nonce": hashlib.sha256(b"nonce").digest()[:16],
        "members": tuple(Member(name=f"hospital-{n}", public_key=key.public_key) for n, key in enumerate(keys, 1)),
        "threshold": 3,
        "model": Model(digest=MODEL, parameters=PARAMETERS),
        "task": TaskChoice(kind="tabular-classification", settings={"label": "diagnosis"}),
        "encoding": Encoding(field_bits=20),
        "epoch_rounds": ROUNDS,
    }
    charter = CharterModel(**(settings | changes))
    return verify_charter(charter, [sign_charter(charter, key) for key in keys])


def make_session(charter: VerifiedCharter) -> Session:
    return Session(charter, 1, Purpose.TRAINING, 1, charter.charter.epoch_rounds)


def make_server(charter: VerifiedCharter) -> MaskingServer:
    return MaskingServer(make_session(charter), noise=ToyNoise.of(charter.charter))


def make_policy(charter: VerifiedCharter) -> Policy:
    known = frozenset(fingerprint(member.public_key) for member in charter.charter.members)
    return Policy(known_members=known, minimum_cohort=2, allowed_privacy_modes=frozenset({"none", "distributed"}))


def make_client(charter: VerifiedCharter, number: int, folder: Path) -> MaskingClient:
    latch = Latch(folder / f"{number}.sqlite")
    identity = Identity.from_seed(seed(number))
    return MaskingClient(charter, identity, latch, make_policy(charter), Counted(f"hospital {number}"))


def mask(client: MaskingClient) -> bytes:
    """What a hospital sends in the round that has begun: its recorded vector, and whatever noise the charter wants."""
    noise = ToyNoise.of(client.session.charter.charter)
    components = [noise(key, component) for component, key in enumerate(client.noise_keys(), 1)]
    return client.mask(sum(components, vector(client.session, client.number, client.round)), MODEL, components)


def vector(session: Session, number: int, round_number: int) -> np.ndarray:
    """Element i of a hospital's vector is a small signed number that says whose it is."""
    values = np.arange(session.length, dtype=np.int64) * (number if round_number == 1 else -number) - 10 * number
    return session.ring.from_signed(values)


@dataclass
class Recording:
    """A run: what each side did and every message, in order."""

    events: list[dict[str, Any]] = field(default_factory=list)

    def act(self, action: str, **details: int) -> None:
        self.events.append({"action": action, **details})

    def message(self, sender: int, recipient: int, data: bytes) -> None:
        self.events.append(
            {
                "action": "message",
                "from": sender,
                "to": recipient,
                "stage": peek(data).stage.name,
                "bytes": data.hex(),
            }
        )


def record(charter: VerifiedCharter, drops: Drops, folder: Path) -> tuple[Recording, list[dict[str, Any]]]:
    """One epoch; in some rounds hospitals drop out, and the survivors are proposed and agreed to."""
    session = make_session(charter)
    clients = {number: make_client(charter, number, folder) for number in session.members}
    server, log, sums = make_server(charter), Recording(), []

    def exchange(outbox: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        replies = []
        for number, message in outbox:
            log.message(COORDINATOR, number, message)
            replies += [(number, reply) for reply in clients[number].receive(message)]
        return take(replies)

    def take(replies: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        outbox = []
        for number, reply in replies:
            log.message(number, COORDINATOR, reply)
            outbox += server.receive(number, reply)
        return outbox

    log.act("open")
    outbox = server.open()
    while outbox:
        outbox = exchange(outbox)
    for round_number in range(1, session.rounds + 1):
        log.act("begin", step=round_number)
        exchange(server.begin(round_number))
        present = [number for number in session.members if number not in drops.get(round_number, [])]
        outbox = take([(n, mask(clients[n])) for n in present])
        if round_number in drops:
            log.act("timeout")
            outbox = server.timeout()
        while outbox:
            outbox = exchange(outbox)
        assert server.result is not None
        signed = session.ring.to_signed(server.result.vector)
        survivors = list(server.result.survivors.numbers)
        sums.append({"round": round_number, "survivors": survivors, "sum": signed.tolist()})
    for client in clients.values():
        client._latch.close()
    return log, sums


def transcript(charter: VerifiedCharter, drops: Drops, about: str) -> dict[str, Any]:
    session = make_session(charter)
    with tempfile.TemporaryDirectory() as folder:
        log, sums = record(charter, drops, Path(folder))
    return {
        "about": about,
        "identity_seeds": [seed(number).hex() for number in session.members],
        "randomness": [f"hospital {number}" for number in session.members],
        "charter": charter.charter.canonical_bytes().decode(),
        "charter_digest": charter.digest.hex(),
        "epoch": session.epoch,
        "first_round": session.first_round,
        "rounds": session.rounds,
        "model_digest": MODEL.hex(),
        "vectors": [
            {"round": r, "hospital": n, "values": session.ring.to_signed(vector(session, n, r)).tolist()}
            for r in range(1, session.rounds + 1)
            for n in session.members
        ],
        "events": log.events,
        "sums": sums,
    }


def primitives() -> dict[str, Any]:
    charter = make_charter()
    session = make_session(charter)
    randomness = Counted("primitives")
    secret = shamir.random_secret(randomness)
    points = [1, 2, 3, 4, 5]
    shares = shamir.share(secret, 3, points, randomness)
    first, second = randomness(32), randomness(32)
    shared = kdf.agree(first, kdf.public_key(second), "peer")
    sizes = (32, 64, 64, 32)
    roster = {number: Advertise(*(randomness(size) for size in sizes), holders=[]) for number in (1, 2)}
    sent = [bytes([number] * 32) for number in (1, 2, 4)]
    return {
        "labels": [
            {"purpose": purpose, "context": shown(context), "label": label(purpose, *context).hex()}
            for purpose, context in (("p", ()), ("p", (b"",)), ("p", (b"ab", 7, "text")), ("ü", (2**64 - 1,)))
        ],
        "digests": [{"purpose": "p", "data": "00ff", "digest": digest("p", b"\x00\xff").hex()}],
        "identities": [
            {"seed": seed(n).hex(), "public_key": key.public_key.hex(), "fingerprint": key.fingerprint}
            for n, key in enumerate(identities(), 1)
        ],
        "charter": {
            "canonical_bytes": charter.charter.canonical_bytes().hex(),
            "digest": charter.digest.hex(),
            "signed_bytes": label("charter signature", charter.digest).hex(),
            "signatures": [sign_charter(charter.charter, key).signature.hex() for key in identities()],
        },
        "floats": [
            {"value": repr(value), "json": msgspec.json.encode(value).decode()}
            for value in (0.0, 1.0, 10.0, 0.1, 1e-5, 1e-6, 1e-7, 1.5e-7, 1e15, 1e16, 1e17, 1.2345678901234568e17, 1e300)
        ],
        "sharing": {
            "randomness": "primitives",
            "secret": secret.hex(),
            "threshold": 3,
            "shares": {str(point): share.hex() for point, share in zip(points, shares, strict=True)},
        },
        "key_agreement": {
            "private_keys": [first.hex(), second.hex()],
            "public_keys": [kdf.public_key(first).hex(), kdf.public_key(second).hex()],
            "shared_secret": shared.hex(),
        },
        "keys": {
            "context": session.context("pairwise mask", 2, MODEL, 1, 3).hex(),
            "pairwise_mask_key": kdf.pairwise_mask_key(shared, session, 2, MODEL, (3, 1)).hex(),
            "self_mask_key": kdf.self_mask_key(secret, session, 2, MODEL, 3).hex(),
            "share_sealing_key": kdf.share_sealing_key(shared, session, bytes(32), 1, 3).hex(),
            "self_mask_commitment": kdf.self_mask_commitment(secret, session, 2, 3).hex(),
            "share_digests": [kdf.share_digest(shares[0], session, 2, kind, 3, 1).hex() for kind in list(Secret)[:2]],
        },
        "roster": {
            "opened_as": [session.purpose, session.first_round, session.rounds],
            "advertisements": [[part.hex() for part in msgspec.structs.astuple(roster[n])[:4]] for n in (1, 2)],
            "digest": roster_digest((1, 2), roster, session).hex(),
            "survivors_digest": Survivors((1, 2, 4)).digest().hex(),
        },
        "inputs": {
            "advertised": [digest.hex() for digest in sent],
            "masked": [digest.hex() for digest in sent[1:]],
            "digest": inputs_digest(sent, [Contribution(0, digest, bytes(64)) for digest in sent[1:]]).hex(),
        },
        "keystreams": [
            {"key": key.hex(), "bits": bits, "sign": sign, **keystream_parts(key, bits, sign)}
            for key in (bytes(32), bytes(range(32)))
            for bits, sign in ((32, 1), (64, 1), (32, -1))
        ],
        "tags": [tag_of(bits, length) for bits, length in ((20, 16_386), (64, 8_194))],
        "packing": [
            {"bits": bits, "elements": elements, "packed": packed(elements, bits)}
            for bits, elements in (
                (16, [1, 65535]),
                (20, [1, 0xFFFFF, 0x12345]),
                (24, [1, 0xABCDEF]),
                (31, [1, 0x7FFFFFFF, 5]),
                (33, [1, 0x1FFFFFFFF]),
                (64, [1, 2**64 - 1]),
            )
        ],
        "encoding": list(encodings()),
    }


def shown(context: tuple[bytes | int | str, ...]) -> list[Any]:
    return [{"bytes": item.hex()} if isinstance(item, bytes) else item for item in context]


def keystream_parts(key: bytes, bits: int, sign: int) -> dict[str, Any]:
    """The first elements of a mask, those where its second chunk begins, and the masks of two tags."""
    ring = Ring(bits)
    second = CHUNK_BYTES // ring.dtype.itemsize
    elements = ring.zeros(second + 3)
    tags = add_masks(elements, [SignedKey(key, sign)], [0, 0], tag_size(ring))  # type: ignore[arg-type]
    return {"elements": elements[:6].tolist(), "elements_from_chunk_1": elements[second:].tolist(), "tags": tags}


def tag_of(bits: int, length: int) -> dict[str, Any]:
    """Of more elements than one chunk has coefficients for: element i is i."""
    ring, key = Ring(bits), bytes(range(32))
    elements = np.arange(length).astype(ring.dtype)
    value = tag(elements, ring, key, [2, 3])
    hexadecimal = f"{value:0{2 * tag_size(ring)}x}"
    return {"key": key.hex(), "bits": bits, "length": length, "contributors": [2, 3], "tag": hexadecimal}


def packed(elements: list[int], bits: int) -> str:
    ring = Ring(bits)
    return pack(np.array(elements, np.uint64).astype(ring.dtype), ring).hex()


def encodings() -> Iterator[dict[str, Any]]:
    for bits, contributors, limit, grid, values in (
        (24, 5, 10.0, "fraction", [10.0, -10.0, 0.0, 1e-6, 3.14159]),
        (16, 40, 1.0, "fraction", [1.0, -0.5, 0.25]),
        (24, 4, 1000.0, "whole", [1000.0, 7.0, -3.0]),
        (64, 4, 3.0, "fraction", [3.0, -3.0, 0.1]),
    ):
        section = Section("s", len(values), limit, grid)  # type: ignore[arg-type]
        layout = Layout(Ring(bits), contributors, (section,))
        yield {
            "bits": bits,
            "contributors": contributors,
            "limit": limit,
            "grid": grid,
            "q_max": layout.q_max,
            "scale": repr(layout.scale(section)),
            "values": values,
            "elements": layout.encode([np.array(values)]).tolist(),
        }


@dataclass(frozen=True)
class Bad:
    """A message that must be refused when the events before index ``after`` have happened."""

    name: str
    receiver: int
    after: int
    message: bytes
    reason: str


def bad(good: dict[str, Any]) -> dict[str, Any]:
    charter = make_charter()
    events = good["events"]
    made = [
        *bad_frames(charter, events),
        *bad_for_hospital(charter, events),
        *bad_agreements(charter, events),
        *bad_for_coordinator(charter, events),
    ]
    return {
        "about": "To be refused with the reason, by hospital 1 or by the coordinator (receiver 0), after the first"
        " `after` events of transcript.json.",
        "vectors": [
            {
                "name": one.name,
                "receiver": one.receiver,
                "after": one.after,
                "bytes": one.message.hex(),
                "reason": one.reason,
            }
            for one in made
        ],
    }


def find(events: list[dict[str, Any]], stage: str, *, sender: int | None = None, to: int | None = None) -> int:
    """The index of the first message of ``stage`` from ``sender`` to ``to``."""
    return next(
        index
        for index, event in enumerate(events)
        if event.get("stage") == stage and sender in (None, event["from"]) and to in (None, event["to"])
    )


def bad_frames(charter: VerifiedCharter, events: list[dict[str, Any]]) -> Iterator[Bad]:
    at = find(events, "ADVERTISE", sender=1)
    good = bytes.fromhex(events[at]["bytes"])
    yield Bad("cut short", 0, at, good[:-1], "malformed")
    yield Bad("one byte too many", 0, at, good + b"\x00", "malformed")
    yield Bad("payload changed", 0, at, good[:-1] + bytes([good[-1] ^ 1]), "payload-altered")
    yield Bad("larger than any message now", 0, at, bytes(10_000), "oversized")
    yield Bad("empty", 0, at, b"", "malformed")
    payload = Advertise(bytes(32), bytes(64), bytes(64), bytes(32), [])
    unsigned = Sealer(charter, 1, None, 1).seal(Stage.ADVERTISE, payload)
    yield Bad("unsigned", 0, at, unsigned, "bad-signature")
    by_other = Sealer(charter, 1, identities()[1], 1).seal(Stage.ADVERTISE, payload)
    yield Bad("signed by another member", 0, at, by_other, "bad-signature")


def with_long_header(message: bytes) -> bytes:
    """The same message, but for its version: an integer of two bytes where one does."""
    header, signature, payload = msgspec.msgpack.decode(message)
    return msgspec.msgpack.encode([header[:1] + b"\xcc\x01" + header[2:], signature, payload])


def sum_of(step: int, survivors: list[int], size: int, tag_size: int = 8) -> Sum:
    """A sum that nobody's vectors add up to."""
    return Sum(step, survivors, MODEL, memoryview(bytes(size)), bytes(tag_size))


def bad_for_hospital(charter: VerifiedCharter, events: list[dict[str, Any]]) -> Iterator[Bad]:
    def forge(stage: Stage, payload: msgspec.Struct, **header: int) -> bytes:
        return Sealer(charter, COORDINATOR, None, header.pop("epoch", 1)).seal(stage, payload, **header)

    opened = find(events, "ROSTER", to=1)
    shown_roster = msgspec.msgpack.decode(bytes.fromhex(events[opened]["bytes"]))
    participants, advertisements = msgspec.msgpack.decode(shown_roster[2])
    roster = [memoryview(message) for message in advertisements]
    yield Bad("an epoch that is too long", 1, 1, forge(Stage.OPEN, Open(Purpose.TRAINING, 1, 3)), "epoch-too-long")
    for name, named, shown, reason in (
        ("a roster that is too short", [1, 2], roster[:2], "below-threshold"),
        ("a member twice", participants, [*roster, roster[0]], "unexpected-message"),
        ("itself missing", participants, roster[1:], "own-keys-altered"),
        ("keys missing", participants, roster[:-1], "keys-missing"),
        ("keys of one that takes no part", participants[:-1], roster, "unexpected-message"),
    ):
        yield Bad(name, 1, opened, forge(Stage.ROSTER, Roster(named, shown)), reason)
    yield Bad("another epoch", 1, opened, forge(Stage.ROSTER, Roster(participants, roster), epoch=2), "other-epoch")
    early = forge(Stage.UNMASK, Unmask([1, 2, 3, 4], bytes(32), []), round=1)
    yield Bad("out of turn", 1, opened, early, "unexpected-message")
    wrong = forge(Stage.ROSTER, Roster(participants, roster), recipient=2)
    yield Bad("for another member", 1, opened, wrong, "other-recipient")
    dealt = find(events, "DEALS", to=1)
    (deals,) = msgspec.msgpack.decode(msgspec.msgpack.decode(bytes.fromhex(events[dealt]["bytes"]))[2])
    few = Deals([memoryview(message) for message in deals[1:]])
    yield Bad("a deal withheld", 1, dealt, forge(Stage.DEALS, few, recipient=1), "deals-missing")
    begun = find(events, "BEGIN", to=1)
    signed = Sealer(charter, COORDINATOR, identities()[0], 1).seal(Stage.BEGIN, Begin(1), round=1)
    yield Bad("a coordinator that signs", 1, begun, signed, "malformed")
    yield Bad("a round outside the epoch", 1, begun, forge(Stage.BEGIN, Begin(1), round=3), "round-outside-epoch")
    yield Bad("the same round again", 1, begun + 1, forge(Stage.BEGIN, Begin(1), round=1), "stale-round")
    unasked = sum_of(1, [1, 2, 3, 4], make_session(charter).vector_bytes)
    yield Bad("a sum before it has masked", 1, begun + 1, forge(Stage.SUM, unasked, round=1), "never-masked")
    asked = find(events, "UNMASK", to=1)
    for survivors, reason in (
        ([1, 2], "below-threshold"),
        ([2, 3, 4], "not-a-survivor"),
        ([1, 3, 2], "malformed-survivors"),
        ([1, 2, 2], "malformed-survivors"),
        ([1, 2, 9], "unknown-survivor"),
        ([1, 2, 3], "no-agreement"),
    ):
        request = forge(Stage.UNMASK, Unmask(survivors, bytes(32), []), round=1)
        yield Bad(f"survivors {survivors}", 1, asked, request, reason)
    again = forge(Stage.UNMASK, Unmask([1, 2, 3], bytes(32), []), round=1)
    yield Bad("unmask twice", 1, asked + 1, again, "unexpected-message")
    total = find(events, "SUM", to=1)
    size = make_session(charter).vector_bytes
    for name, payload, reason in (
        ("another cohort", sum_of(1, [1, 2, 3], size), "survivors-changed"),
        ("another step", sum_of(2, [1, 2, 3, 4], size), "step-changed"),
        ("a sum too long", sum_of(1, [1, 2, 3, 4], size + 1), "wrong-length"),
        ("a tag too long", sum_of(1, [1, 2, 3, 4], size, 9), "wrong-length"),
        ("a forged sum", sum_of(1, [1, 2, 3, 4], size), "forged-sum"),
    ):
        yield Bad(name, 1, total, forge(Stage.SUM, payload, round=1), reason)
    yield Bad("the end of another round", 1, total, forge(Stage.ABORT, Abort("why"), round=2), "other-round")


def bad_agreements(charter: VerifiedCharter, events: list[dict[str, Any]]) -> Iterator[Bad]:
    """In round 2, where hospital 3 has dropped out."""

    def forge(stage: Stage, payload: msgspec.Struct) -> bytes:
        return Sealer(charter, COORDINATOR, None, 1).seal(stage, payload, round=2)

    proposed = find(events, "PROPOSE", to=1)
    for survivors, reason in (
        ([1, 2], "below-threshold"),
        ([2, 3, 4], "not-a-survivor"),
        ([1, 4, 2], "malformed-survivors"),
        ([1, 2, 9], "unknown-survivor"),
    ):
        yield Bad(f"propose {survivors}", 1, proposed, forge(Stage.PROPOSE, Propose(survivors)), reason)
    unagreed = forge(Stage.UNMASK, Unmask([1, 2, 4], bytes(32), []))
    yield Bad("unmask before anybody agreed", 1, proposed, unagreed, "no-agreement")
    yield Bad("propose twice", 1, proposed + 1, forge(Stage.PROPOSE, Propose([1, 2, 4])), "unexpected-message")
    asked = next(
        at for at in range(proposed, len(events)) if (events[at].get("stage"), events[at].get("to")) == ("UNMASK", 1)
    )
    agreements = [
        memoryview(bytes.fromhex(event["bytes"])) for event in events[:asked] if event.get("stage") == "AGREE"
    ]

    def unmask(survivors: list[int], shown: list[memoryview]) -> bytes:
        return forge(Stage.UNMASK, Unmask(survivors, bytes(32), [detached(bytes(message)) for message in shown]))

    def signed(number: int, payload: msgspec.Struct, **header: int) -> memoryview:
        sealer = Sealer(charter, number, identities()[number - 1], header.pop("epoch", 1))
        return memoryview(sealer.seal(Stage.AGREE, payload, **header))

    same = Agree(Survivors((1, 2, 4)).digest())
    two = agreements[:2]
    yield Bad("all of them after it agreed to some", 1, asked, unmask([1, 2, 3, 4], []), "survivors-changed")
    yield Bad("others than it agreed to", 1, asked, unmask([1, 2, 3], agreements), "survivors-changed")
    yield Bad("two agreements", 1, asked, unmask([1, 2, 4], two), "no-agreement")
    yield Bad("one agreement three times", 1, asked, unmask([1, 2, 4], [two[0]] * 3), "no-agreement")
    for name, extra, reason in (
        ("an agreement of another round", signed(4, same, round=1), "forged-agreement"),
        ("an agreement of another epoch", signed(4, same, round=2, epoch=2), "forged-agreement"),
        ("an agreement to others", signed(4, Agree(bytes(32)), round=2), "forged-agreement"),
        ("an agreement of one that dropped", signed(3, same, round=2), "no-agreement"),
    ):
        yield Bad(name, 1, asked, unmask([1, 2, 4], [*two, extra]), reason)
    short = unmask([1, 2, 4], agreements)
    yield Bad("agreements out of order", 1, asked, unmask([1, 2, 4], agreements[::-1]), "no-agreement")
    yield Bad("a header written in another way", 1, asked, with_long_header(short), "malformed")
    yield Bad("an envelope written in another way", 1, asked, b"\xdc\x00\x03" + short[1:], "malformed")
    agreed = find(events, "AGREE", sender=1)
    yield Bad("agreed to others", 0, agreed, bytes(signed(1, Agree(bytes(32)), round=2)), "survivors-changed")
    # Hospitals write header and payload of an agreement anew: in the one way that there is.
    yield Bad("agreed towards a member", 0, agreed, bytes(signed(1, same, round=2, recipient=2)), "other-recipient")
    at_length = msgspec.Raw(b"\xdc\x00\x01" + msgspec.msgpack.encode(same)[1:])
    yield Bad("agreed in another encoding", 0, agreed, bytes(signed(1, at_length, round=2)), "malformed")


def bad_for_coordinator(charter: VerifiedCharter, events: list[dict[str, Any]]) -> Iterator[Bad]:
    def sealed(stage: Stage, payload: msgspec.Struct, **header: int) -> bytes:
        return Sealer(charter, 1, identities()[0], header.pop("epoch", 1)).seal(stage, payload, **header)

    advertised = find(events, "ADVERTISE", sender=1)
    short = Advertise(bytes(32), bytes(32), bytes(64), bytes(32), [])
    yield Bad("a key too few", 0, advertised, sealed(Stage.ADVERTISE, short), "wrong-length")
    late = bytes.fromhex(events[advertised]["bytes"])
    public = kdf.public_key(bytes(range(32)))
    weak = Advertise(public, public + bytes(32), bytes(64), bytes(32), [])
    yield Bad("a key of low order", 0, advertised, sealed(Stage.ADVERTISE, weak), "weak-key")
    sound = Advertise(public, public * 2, bytes(64), bytes(32), [])
    yield Bad("advertised in a round", 0, advertised, sealed(Stage.ADVERTISE, sound, round=1), "other-round")
    yield Bad("advertised again", 0, find(events, "DEAL"), late, "unexpected-message")
    masked = find(events, "MASKED", sender=1)
    size = make_session(charter).vector_bytes
    vector_of = memoryview(bytes(size))
    yield Bad(
        "another round", 0, masked, sealed(Stage.MASKED, Masked(MODEL, vector_of, bytes(8)), round=2), "other-round"
    )
    short_vector = Masked(MODEL, memoryview(bytes(size - 1)), bytes(8))
    yield Bad("a vector too short", 0, masked, sealed(Stage.MASKED, short_vector, round=1), "wrong-length")
    sound_vector = Masked(MODEL, vector_of, bytes(8))
    yield Bad(
        "a vector for a member", 0, masked, sealed(Stage.MASKED, sound_vector, round=1, recipient=2), "other-recipient"
    )
    no_tag = Masked(MODEL, vector_of, b"")
    yield Bad("a tag too short", 0, masked, sealed(Stage.MASKED, no_tag, round=1), "wrong-length")
    yield Bad(
        "two vectors", 0, masked + 1, sealed(Stage.MASKED, Masked(MODEL, vector_of, bytes(8)), round=1), "equivocation"
    )
    revealed = find(events, "REVEAL", sender=1)
    honest = msgspec.msgpack.decode(msgspec.msgpack.decode(bytes.fromhex(events[revealed]["bytes"]))[2], type=Reveal)
    # The share of hospital 2: one's own is caught only when the secret is rebuilt.
    shares = bytearray(honest.seed_shares)
    shares[32] ^= 1
    wrong = msgspec.structs.replace(honest, seed_shares=bytes(shares))
    yield Bad("a wrong share", 0, revealed, sealed(Stage.REVEAL, wrong, round=1), "wrong-share")
    other = msgspec.structs.replace(honest, survivors_digest=bytes(32))
    yield Bad("another cohort", 0, revealed, sealed(Stage.REVEAL, other, round=1), "survivors-changed")
    unseen = msgspec.structs.replace(honest, inputs_digest=bytes(32))
    yield Bad("other messages", 0, revealed, sealed(Stage.REVEAL, unseen, round=1), "inputs-changed")


def files() -> dict[str, bytes]:
    """Every vector file, by name."""
    good = transcript(
        make_charter(),
        DROPS,
        "One epoch, 4 hospitals, 2 rounds; hospital 3 sends no vector in round 2: the others agree on it.",
    )
    with_noise = transcript(
        make_noise_charter(),
        NOISE_DROPS,
        "One epoch, 5 hospitals, 3 rounds; noise of 2 components, of which 2, 1 and 0 are removed. The vectors are"
        " without noise, the sums with what stays of it.",
    )
    made = {
        "primitives.json": primitives(),
        "encrypted.json": encrypted(make_session(make_charter("double-lock")), Counted("encrypted")),
        "transcript.json": good,
        "noise.json": with_noise,
        "bad.json": bad(good),
        "moments.json": moments(make_charter()),
        "statements.json": statements(make_charter(), identities()),
    }
    return {name: (json.dumps(content, indent=1, sort_keys=True) + "\n").encode() for name, content in made.items()}


if __name__ == "__main__":
    for name, content in files().items():
        (FOLDER / name).write_bytes(content)

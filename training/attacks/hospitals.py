"""Attacks on whole hospitals, with records and models: over several rounds, and by the messages around them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from secagg.encoding import pack
from secagg.masking import Purpose, Session
from secagg.masking.messages import Sum
from secagg.masking.sums import read_sum
from secagg.wire import COORDINATOR, Sealer, Stage, open_envelope
from training.attacks.coordinator import LyingCoordinator
from training.attacks.hostile import altered, fields_of, impossible, seal
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.messages import AskSnapshot, Conclude, Cosigned, Endorsed, Query, Release, Status, Witness
from training.testbed.build import Build

if TYPE_CHECKING:
    from training.attacks.ward import Ward

VICTIM: Final = 1
COLLUDER: Final = 5
_ANY_SIZE: Final = 1 << 24


def _open_ward(folder: Path, standardise: str = "secure-sum") -> Ward:
    # torch and opacus take seconds to import, and no other attack needs them.
    from training.attacks.ward import Ward

    return Ward.open(folder, standardise=standardise)


def intersection(_build: Build, folder: Path) -> Outcome:
    """Statistics are summed over all. The victim is left out of a second sum: of the same step, of a next one that
    hospitals were not given the first for, of another purpose, in a new epoch, and once the first was given to all."""
    with _open_ward(folder) as ward:
        tries = Tries(Refuser.HOSPITAL)
        coordinator = _coordinator(ward, purpose=Purpose.STATISTICS)
        nothing, others = ward.nothing_to_mask(), coordinator.all_but(VICTIM)
        coordinator.set_up()
        with_victim = coordinator.sum_over(nothing, coordinator.everybody)
        given = _as_missed(ward, coordinator)
        without = tries(coordinator.sum_over, nothing, others)
        if without is None:
            tries(coordinator.sum_over, nothing, others, 2)
            for epoch, purpose in ((2, Purpose.TRAINING), (3, Purpose.STATISTICS)):
                later = _coordinator(ward, purpose=purpose, epoch=epoch, first_round=10 * epoch, rounds=1)
                later.set_up()
                tries(later.sum_over, nothing, others)
            for number in others:
                ward.parties[number].receive(given)
            last = _coordinator(ward, purpose=Purpose.STATISTICS, epoch=4, first_round=40, rounds=2)
            last.set_up()
            for step in (1, 2):
                tries(last.sum_over, nothing, others, step)
        truth = coordinator.session.ring.to_signed(ward.moments[VICTIM])
        guess = None if without is None else with_victim - without
        return tries.outcome(recovered(guess, truth, "h1's patients, means and mean squares"))


def _as_missed(ward: Ward, coordinator: LyingCoordinator) -> bytes:
    """The true sum over all of the round that is open, for those who take it later."""
    message = coordinator.honest_sum(coordinator.everybody)
    payload = msgspec.msgpack.decode(open_envelope(message, ward.charter, _ANY_SIZE).payload, type=Sum)
    return ward.forge(Stage.MISSED_SUM, payload, epoch=coordinator.session.epoch, round_number=coordinator.round)


def _coordinator(ward: Ward, **epoch: Any) -> LyingCoordinator:
    # Hospitals mask when a round begins, and are otherwise met as clients are.
    clients: dict[int, Any] = dict(ward.parties)
    return LyingCoordinator(ward.charter, clients, **epoch)


def invented_sum(_build: Build, folder: Path) -> Outcome:
    """A hospital is given an invented sum as one that it missed, with the word of a hospital that colludes."""
    with _open_ward(folder, standardise="none") as ward:
        tries, victim = Tries(Refuser.HOSPITAL), ward.parties[VICTIM]
        message = _invented(ward)
        word = memoryview(_word_of_a_colluder(ward, message))
        (own,) = victim.receive(ward.forge(Stage.QUERY, Query()))
        for statuses in ([], [word], [word, word], [word, memoryview(own)]):
            tries(victim.receive, message)
            tries(victim.receive, ward.forge(Stage.ENDORSED, Endorsed(statuses=statuses)))
        sums = victim.hospital.state.sums
        return tries.outcome("a model of the coordinator's own making, at a hospital" if sums else None)


def _invented(ward: Ward) -> bytes:
    session = Session(ward.charter, 9, Purpose.TRAINING, 1, 1)
    elements = session.ring.zeros(session.length)
    elements[:] = 1000
    hospital = ward.parties[VICTIM].hospital
    packed = memoryview(pack(elements, session.ring))
    payload = Sum(
        step=1,
        survivors=list(session.members),
        model_digest=hospital.state.digest(hospital._layout),
        vector=packed,
        tag=bytes(session.tag_size),
    )
    return ward.forge(Stage.MISSED_SUM, payload, epoch=session.epoch, round_number=1)


def _word_of_a_colluder(ward: Ward, message: bytes) -> bytes:
    """Its signature that it is where the invented sum leads to."""
    session = Session(ward.charter, 9, Purpose.TRAINING, 1, 1)
    hospital = ward.parties[COLLUDER].hospital
    total = read_sum(open_envelope(message, ward.charter, _ANY_SIZE), session, frozenset(session.members))
    state = hospital._applier.after(hospital.state, total, Purpose.TRAINING)
    digest = state.digest(hospital._layout)
    status = Status(
        epoch=9,
        round=1,
        statistics=0,
        steps=1,
        finished=False,
        state_digest=digest,
        snapshot_key=b"",
        revealed_for=(),
    )
    return ward.signed(COLLUDER, session).seal(Stage.STATUS, status)


def hostile_fields(_build: Build, folder: Path) -> Outcome:
    """Every field of what a coordinator sends around the rounds, set to hostile values."""
    with _open_ward(folder, standardise="none") as ward:
        tries, victim = Tries(Refuser.HOSPITAL), ward.parties[VICTIM]
        before = victim.hospital.state
        sealer = Sealer(ward.charter, COORDINATOR, None, 9)
        for stage, payload in _around(ward).items():
            content = msgspec.msgpack.encode(payload)
            for field in fields_of(stage):
                for value in (*impossible(stage, field), *HOSTILE.get((stage, field), ())):
                    victim.receive(ward.forge(Stage.QUERY, Query()))
                    if stage is Stage.ENDORSED:
                        # Something that waits to be endorsed.
                        victim.receive(_invented(ward))
                    tries(victim.receive, seal(sealer, stage, altered(content, stage, field, value), round_number=1))
                    if victim.hospital.state is not before:
                        return tries.outcome(f"a hostile {stage.name}.{field} changed a hospital's state")
        return tries.outcome(None)


def _around(ward: Ward) -> dict[Stage, msgspec.Struct]:
    missed = msgspec.msgpack.decode(open_envelope(_invented(ward), ward.charter, _ANY_SIZE).payload, type=Sum)
    return {
        Stage.QUERY: Query(),
        Stage.MISSED_SUM: missed,
        Stage.ENDORSED: Endorsed(statuses=[]),
        Stage.ASK_SNAPSHOT: AskSnapshot(status=memoryview(b"")),
        Stage.CONCLUDE: Conclude(rounds=0),
        Stage.RELEASE: Release(signed=b""),
        Stage.WITNESS: Witness(statement=b""),
        Stage.COSIGNED: Cosigned(signed=b""),
    }


HOSTILE: Final = {
    (Stage.MISSED_SUM, "step"): (0, 2, (1 << 32) - 1),
    (Stage.MISSED_SUM, "survivors"): ([], [1], [1, 2], [2, 1, 3, 4], [1, 1, 1, 1], [1, 2, 3, 9]),
    (Stage.MISSED_SUM, "model_digest"): (bytes(32),),
    (Stage.MISSED_SUM, "vector"): (b"", bytes(1), bytes(1000)),
    (Stage.MISSED_SUM, "tag"): (b"", bytes(16)),
    (Stage.ENDORSED, "statuses"): ([], [b""], [b"garbage"] * 3),
    (Stage.ASK_SNAPSHOT, "status"): (b"", b"garbage"),
    (Stage.CONCLUDE, "rounds"): (0, 1, (1 << 32) - 1),
    (Stage.RELEASE, "signed"): (b"", b"{}", bytes(1000)),
    (Stage.WITNESS, "statement"): (b"", b"{}", bytes(1000)),
    (Stage.COSIGNED, "signed"): (b"", b"{}", bytes(1000)),
}

_OVER_ROUNDS = "What holds over several rounds"
_AROUND = "What holds around the rounds"

ATTACKS: Final = (
    Attack(
        "multi-round-intersection",
        Liar.COORDINATOR,
        "Leaves the victim out of further sums of the same: another step, purpose, epoch, and once all have the first.",
        _OVER_ROUNDS,
        Refused.with_reasons(Refuser.HOSPITAL, "differencing", "missed-sum", "no-statistics"),
        intersection,
    ),
    Attack(
        "invented-missed-sum",
        Liar.BOTH,
        "Gives a hospital an invented sum as one that it missed, with the word of a hospital that colludes.",
        "A forged sum",
        Refused.with_reasons(Refuser.HOSPITAL, "not-endorsed"),
        invented_sum,
    ),
    Attack(
        "hostile-fields-around-the-rounds",
        Liar.COORDINATOR,
        "Sets every field of the messages around the rounds to hostile values.",
        _AROUND,
        Refused.with_reasons(
            Refuser.HOSPITAL,
            "malformed",
            "unexpected-message",
            "missed-sum",
            "other-model",
            "wrong-length",
            "below-threshold",
            "malformed-survivors",
            "unknown-survivor",
            "not-endorsed",
            "not-finished",
            "not-concluded",
        ),
        hostile_fields,
    ),
)

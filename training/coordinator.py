"""The coordinator: opens epochs, begins rounds, passes messages on, writes down what happened.

Knows the charter and an engine. Holds no key, no model and no say over any parameter. It can stop, leave hospitals out
and begin rounds for nothing; what else it might try, hospitals refuse.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from secagg.charter import VerifiedCharter
from secagg.charter.model import STATISTICS_SUMS
from secagg.errors import ProtocolError, RemoteProtocolError
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.journal import Around
from secagg.masking.messages import Refusal, Sum
from secagg.masking.session import Settled
from secagg.masking.sizes import Shape
from secagg.masking.states import ServerState
from secagg.transcript import AROUND, TranscriptWriter, cut_to_whole_events
from secagg.transcript.used import last_round, newest_epoch
from secagg.wire import COORDINATOR, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode
from training import snapshots
from training.attestations import assemble_release, elsewhere, read_attestations
from training.coordinator_store import Asked, CoordinatorStore
from training.disk_room import require_room, round_bytes, set_up_bytes
from training.due_answers import DueAnswers
from training.engines.base import Engine, Exchange, Outbox, Phase
from training.messages import Conclude, Query, Status
from training.noise import noise_expansion
from training.position import Position, furthest
from training.pump import Pump
from training.reached import Reached
from training.release_relay import ReleaseRelay
from training.round_record import RefusalRecord, RoundRecord, differing, steps_summed
from training.snapshot_relay import SnapshotRelay
from training.statuses import Signed, cohort_told, furthest_told, outside_epochs, read_answers, read_statuses
from training.sum_relay import SumRelay
from training.wrong_dealers import REASON as WRONG_DEALING
from training.wrong_dealers import WrongDealers

TRANSCRIPT = "transcript"
_MOST_FAILURES = 3
_MOST_SET_UPS = 5
_TOO_FEW_MASKED = "too-few-masked"
# One more than there are sums: among neighbours a sum is repeated in its own epoch or not at all.
_STATISTICS_ROUNDS = STATISTICS_SUMS + 1
_LOST = "the coordinator's folder has lost those sums: put back what a newer copy of it has in sums/."
_NOT_TAKEN = "each hospital's own log says why it takes or gives nothing."
_MEND = "Waiting does not help: each hospital's own log says what is wrong there. Go on with the run once it is mended."


class Coordinator:
    """Runs one charter over an engine, to its release.

    Args:
        on_round: called after every round.
    """

    def __init__(
        self,
        charter: VerifiedCharter,
        engine: Engine,
        folder: Path,
        on_round: Callable[[RoundRecord], None] = lambda _record: None,
    ) -> None:
        self._charter = charter
        self._engine = DueAnswers(engine, charter)
        self._folder = folder
        cut_to_whole_events(folder / TRANSCRIPT)
        self._around = TranscriptWriter(folder / TRANSCRIPT, AROUND)
        self._store = CoordinatorStore(folder, charter.digest)
        self._store.remove_leftovers()
        self._on_round = on_round
        self._noise = noise_expansion(charter.charter)
        self._members = range(1, len(charter.charter.members) + 1)
        self._wrong_dealers = WrongDealers(folder, charter)
        self._failures = 0
        self._declined: dict[int, Refusal] = {}
        self._snapshot_relay = SnapshotRelay(charter, self._offer)
        self._sum_relay = SumRelay(charter, self._store, self._offer)
        self._release_relay = ReleaseRelay(charter, self._store, folder / TRANSCRIPT, self._exchange)
        # Damage is found before anything is begun.
        self._go_beyond_the_transcript()
        self._reached = self._store.reached

    @property
    def rounds(self) -> tuple[RoundRecord, ...]:
        """The record of every round so far."""
        return self._store.rounds

    @property
    def sums(self) -> int:
        """How many sums of training there are, so far as it knows, with one that no hospital has been sent yet."""
        return self._reached.sums

    @property
    def lacking(self) -> tuple[str, ...]:
        """The members who have not said that they have the release."""
        charter = self._charter.charter
        return tuple(charter.member(number).name for number in sorted(self._store.state.lacking(len(charter.members))))

    def run(self) -> bytes:
        """Take the hospitals from wherever they are to a release; the release's statement, signed, as a DSSE file.

        Raises:
            ProtocolError: why three rounds in a row came to nothing, or why no epoch could be opened; what was reached
                is kept, and `run` goes on from it.
            InputError: ``no-room``, before anybody begins what would not fit on the disk; ``unwritable``.
        """
        release = self.run_epoch()
        while release is None:
            release = self.run_epoch()
        return release

    def run_epoch(self) -> bytes | None:
        """Bring everybody up to date, then run one epoch; None if more of them are due.

        Who could not be reached when it was opened is asked again by the next one. After the last, the release.

        One that was made is given out again: this coordinator may have been stopped before all had it.

        Raises:
            ProtocolError: as `run`.
        """
        statuses = self._bring_up_to_date()
        if made := self._store.release:
            # Who was away has attested to nothing yet, and takes no release before.
            self._exchange(Phase.CONCLUDE, self._conclusion(self._with_the_others(statuses)))
            self._release_relay.hand_out(made, statuses)
            return made
        purpose = self._due(statuses)
        if purpose is None:
            return self._conclude(statuses)
        self._require_enough_up_to_date(statuses)
        self._learn_what_was_asked(purpose, statuses.values())
        self._go_beyond_the_furthest(statuses.values())
        done = self._sum(*self._open_epoch(purpose))
        if not done or purpose is not Purpose.TRAINING:
            return None
        statuses = self._bring_up_to_date()
        # A last sum that reached too few to be vouched for was given up, and is due again.
        return self._conclude(statuses) if self._due(statuses) is None else None

    def _due(self, statuses: dict[int, Status]) -> Purpose | None:
        liars, threshold = self._charter.charter.most_liars, self._charter.charter.threshold
        finished = sum(status.finished for status in statuses.values())
        if liars < finished < threshold:
            raise _too_few_finished(finished, threshold)
        # One that lies about having trained must not keep the others from what comes before.
        trained = sum(status.steps > 0 for status in statuses.values()) > liars
        statistics = self._charter.charter.statistics.features and not trained
        for purpose in (Purpose.STATISTICS, Purpose.TRAINING) if statistics else (Purpose.TRAINING,):
            if not _done(purpose, statuses, self._charter):
                return purpose
        return None

    def _require_enough_up_to_date(self, statuses: dict[int, Status]) -> None:
        """Begin nothing where so many lack a sum, and cannot be given it, that the next can be made by too few.

        Each says so of itself only. Who said nothing may be up to date: if it stays away, the set-up finds that.
        """
        behind = {member: status.reached for member, status in statuses.items() if status.reached < self._reached}
        if len(self._members) - len(behind) < self._charter.charter.threshold:
            raise self._too_few_up_to_date(behind)

    def _too_few_up_to_date(self, behind: Mapping[int, Reached]) -> ProtocolError:
        charter = self._charter.charter
        has = "; ".join(f"{charter.member(n).name} has {_told(behind[n], self._reached)}" for n in sorted(behind))
        kept = all(self._store.keeps_all(reached, self._reached) for reached in behind.values())
        return ProtocolError(
            "too-few-up-to-date",
            f"The next sum needs {charter.threshold} hospitals that have all sums before it. Too many lack some: {has}."
            # Those of donors too: where state is handed over, one may have none that it can give.
            f"{_told_of(RefusalRecord.of(self._charter, n, refusal) for n, refusal in sorted(self._declined.items()))}",
            remedy="Go on with the run: one may have been cut off while it was given what it lacks. If it stays so, "
            f"{_NOT_TAKEN if kept or snapshots.are_used(charter) else _LOST}",
        )

    def _sum(self, server: MaskingServer, ready: frozenset[int]) -> bool:
        """Run an epoch's rounds, in which the ``ready`` can mask; whether there is nothing more to sum."""
        purpose = server.session.purpose
        done = False
        while not done and not server.exhausted and server.state is ServerState.READY:
            pump = self._run_round(server)
            self._failures = 0 if self._has_come_further() else self._failures + 1
            if self._failures == _MOST_FAILURES:
                raise self._gave_up(server)
            finished = len(pump.finished) >= self._charter.charter.threshold
            done = finished or _is_last(server.result, purpose, self._charter)
            able = ready
            if self._lack_sums(server, ready, pump):
                able &= self._up_to_date(self._bring_up_to_date())
            if self._is_better_left(server, able):
                break
        return done

    def _lack_sums(self, server: MaskingServer, ready: frozenset[int], pump: Pump) -> bool:
        """Whether some have said that they lack a sum, or too few for another round have taken the last one."""
        said = any(refusal.reason == "missed-sum" for refusal in pump.refusals)
        took = ready - pump.unready
        return said or (server.result is not None and len(took) < self._charter.charter.threshold)

    def _up_to_date(self, statuses: dict[int, Status]) -> frozenset[int]:
        return frozenset(member for member, status in statuses.items() if status.reached == self._reached)

    def _is_better_left(self, server: MaskingServer, able: frozenset[int]) -> bool:
        """Whether another epoch is opened though this one has rounds left: each is paid for, and a set-up is not.

        Who did not mask a round may have lost the epoch's keys. In the field the next epoch waits for enough hospitals.

        Args:
            able: those who can mask another round, so far as is known.
        """
        # Among neighbours a step is repeated in its own epoch or not at all.
        complete, purpose = server.session.complete, server.session.purpose
        too_few_masked = server.fault is not None and server.fault.reason == _TOO_FEW_MASKED
        if too_few_masked or len(able) < self._charter.charter.threshold:
            return complete or not self._needed(purpose)
        return complete and bool(self._wrong_dealers.numbers & server.participants)

    def _has_come_further(self) -> bool:
        """Whether the last round gave a sum, of a step that had none."""
        *earlier, last = self.rounds
        return not steps_summed([last]) <= steps_summed(earlier)

    def _open_epoch(self, purpose: Purpose) -> tuple[MaskingServer, frozenset[int]]:
        """An epoch, and those who can mask in its rounds."""
        # Who gave a vector for the sum that is due is not left out: it can be made over no others.
        invited = frozenset(self._members) - (self._wrong_dealers.numbers - self._needed(purpose))
        server, pump = self._set_up(purpose, invited)
        for _ in range(_MOST_SET_UPS - 1):
            # Whoever drops out while dealing costs a set-up: in a large consortium there may be some each time.
            if not server.answering:
                break
            server, pump = self._set_up(purpose, server.answering)
        # Set-ups are free. A round is not, and with fewer than t who could mask in it, it would come to nothing.
        ready = server.participants - pump.unready
        if server.state is not ServerState.READY or len(ready) < self._charter.charter.threshold:
            raise self._gave_up(server, pump.refusals)
        return server, ready

    def _needed(self, purpose: Purpose) -> frozenset[int]:
        """Those without whom the sum that is due cannot be made, because shares were asked for it."""
        return frozenset(self._store.state.cohort_asked(purpose, self._reached.of(purpose) + 1))

    def _set_up(self, purpose: Purpose, invited: frozenset[int]) -> tuple[MaskingServer, Pump]:
        state = self._store.state
        rounds = _STATISTICS_ROUNDS if purpose is Purpose.STATISTICS else self._charter.charter.epoch_rounds
        rounds = min(rounds, self._charter.charter.epoch_rounds)
        session = Session(self._charter, state.epoch + 1, purpose, state.round + 1, rounds)
        shape = Shape.of(session)
        require_room(self._folder, set_up_bytes(shape) + round_bytes(shape))
        self._store.update(epoch=session.epoch)
        self._journal = TranscriptWriter(self._folder / TRANSCRIPT, session.epoch)
        server = MaskingServer(session, invited, self._journal, self._noise)
        pump = Pump(self._engine, server, 0, self._journal)
        pump.run(server.open())
        return server, pump

    def _run_round(self, server: MaskingServer) -> Pump:
        started = time.monotonic()
        purpose = server.session.purpose
        step = self._reached.of(purpose) + 1
        require_room(self._folder, round_bytes(Shape.of(server.session)))
        self._store.update(round=server.round + 1)
        pump = Pump(self._engine, server, server.round + 1, self._journal)
        asked = self._asked_before(server, step)
        pump.run(
            server.begin(step, asked),
            before_apply=partial(self._keep_sum, server.session),
            before_reveal=lambda cohort: self._store.update(asked=Asked(purpose, step, cohort)),
        )
        in_vain = () if server.result else asked
        if in_vain != self._store.state.in_vain:
            # On disk: in the field each epoch has a coordinator of its own.
            self._store.update(in_vain=in_vain)
        record = _record(server, pump, time.monotonic() - started)
        if server.fault and server.fault.reason == WRONG_DEALING and server.fault.culprit:
            self._wrong_dealers.add(server.fault.culprit, record.round)
        self._store.add_round(record)
        self._on_round(record)
        return pump

    def _asked_before(self, server: MaskingServer, step: int) -> tuple[int, ...]:
        """The survivors whose shares of this step were asked for before, or over whom a sum of it was given out.

        All who take part, where that may have been forgotten: then nobody reveals for them before enough have agreed.
        """
        state, participants = self._store.state, server.participants
        asked = state.cohort_asked(server.session.purpose, step)
        if not server.session.masked:
            # It can be made over others too, and is where one of them is away: who has opened it is handed that one.
            return asked if participants.issuperset(asked) and asked != state.in_vain else ()
        return tuple(sorted(participants)) if state.forgotten and not asked else asked

    def _keep_sum(self, session: Session, result: Settled, message: bytes) -> None:
        """Before anyone may apply a sum: keep it for those who will have missed it."""
        purpose = session.purpose
        self._reached = self._reached.after(purpose)
        if self._store.state.stated is not None:
            # It was concluded before the last sum, on the word of some that lied.
            self._store.update(stated=None)
        if not session.masked and not self._store.state.cohort_asked(purpose, result.step):
            # Who opens it opens no other: should it reach too few, the step is to be summed over the same once more.
            # Of several the first: they come back, and whoever opened a later one is handed it.
            self._store.update(asked=Asked(purpose, result.step, result.survivors.numbers))
        if snapshots.are_used(self._charter.charter):
            # What all are sent is of no use to who missed it: its key is gone with the epoch. Hospitals hand it on.
            return
        payload = open_envelope(message, self._charter, len(message)).payload
        vector = decode(payload, Sum)
        sealer = Sealer(self._charter, COORDINATOR, None, session.epoch)
        self._store.keep_sum(purpose, result.step, sealer.seal(Stage.MISSED_SUM, vector, round=result.round))

    def _bring_up_to_date(self) -> dict[int, Status]:
        """Ask everybody where they are, and let those who are behind have what they missed."""
        query = outside_epochs(self._charter).seal(Stage.QUERY, Query())
        self._declined = {}
        signed = self._statuses(self._exchange(Phase.QUERY, [(n, query) for n in self._members]))
        self._go_beyond([status for status, _ in signed.values()])
        if snapshots.are_used(self._charter.charter):
            signed = self._let_them_hand_over(signed)
        else:
            signed = self._send_what_was_missed(signed)
        return {member: status for member, (status, _) in signed.items()}

    def _go_beyond(self, statuses: Sequence[Status]) -> None:
        """Go on from the newest epoch and round that hospitals claim: a folder that was lost or put back knows less."""
        state = self._store.state
        epoch = max(state.epoch, self._claimed([status.epoch for status in statuses]))
        newest_round = max(state.round, self._claimed([status.round for status in statuses]))
        knew_less = (epoch, newest_round) != (state.epoch, state.round)
        # Of a copy that lacks only what a single hospital has masked, no other can tell. Once in a run: it may lie.
        told_by_one = not state.forgotten and _furthest_round(statuses) > newest_round
        forgotten = self._forgotten(epoch, newest_round) if knew_less or told_by_one else state.forgotten
        self._store.update(epoch=epoch, round=newest_round, forgotten=forgotten)

    def _go_beyond_the_transcript(self) -> None:
        """Use no number again that this folder shows to be used, though its state was lost or an older one put back."""
        state, transcript = self._store.state, self._folder / TRANSCRIPT
        epoch = max(state.epoch, newest_epoch(transcript))
        recorded = max((record.round for record in self.rounds), default=0)
        # The transcript too, whatever the epoch: a round in which a coordinator was stopped is on no record.
        newest_round = max(state.round, recorded, last_round(transcript))
        if (epoch, newest_round) != (state.epoch, state.round):
            self._store.update(epoch=epoch, round=newest_round, forgotten=self._forgotten(epoch, newest_round))

    def _forgotten(self, epoch: int, newest_round: int) -> int:
        """Up to which round hospitals may have masked some, unknown to a folder that lacked these numbers."""
        state = self._store.state
        # In each epoch a run stops after so many rounds in a row that too few have masked.
        epochs = epoch + 1 - max(1, state.epoch)
        return max(state.forgotten, newest_round + _MOST_FAILURES * epochs)

    def _learn_what_was_asked(self, purpose: Purpose, statuses: Iterable[Status]) -> None:
        """Take hospitals' word for over whom they gave shares of the sum that is due, or opened it.

        Whatever this folder knows of it: it may have been lost or rolled back, and who has revealed for some hospitals
        reveals for no others, so that over others the sum could not be made. Among so many who say it one is honest.
        """
        step = self._reached.of(purpose) + 1
        told = cohort_told(statuses, self._reached, self._charter.charter.most_liars)
        if told and told != self._store.state.cohort_asked(purpose, step):
            self._store.update(asked=Asked(purpose, step, told))

    def _go_beyond_the_furthest(self, statuses: Iterable[Status]) -> None:
        """Leave out the rounds that one hospital says it alone has masked, as far as they may have been forgotten.

        It takes part in no round before, and signs no release that states fewer. Not where only the release is due: who
        has attested to it attests to no other number.
        """
        state = self._store.state
        self._store.update(round=max(state.round, min(_furthest_round(statuses), state.forgotten)))

    def _send_what_was_missed(self, signed: Signed) -> Signed:
        if reached := furthest_told(signed, self._charter.charter.most_liars):
            # A folder that was lost or put back knows of fewer.
            self._reached = reached.reached.at_least(self._reached)
        return self._sum_relay.bring_up(signed, self._reached)

    def _let_them_hand_over(self, signed: Signed) -> Signed:
        """Have the others hand each what it missed. What counts as made is what they say has reached them."""
        signed = self._snapshot_relay.bring_up(signed)
        reached = self._snapshot_relay.furthest(signed)
        if reached:
            self._reached = reached.reached
        return signed

    def _exchange(self, phase: Phase, outbox: Outbox) -> Exchange:
        """An exchange outside every epoch; what comes back is kept too."""
        exchange = self._engine.exchange(phase, outbox, 0)
        for sender, message in exchange.inbox:
            self._around(Around(sender, message))
        return exchange

    def _offer(self, phase: Phase, outbox: Outbox) -> Exchange:
        """An exchange with those who are behind; who takes none of it may say why."""
        exchange = self._exchange(phase, outbox)
        # Of each the first: the others follow from it.
        refusals = read_answers(self._charter, reversed(exchange.inbox), Stage.REFUSAL, Refusal)
        self._declined = refusals | self._declined
        return exchange

    def _claimed(self, claims: list[int]) -> int:
        """The largest number that more members claim to have reached than may lie.

        One that lies could otherwise use up all numbers. Who really is further on is left out of an epoch.
        """
        ordered, liars = sorted(claims, reverse=True), self._charter.charter.most_liars
        return ordered[liars] if len(ordered) > liars else 0

    def _statuses(self, exchange: Exchange) -> Signed:
        return read_statuses(self._charter, exchange.inbox)

    def _conclusion(self, members: Iterable[int]) -> Outbox:
        stated = self._store.state.stated
        if stated is None:
            # Rounds that were begun, not rounds on record: one that was cut off has been paid for.
            stated = self._store.state.round - _rounds_of_statistics(self._charter)
            # Before anybody attests to it: who has once attests to no other number.
            self._store.update(stated=stated)
        message = outside_epochs(self._charter).seal(Stage.CONCLUDE, Conclude(stated))
        return [(number, message) for number in members]

    def _with_the_others(self, statuses: dict[int, Status]) -> frozenset[int]:
        """All but those who are as far as more than may lie, by other sums: they would attest to another model."""
        told = {member: Position.told(status) for member, status in statuses.items()}
        agreed = furthest(told.values(), self._charter.charter.most_liars)
        return frozenset(
            member
            for member, position in told.items()
            if agreed is None or position == agreed or position.reached != agreed.reached
        )

    def _conclude(self, statuses: dict[int, Status]) -> bytes:
        asked = self._with_the_others(statuses)
        exchange = self._exchange(Phase.CONCLUDE, self._conclusion(asked))
        attestations, refusals = read_attestations(self._charter, exchange.inbox)
        refusals = [*elsewhere(self._charter, sorted(statuses.keys() - asked)), *refusals]
        signed = assemble_release(self._charter, attestations, refusals)
        self._store.keep_release(signed)
        self._release_relay.hand_out(signed, attestations)
        return signed

    def _gave_up(self, server: MaskingServer, refusals: Sequence[RefusalRecord] | None = None) -> ProtocolError:
        fault = server.fault or _without_fault(server)
        if refusals is None:
            # All that failed in a row: the last refusal may only follow from the first.
            refusals = [refusal for record in self.rounds[-_MOST_FAILURES:] for refusal in record.refusals]
        refusals = [refusal for refusal in refusals if not self._was_found_dealing_wrongly(refusal)]
        willing = len(self._members) - len({refusal.member for refusal in refusals})
        remedy = _MEND if willing < self._charter.charter.threshold else fault.remedy
        dealers = self._wrong_dealers
        return ProtocolError(
            fault.reason,
            f"{fault.message}{_told_of(refusals)}{dealers.told(self._needed(server.session.purpose))}",
            remedy=dealers.remedy if fault.reason == WRONG_DEALING else f"{remedy} {dealers.remedy}".strip(),
        )

    def _was_found_dealing_wrongly(self, refusal: RefusalRecord) -> bool:
        """Then it is told apart from what hospitals refused."""
        return refusal.reason == WRONG_DEALING and refusal.member in self._wrong_dealers.rounds


def _rounds_of_statistics(charter: VerifiedCharter) -> int:
    """How many rounds gave statistics, for which nobody pays.

    One that gave none counts as one of training: a folder that was lost or put back has no record of it, and who has
    attested to a number of rounds is to be asked for the same.
    """
    return STATISTICS_SUMS if charter.charter.statistics.features else 0


def _without_fault(server: MaskingServer) -> RemoteProtocolError:
    if server.result is None:
        return RemoteProtocolError(
            "too-few-ready",
            f"Fewer than {server.session.threshold} hospitals have finished the key set-up.",
            remedy="Go on with the run once enough hospitals can be reached.",
        )
    return RemoteProtocolError(
        "sum-not-taken",
        f"Sum {server.result.step} was made several times, and no hospital took it.",
        remedy=_MEND,
    )


def _too_few_finished(finished: int, threshold: int) -> ProtocolError:
    return ProtocolError(
        "too-few-finished",
        f"Training is over, but only {finished} hospitals that have finished it could be reached; a release needs "
        f"{threshold}.",
        remedy="Go on with the run once more of them can be reached.",
    )


def _told_of(refusals: Iterable[RefusalRecord]) -> str:
    told = [f" {', '.join(names)} refused ({reason}): {message}" for (reason, message), names in differing(refusals)]
    return "".join(told)


def _told(has: Reached, reached: Reached) -> str:
    if has.statistics < reached.statistics:
        return "no feature statistics"
    return f"{has.sums} of {reached.sums} sums"


def _record(server: MaskingServer, pump: Pump, seconds: float) -> RoundRecord:
    names = server.session.name
    survivors = server.result.survivors.numbers if server.result else ()
    present = survivors or server.senders
    return RoundRecord(
        round=server.round,
        purpose=server.session.purpose,
        step=server.step if server.result else 0,
        survivors=tuple(names(number) for number in survivors),
        dropped=tuple(names(number) for number in server.session.members if number not in present),
        silent=tuple(names(number) for number in sorted(pump.silent)),
        refusals=(*_found(server.fault), *pump.refusals),
        reason=None if server.result else (server.fault.reason if server.fault else None),
        bytes_up=pump.bytes_up,
        bytes_down=pump.bytes_down,
        seconds=seconds,
    )


def _found(fault: ProtocolError | None) -> list[RefusalRecord]:
    """Whom a round failed for, if that is known: it refused nothing itself."""
    return [RefusalRecord(fault.culprit, fault.reason, fault.message)] if fault and fault.culprit else []


def _furthest_round(statuses: Iterable[Status]) -> int:
    return max((status.round for status in statuses), default=0)


def _done(purpose: Purpose, statuses: dict[int, Status], charter: VerifiedCharter) -> bool:
    match purpose:
        case Purpose.STATISTICS:
            reached = [status.statistics >= STATISTICS_SUMS for status in statuses.values()]
        case Purpose.TRAINING:
            reached = [status.finished for status in statuses.values()]
    return sum(reached) >= charter.charter.threshold


def _is_last(result: Settled | None, purpose: Purpose, charter: VerifiedCharter) -> bool:
    last = STATISTICS_SUMS if purpose is Purpose.STATISTICS else charter.charter.training.rounds
    return result is not None and result.step >= last

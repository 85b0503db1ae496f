"""A hospital at work: takes messages, trains when a round begins, applies the sum, leaves a release.

Knows the charter, this site's policy, latch, ledger, egress log and records, and composes `secagg` and `dp`. Knows no
network: an engine hands it bytes and takes bytes. Nothing the coordinator sends decides anything that the charter or
this site's policy does not already say.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from dp.ledger import BudgetUse, Ledger
from secagg.charter.state_size import largest_snapshot
from secagg.egress import EgressLog, sending, taking
from secagg.errors import RemoteProtocolError, SecaggError
from secagg.files import PRIVATE, remove_leftovers, write_atomically
from secagg.identity import Identity
from secagg.latch import Latch
from secagg.masking import MaskingClient, Purpose, Session
from secagg.masking.limits import payload_limit
from secagg.masking.messages import Refusal
from secagg.masking.states import ClientState
from secagg.masking.verification import ForgedSumError, VerifiedSum
from secagg.policy import accept_policy, check_charter, load_policy
from secagg.release.checkpoints import holds_checkpoints
from secagg.release.dsse import attest
from secagg.release.folder import holds_release
from secagg.wire import COORDINATOR, Envelope, Sealer, Stage, open_envelope
from secagg.wire.envelope import decode, peek
from training.applying import SumApplier, missed_sum
from training.catching_up import CatchingUp, PendingState
from training.charter_check import require_room
from training.checkpointing import Checkpointing
from training.clock import write_time
from training.concluding import Concluding
from training.contributing import Contributor, Vector
from training.endorsement import endorsed_limit
from training.hospital_budget import HospitalBudget
from training.hospital_logs import HospitalLogs
from training.hospital_setup import HospitalSetup, initial_state, require_fitting, require_trainable, split_patients
from training.hospital_state import HospitalState
from training.lost_ledger import require_ledger_kept
from training.messages import (
    LARGEST_ANSWER,
    AskSnapshot,
    Attest,
    Conclude,
    Cosigned,
    Endorsed,
    Query,
    Release,
    Status,
    Witness,
)
from training.model_state import ModelLayout, flatten
from training.noise import require_same_noise
from training.privacy_plan import require_budget
from training.scaling import Scaling
from training.staying import everybody, who_stay
from training.stops import stopped_before

_ROLLED_BACK = "state-restored"


class Hospital:
    """One member of the consortium.

    Attributes:
        stopped: why it answers nothing any more, if it does not.
        rolled_back: what others say who have seen this one further than its latch is, if the last set-up was refused
            for that. It goes on all the same: they could lie.

    Raises:
        InputError: if its files, records or identity cannot be used.
        RefusedError: if its policy does not allow the charter, or its budget the run.
        TamperingError: if its latch, ledger, egress log or state file were damaged, or one of the logs rolled back.
    """

    def __init__(self, setup: HospitalSetup) -> None:
        charter, task = setup.charter, setup.task
        self._setup = setup
        self._charter = charter
        identity = Identity.load(setup.folder.identity, setup.passphrase)
        policy = load_policy(setup.folder.policy)
        check_charter(charter.charter, policy)
        module = task.build_model()
        self._layout = ModelLayout.of(module)
        self._state = initial_state(setup, self._layout, flatten(module))
        require_fitting(charter.charter, task, self._layout)
        require_room(charter.charter)
        require_budget(charter.charter)
        require_same_noise(charter.charter)
        train, validation = split_patients(setup.records, task)
        require_trainable(charter.charter, task, train, validation, setup.device)
        self._scaling = Scaling(task.spec)
        self._applier = SumApplier(charter.charter, self._layout, self._scaling, train.feature_names, setup.on_caution)
        self._identity = identity
        self.stopped: ForgedSumError | None = None
        self.rolled_back: SecaggError | None = None
        with ExitStack() as opened:
            self._latch = opened.enter_context(Latch(setup.folder.latch))
            # Not before: as long as another process has the latch, it may be writing them.
            for path in setup.folder.rewritten(charter.digest):
                remove_leftovers(path)
            accept_policy(self._latch, policy, setup.folder.policy)
            self._require_going_on()
            self._egress = opened.enter_context(EgressLog(setup.folder.egress, identity))
            self._client = MaskingClient(charter, identity, self._latch, policy)
            self.name = charter.charter.member(self._client.number).name
            self._catching_up = CatchingUp(
                charter, self._client.number, self._applier, self._revealed_for, self._last_masked, write_time
            )
            self._ledger = opened.enter_context(Ledger(setup.folder.ledger, identity))
            require_ledger_kept(setup.folder, identity.public_key, self._latch.logs(), self._ledger.entries)
            self._logs = HospitalLogs(self._latch, self._ledger, self._egress)
            is_finished = self._applier.is_finished(self._state)
            # One that has every sum spends nothing more, on whomever.
            staying = everybody(setup.records, identity) if is_finished else who_stay(setup, identity, self._ledger)
            if staying.records is not setup.records:
                train, validation = split_patients(staying.records, task)
            self._contributor = Contributor(
                charter.charter, task, train, validation, self._scaling, self._layout, setup.device, setup.shuffle
            )
            self._budget = HospitalBudget(charter, policy, self._ledger, staying.patients, self._logs, write_time)
            if not is_finished:
                self._budget.reserve()
            self._concluding = Concluding(charter, self._layout, self._scaling, self._budget)
            self._checkpointing = Checkpointing(
                charter,
                self.name,
                identity,
                self._ledger,
                self._egress,
                self.release_folder,
                setup.folder.witnessed(charter.digest),
            )
            opened.pop_all()

    @property
    def state(self) -> HospitalState:
        """The state after the last sum."""
        return self._state

    @property
    def release_folder(self) -> Path:
        """Where this charter's release is, once there is one."""
        return self._setup.folder.release(self._charter.digest)

    @property
    def is_released(self) -> bool:
        """Whether this charter's release is here, whole."""
        return holds_release(self.release_folder)

    @property
    def has_checkpoints(self) -> bool:
        """Whether the release is here, and beside it the checkpoints of all logs, with enough signatures."""
        return self.is_released and holds_checkpoints(self.release_folder)

    @property
    def rounds_charged(self) -> int:
        """How many rounds of this run this hospital has paid for, those without a sum among them."""
        return self._budget.rounds_charged

    @property
    def epsilon(self) -> float | None:
        """What this run has cost this hospital's patients so far; None without differential privacy."""
        return self._budget.epsilon()

    @property
    def budget_use(self) -> BudgetUse | None:
        """How much of this data set's budget is used, by all runs; None without differential privacy."""
        return self._budget.use()

    def epsilon_lacking(self, sums: int) -> float | None:
        """The epsilon that its policy would have to allow for all but the first ``sums`` sums; None if it does."""
        return self._budget.lacking(sums)

    @property
    def scaling(self) -> Scaling:
        """How features are scaled here."""
        return self._scaling

    @property
    def constant_columns(self) -> tuple[str, ...]:
        """The columns that by the consortium's statistics do not vary at any hospital; none before they were summed."""
        return self._scaling.constant(self._state.moments, self._applier.features)

    def close(self) -> None:
        """Let go of latch, ledger and egress log."""
        self._contributor.close()
        # For the messages since the last round. What cannot be noted any more is in the log all the same.
        with suppress(SecaggError):
            self._logs.note()
        self._ledger.close()
        self._egress.close()
        self._latch.close()

    def withdraw(self) -> None:
        """Give back what was reserved, if nothing of it was spent: the run does not start."""
        self._budget.withdraw()

    def receive(self, message: bytes) -> list[bytes]:
        """Take one message; give the replies. What goes wrong is answered with a signed refusal and its reason code.

        Every reply is in the egress log before this returns. A forged sum is kept as evidence and stops this hospital
        for good: `stopped` says why.

        Raises:
            InputError: ``unwritable``, if the egress log cannot be written: nothing leaves, not even a refusal.
            TamperingError: ``egress-damaged``: likewise.
        """
        replies = self._answer(message)
        now = write_time()
        self._egress.record(*(sending(reply, now) for reply in replies))
        return replies

    def _answer(self, message: bytes) -> list[bytes]:
        if self.stopped:
            return [self._refuse(self.stopped)]
        try:
            take = self._outside_epochs(peek(message).stage)
            if take:
                return take(self._open_outside_epochs(message))
            return self._client.receive(message) + self._after_protocol_step(message)
        except ForgedSumError as error:
            self._stop(error, message)
            return [self._refuse(error)]
        except SecaggError as error:
            return [self._refuse(error)]

    def _after_protocol_step(self, message: bytes) -> list[bytes]:
        client = self._client
        # First: where the key finds no room, what came with this message must not be taken with a later one.
        total = client.take_sum()
        if client.state in (ClientState.READY, ClientState.ASKED):
            self._keep_tag_key(client)
        if client.state is ClientState.ASKED:
            return [self._contribute()]
        return self._apply(total, message) if total else []

    def _keep_tag_key(self, client: MaskingClient) -> None:
        """Before anything is masked, so that no sum of this epoch is ever beyond checking."""
        if self._state.tag_key(client.session.epoch) is None:
            self.rolled_back = None
            self._save(self._state.after_set_up(client.session.epoch, client.tag_key))

    def _contribute(self) -> bytes:
        client = self._client
        match client.session.purpose:
            case Purpose.TRAINING:
                vector = self._update(client.round, client.step)
            case Purpose.STATISTICS:
                vector = self._moments(client.step)
        return client.mask(vector.elements, self._state.digest(self._layout), vector.removable, self._logs.places)

    def _moments(self, step: int) -> Vector:
        self._applier.require_moments_due(self._state)
        have = self._state.reached.statistics
        if step != have + 1:
            raise missed_sum(step, have)
        return self._contributor.moments()

    def _update(self, round_number: int, step: int) -> Vector:
        if step != self._state.sums + 1:
            raise missed_sum(step, self._state.sums)
        self._applier.require_unfinished(self._state)
        if self._scaling.lacks_moments(self._state.moments):
            raise missed_sum(step, self._state.sums)
        self._budget.charge(round_number, step)
        return self._contributor.update(self._state, step, self._client.noise_keys())

    def _revealed_for(self, state: HospitalState) -> tuple[int, ...]:
        """The survivors of the sum that follows on that state, if it has given shares of it or opened it."""
        purpose = self._applier.due(state)
        return self._client.revealed_for(purpose, state.reached.of(purpose) + 1, state.digest(self._layout))

    def _last_masked(self) -> int:
        """The newest round that it has masked or paid for; of feature statistics it pays for none."""
        return max(self._latch.last_round(self._charter.digest), self._budget.newest_round)

    def _apply(self, verified: VerifiedSum, message: bytes) -> list[bytes]:
        session = self._client.session
        after = self._applier.after(self._state, verified.total, session.purpose)
        after = self._catching_up.keep_last_sum(after, verified.total, session)
        envelope = open_envelope(message, self._charter, len(message))
        self._settle(PendingState(after, (taking(envelope, self._client.number, write_time()),)))
        return [self._status()] if self._applier.is_finished(self._state) else []

    def _settle(self, taken: PendingState) -> None:
        """Take a state, whose sums are verified or endorsed, for this hospital's own."""
        self._egress.record(*taken.taken)
        for number in sorted(taken.state.rounds - self._state.rounds):
            self._budget.commit(number)
        # An epoch may have been set up since the sums were held back.
        self._save(taken.state.with_tag_keys(self._state))
        self._catching_up.forget()

    def _outside_epochs(self, stage: Stage) -> Callable[[Envelope], list[bytes]] | None:
        """What takes a message of a stage that belongs to no epoch; None of any other."""
        return {
            Stage.QUERY: self._report,
            Stage.MISSED_SUM: self._take_missed_sum,
            Stage.ASK_SNAPSHOT: self._hand_over,
            Stage.SNAPSHOT: self._take_snapshot,
            Stage.ENDORSED: self._take_endorsement,
            Stage.CONCLUDE: self._attest,
            Stage.RELEASE: self._keep_release,
            Stage.WITNESS: self._cosign,
            Stage.COSIGNED: self._keep_checkpoints,
        }.get(stage)

    def _open_outside_epochs(self, message: bytes) -> Envelope:
        envelope = open_envelope(message, self._charter, self._limit(peek(message).stage))
        if envelope.header.recipient not in (COORDINATOR, self._client.number):
            raise RemoteProtocolError("other-recipient", "A message is addressed to another member.")
        return envelope

    def _limit(self, stage: Stage) -> int:
        if stage is Stage.SNAPSHOT:
            return largest_snapshot(self._charter.charter)
        if stage is Stage.ENDORSED:
            return endorsed_limit(self._charter.charter)
        sums = (payload_limit(Session.unopened(self._charter, purpose), Stage.SUM) for purpose in Purpose)
        return max(LARGEST_ANSWER, *sums)

    def _report(self, envelope: Envelope) -> list[bytes]:
        decode(envelope.payload, Query)
        return [self._status(self._catching_up.start_over())]

    def _take_missed_sum(self, envelope: Envelope) -> list[bytes]:
        return self._catch_up(self._catching_up.take_missed_sum(envelope, self._state))

    def _hand_over(self, envelope: Envelope) -> list[bytes]:
        recipient, snapshot = self._catching_up.hand_over(decode(envelope.payload, AskSnapshot), self._state)
        return [self._sealer().seal(Stage.SNAPSHOT, snapshot, recipient=recipient)]

    def _take_snapshot(self, envelope: Envelope) -> list[bytes]:
        self._catching_up.take_snapshot(envelope, self._state)
        return [self._status()]

    def _take_endorsement(self, envelope: Envelope) -> list[bytes]:
        return self._catch_up(self._catching_up.take_endorsement(decode(envelope.payload, Endorsed), self._state))

    def _catch_up(self, taken: PendingState | None) -> list[bytes]:
        if taken:
            self._settle(taken)
        return [self._status()]

    def _status(self, snapshot_key: bytes = b"") -> bytes:
        digest = self._charter.digest
        status = Status(
            self._latch.last_epoch(digest),
            self._last_masked(),
            *self._state.reached,
            self._applier.is_finished(self._state),
            self._state.digest(self._layout),
            snapshot_key,
            # Among neighbours no other epoch can make that sum: nobody could do anything with it.
            () if self._charter.charter.graph.degree else self._revealed_for(self._state),
        )
        return self._sealer().seal(Stage.STATUS, status)

    def _attest(self, envelope: Envelope) -> list[bytes]:
        rounds = decode(envelope.payload, Conclude).rounds
        if not self._applier.is_finished(self._state):
            raise RemoteProtocolError("not-finished", "This hospital lacks sums that the charter asks for.")
        statement = self._concluding.statement(self._state, rounds)
        self._save(self._state.after_conclusion(rounds))
        # A state that was handed over before would take the place of the one attested to, once it is endorsed.
        self._catching_up.forget()
        self._budget.close_run()
        return [self._sealer().seal(Stage.ATTEST, Attest(statement, attest(statement, self._identity).sig))]

    def _keep_release(self, envelope: Envelope) -> list[bytes]:
        signed = decode(envelope.payload, Release).signed
        self._require_concluded()
        self._concluding.keep_release(self._state, signed, self.release_folder)
        return [self._sealer().seal(Stage.CHECKPOINT, self._checkpointing.take())]

    def _cosign(self, envelope: Envelope) -> list[bytes]:
        payload = decode(envelope.payload, Witness)
        self._require_concluded()
        return [self._sealer().seal(Stage.COSIGN, self._checkpointing.cosign(payload))]

    def _keep_checkpoints(self, envelope: Envelope) -> list[bytes]:
        self._require_concluded()
        self._checkpointing.keep(decode(envelope.payload, Cosigned))
        return []

    def _require_concluded(self) -> None:
        if not self._state.progress.concluded:
            raise RemoteProtocolError("not-concluded", "This hospital has attested to nothing yet.")

    def _stop(self, error: ForgedSumError, message: bytes) -> None:
        self.stopped = error
        # Either of both is enough for the next start: on a full disk one may still find room.
        for keep in (
            partial(self._latch.record_stopped, self._charter.digest),
            partial(write_atomically, self._setup.folder.evidence(self._charter.digest), message, PRIVATE),
        ):
            try:
                keep()
            except SecaggError as failure:
                self._setup.on_refusal(failure)

    def _require_going_on(self) -> None:
        evidence = self._setup.folder.evidence(self._charter.digest)
        if self._latch.is_stopped(self._charter.digest) or evidence.exists():
            raise stopped_before(evidence)

    def _save(self, state: HospitalState) -> None:
        """On disk first: what cannot be written is not taken."""
        state.save(self._setup.folder.state(self._charter.digest))
        self._state = state

    def _sealer(self) -> Sealer:
        return Sealer(self._charter, self._client.number, self._identity, self._latch.last_epoch(self._charter.digest))

    def _refuse(self, error: SecaggError) -> bytes:
        self._setup.on_refusal(error)
        if error.reason == _ROLLED_BACK:
            self.rolled_back = error
        # What is wrong at this site (its records, its budget) is nobody else's business.
        told = str(error) if isinstance(error, RemoteProtocolError) else "This hospital's own log says why."
        return self._sealer().seal(Stage.REFUSAL, Refusal(error.reason, told[:1000]), round=self._client.round)

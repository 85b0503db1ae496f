"""A hospital's privacy budget in one run: what it reserves, charges and commits, if there is anything to account.

Knows the charter's plan, the site's policy and its ledger. Without differential privacy there is no epsilon to spend;
the ledger notes that the data set was used so.
"""

from __future__ import annotations

from collections.abc import Callable

from dp.ledger import Account, Budget, BudgetUse, Cost, Ledger, PatientList
from dp.ledger.spending import costs_epsilon, in_all
from secagg.charter import VerifiedCharter
from secagg.errors import RemoteProtocolError
from secagg.policy import Policy
from training.hospital_logs import HospitalLogs
from training.privacy_plan import privacy_plan


class HospitalBudget:
    """One run's use of a data set's budget.

    Args:
        patients: those of the data set.
        logs: notes what was written before anything leaves.
        clock: gives the time to record, ISO 8601; nothing depends on it.

    Raises:
        InputError: ``unwritable``.
        TamperingError: ``patients-altered``.
    """

    def __init__(
        self,
        charter: VerifiedCharter,
        policy: Policy,
        ledger: Ledger,
        patients: PatientList,
        logs: HospitalLogs,
        clock: Callable[[], str],
    ) -> None:
        privacy = charter.charter.privacy
        self._charter = charter
        self._plan = privacy_plan(charter.charter)
        self._clock = clock
        self._run = charter.digest.hex()
        self._budget = Budget(policy.maximum_epsilon, privacy.delta)
        self._private = privacy.mode != "none"
        self._ledger = ledger
        self._logs = logs
        self._data_set = ledger.enrol(patients)

    def reserve(self) -> None:
        """Hold the whole run's cost, before any round of it or any more; also of one that was withdrawn or given up.

        Raises:
            RefusedError: ``budget-exceeded``.
        """
        if self._private:
            rounds = self._plan.rounds
            cost = self._cost(rounds, self._plan.releases(rounds))
            self._ledger.reserve(self._data_set, self._run, cost, self._budget, self._clock())
            self._logs.note()

    def lacking(self, sums: int) -> float | None:
        """The epsilon that the policy would have to allow for all but the first ``sums`` sums; None if it does.

        As `charge` would count them, each once: that refuses none of them where this is None.
        """
        rest = self._plan.rounds - sums
        if not self._private or rest == 0:
            return None
        cost = self._cost(rest, self._plan.releases(self._plan.rounds) - self._plan.releases(sums))
        charged = self._ledger.spending(self._data_set).run(self._run).charged
        return self._ledger.lacking(self._data_set, self._run, charged.plus(cost), self._budget)

    def charge(self, round_number: int, step: int) -> None:
        """Spend one round's cost, before anything of it leaves. It is noted with the vector that it is spent for.

        A number is paid for once: so a release that states as many rounds as were begun covers all that were paid for.

        Args:
            step: which sum it would give, from 1.

        Raises:
            RemoteProtocolError: ``stale-round``, unless the round is later than every one that was paid for.
            RefusedError: ``budget-exceeded``.
            InputError: ``unwritable``.
        """
        if round_number <= self.newest_round:
            raise RemoteProtocolError(
                "stale-round",
                f"Round {round_number} was begun, but this site has paid for round {self.newest_round} already.",
                remedy="A retry is a new round.",
            )
        now = self._clock()
        if self._private:
            cost = self._cost(1, int(self._plan.releases_counts(step)))
            self._ledger.charge(self._data_set, self._run, round_number, cost, self._budget, now)
        else:
            self._ledger.note_unprotected(self._data_set, self._run, round_number, self._budget.delta, now)

    def commit(self, round_number: int) -> None:
        """Note that the round's sum was applied."""
        if self._private:
            self._ledger.commit(self._data_set, self._run, round_number, self._budget.delta, self._clock())

    def close_run(self) -> None:
        """Note that the run is over, and free what was reserved and not used: for every state of the data set."""
        self._close(*self._ledger.account.data_sets)

    def withdraw(self) -> None:
        """Free what was reserved, unless some of it was spent: the run does not start."""
        if self._ledger.account.rounds_on(self._data_set, self._run) == 0:
            self._close(self._data_set)

    @property
    def rounds_charged(self) -> int:
        """How many rounds of this run this site has paid for, those without a sum among them.

        With any state of the data set, whoever was in it: the patients of an earlier one have paid too.
        """
        return self._ledger.account.rounds(self._run)

    @property
    def newest_round(self) -> int:
        """The highest number of a round of this run that this site has paid for, whatever came of it; 0 if none.

        With any state of the data set.
        """
        return self._ledger.account.newest_round(self._run)

    def epsilon(self) -> float | None:
        """What this run's charges have cost that patient who has paid most; see `run_epsilon`."""
        return run_epsilon(self._ledger.account, self._charter)

    def use(self) -> BudgetUse | None:
        """How much of the data set's budget is used, by all runs; None without differential privacy."""
        if not self._private:
            return None
        # Nobody of a data set that is new at the end of a run has spent anything, at whatever delta.
        delta = self._ledger.account.delta(self._data_set) or self._budget.delta
        return BudgetUse(self._ledger.spending(self._data_set).epsilon(delta), self._budget.epsilon)

    def _close(self, *data_sets: str) -> None:
        for data_set in data_sets:
            self._ledger.close_run(data_set, self._run, self._budget.delta, self._clock())
        self._logs.note()

    def _cost(self, rounds: int, releases: int) -> Cost:
        return Cost(self._plan.training_events(rounds), self._plan.metric_events(releases))


def run_epsilon(account: Account, charter: VerifiedCharter) -> float | None:
    """What a run's charges have cost that patient who has paid most, by a site's ledger; None without privacy.

    With any state of the data set, as `HospitalBudget.rounds_charged`. Never less than it has: where somebody may have
    been in training in one state and held back in another, each state counts with its dearer side.
    """
    run, privacy = charter.digest.hex(), charter.charter.privacy
    if privacy.mode == "none":
        return None
    charges = account.charged(run)
    if account.keeps_its_patients(run):
        charges = frozenset((in_all(costs),) for costs in charges)
    return max((costs_epsilon(costs, privacy.delta) for costs in charges), default=0.0)

"""What a site's patients have spent: append-only, chained, signed, across data sets, charters and coordinators."""

from dp.ledger.account import Account
from dp.ledger.budget_use import BudgetUse
from dp.ledger.entries import Cost, Entry, Kind
from dp.ledger.patients import PatientList
from dp.ledger.spending import RunSpending, Spending
from dp.ledger.store import Budget, Ledger

__all__ = [
    "Account",
    "Budget",
    "BudgetUse",
    "Cost",
    "Entry",
    "Kind",
    "Ledger",
    "PatientList",
    "RunSpending",
    "Spending",
]

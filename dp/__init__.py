"""Differential privacy: noise, sampling, accounting and the ledger of what was spent."""

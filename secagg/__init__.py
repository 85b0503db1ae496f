"""Secure aggregation protocols: sums that nobody can read the parts of."""

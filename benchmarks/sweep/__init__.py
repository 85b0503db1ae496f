"""Whole rounds, measured: every scheme beside what people would use instead, in one run on one machine.

Knows secagg, dp and training as they are. Knows nothing of the command line or of tests. `docs/benchmarks.md` says what
is measured and what is not.
"""

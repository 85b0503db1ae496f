"""Empirical audits of this build's differential privacy: runs with canaries, through all that a run goes through."""

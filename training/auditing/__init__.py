"""Empirical audits of this build's differential privacy: runs with canaries, through everything that a run goes through."""

"""What a privacy officer is told of a run: facts, each computed from signed records and verified while it is read."""

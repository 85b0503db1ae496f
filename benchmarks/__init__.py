"""What the hot paths cost. `pytest benchmarks` measures; nothing is asserted about time."""

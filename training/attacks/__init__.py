"""The attacks of the threat model, as scripts over real messages: `secagg audit attack` runs them.

Each is a coordinator or a member that lies to a real consortium, tries all it can, and reports what it learned. What an
attack must meet is in its `Attack`; the weakened builds on which it succeeds are in `tests/attacks` and do not ship.
"""

"""For each attack a build that lacks the defence, on which it must succeed. None of this ships.

`secagg audit attack --controls tests/attacks` loads `CONTROLS`, `secagg audit privacy` likewise `PRIVACY`.
"""

from __future__ import annotations

from . import (
    behind,
    blame,
    ciphertexts,
    cohorts,
    content,
    contexts,
    encrypted_sums,
    endings,
    group_secret,
    hospitals,
    members,
    memory,
    models,
    noise,
    privacy,
    replays,
    set_up,
    sums,
    wire,
)

_FAMILIES = (
    behind,
    blame,
    ciphertexts,
    cohorts,
    content,
    contexts,
    encrypted_sums,
    endings,
    group_secret,
    hospitals,
    members,
    memory,
    models,
    noise,
    replays,
    set_up,
    sums,
    wire,
)
CONTROLS = {name: control for family in _FAMILIES for name, control in family.CONTROLS.items()}
PRIVACY = privacy.PRIVACY

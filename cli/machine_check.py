"""What `secagg doctor` finds out, one thing at a time."""

from __future__ import annotations

import msgspec

from secagg.charter.cautions import Caution


class MachineCheck(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        good: whether the work can be done as far as this goes.
        warnings: what must be known all the same; ``found`` says it too.
    """

    what: str
    found: str
    good: bool
    warnings: tuple[Caution, ...] = ()

    @property
    def badge(self) -> str:
        """How a person sees at a glance what it is."""
        if not self.good:
            return "[red]bad[/red]"
        return "[yellow]warn[/yellow]" if self.warnings else "[green]ok[/green]"

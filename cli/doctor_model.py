"""Whether this machine builds the model that a charter names: of `secagg doctor`."""

from __future__ import annotations

from collections.abc import Set

from cli.machine_check import MachineCheck
from secagg.charter import Charter
from secagg.errors import InputError
from training.draft import task_of
from training.model_state import ModelLayout, flatten, model_digest

_WHAT = "charter's model"


def model_check(charter: Charter, allowed_tasks: Set[str]) -> MachineCheck:
    """Whether the model can be built here, backbone included, and is the charter's.

    Args:
        allowed_tasks: the kinds whose code this site has agreed to run.
    """
    kind = charter.task.kind
    if kind not in allowed_tasks:
        return MachineCheck(
            _WHAT, f"not checked: no --policy lists {kind} in allowed_tasks, so its code is not run", good=True
        )
    try:
        task = task_of(charter)
        told, model = task.cautions(), task.build_model()
        is_the_same = model_digest(ModelLayout.of(model), flatten(model)) == charter.model.digest
    except InputError as error:
        return MachineCheck(_WHAT, error.diagnostics(), good=False)
    if not is_the_same:
        return MachineCheck(
            _WHAT, "a different one is built here: all hospitals need the same releases of secagg and torch", good=False
        )
    found = ". ".join(("built here as the charter names it", *(caution.told() for caution in told)))
    return MachineCheck(_WHAT, found, good=True, warnings=told)

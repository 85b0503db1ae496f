"""How a coordinator is doing: for its administrator, and for whatever supervises it.

Knows what the coordinator writes down anyway. Holds no secret: whose sums there are, and no sum.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from secagg.errors import InputError
from training.field.coordinator_site import CoordinatorSite
from training.field.status import SiteState, why
from training.wrong_dealers import WrongDealers


class CoordinatorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One coordinator, now.

    Attributes:
        state: ``waiting`` before the first round, ``training``, or ``released``.
        epochs, rounds: begun so far, also those without a sum.
        steps: how many sums of training there are, of ``steps_due``.
        missing: members that were not connected when hospitals were last waited for.
        lacking: members that the release has not reached, once it is there.
        witnessed: whether enough hospitals have signed for one another's logs, once it is there.
        left_out: who dealt wrongly and is left out where that can be; in which round it was found.
        reason, message, remedy: why the last job came to nothing, if it did.
    """

    state: SiteState
    name: str
    charter: str
    epochs: int
    rounds: int
    steps: int
    steps_due: int
    missing: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    witnessed: bool = False
    left_out: Mapping[str, int] = {}
    reason: str | None = None
    message: str | None = None
    remedy: str | None = None


def read_status(site: CoordinatorSite) -> CoordinatorStatus:
    """How the coordinator in ``site`` is doing.

    Raises:
        InputError: ``no-coordinator``, or which file cannot be read.
        TamperingError: if its charter was altered, or its state damaged.
    """
    if not site.settings.exists() and not site.state.exists():
        raise InputError(
            "no-coordinator",
            f"{site.path} is not a coordinator's site.",
            culprit=str(site.path),
            remedy="Give the folder that `secagg coordinator init` made.",
        )
    charter = site.read_charter()
    store, last = site.store(charter), site.last_outcome()
    progress = store.state
    state, sums = site.doing(store)
    # Once there is a release, what went wrong before it is over.
    error = last.as_error() if last and (last.lacking or state is not SiteState.RELEASED) else None
    return CoordinatorStatus(
        state=state,
        name=charter.charter.name,
        charter=charter.digest.hex(),
        epochs=progress.epoch,
        rounds=progress.round,
        steps=sums,
        steps_due=charter.charter.training.rounds,
        missing=site.missing(),
        lacking=last.lacking if last else (),
        witnessed=progress.witnessed,
        left_out=WrongDealers(site.state, charter).rounds,
        **why(error),
    )

"""Who has the release stays longer than a coordinator may still wait for others, whatever that one's settings are."""

from __future__ import annotations

import pytest

from training.engines.base import Phase
from training.engines.nvflare.deadlines import LONGEST_FAREWELL, STAGES, Deadlines


@pytest.mark.parametrize("answer", [1.0, 60.0, 86_400.0])
def test_no_settings_have_a_coordinator_wait_longer_after_the_release_than_hospitals_stay(answer):
    deadlines = Deadlines(answer=answer)
    minutes_at_work = (LONGEST_FAREWELL - STAGES * (deadlines.of(Phase.RELEASE) + deadlines.of(Phase.WITNESS))) / 60
    assert minutes_at_work >= 5
    assert deadlines.of(Phase.RELEASE) <= answer


def test_whatever_a_model_is_on_its_way_in_has_the_deadline_of_work():
    deadlines = Deadlines(work=7200.0, answer=3600.0)
    assert {deadlines.of(phase) for phase in (Phase.CATCH_UP, Phase.MASK, Phase.APPLY)} == {7200.0}
    assert {deadlines.of(phase) for phase in (Phase.QUERY, Phase.DEAL, Phase.AGREE, Phase.CONCLUDE)} == {3600.0}

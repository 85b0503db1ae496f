"""A hospital's process has the commands of a round, and does not start where it cannot know that."""

from __future__ import annotations

import pytest
from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors

from secagg.errors import SecaggError
from training.engines.nvflare.site_process import COMMANDS, restrict_commands


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    monkeypatch.setattr(ClientRequestProcessors, "request_processors", list(ClientRequestProcessors.request_processors))


def commands() -> set[str]:
    return {type(processor).__name__ for processor in ClientRequestProcessors.request_processors}


def test_seven_commands_are_left_of_twenty():
    assert len(commands()) == 20
    restrict_commands()
    assert commands() == COMMANDS
    assert len(COMMANDS) == 7


def test_another_nvflare_is_not_started():
    ClientRequestProcessors.request_processors.pop(4)
    assert "DeployProcessor" not in commands()
    with pytest.raises(SecaggError) as refused:
        restrict_commands()
    assert refused.value.reason == "other-nvflare"
    assert "DeployProcessor" in str(refused.value)

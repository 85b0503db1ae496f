from __future__ import annotations

import pytest
import torch

from secagg.errors import InputError
from training.devices import cores_for, resolve_device


def machine(monkeypatch: pytest.MonkeyPatch, *present: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in present)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in present)


@pytest.mark.parametrize(
    ("present", "chosen"), [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("cuda", "mps"), "cuda")]
)
def test_auto_takes_the_fastest_device_there_is(
    monkeypatch: pytest.MonkeyPatch, present: tuple[str, ...], chosen: str
) -> None:
    machine(monkeypatch, *present)
    assert resolve_device("auto").type == chosen
    assert resolve_device("cpu").type == "cpu"


def test_a_device_that_is_not_here_is_refused_and_the_others_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    with pytest.raises(InputError) as caught:
        resolve_device("cuda")
    assert caught.value.reason == "no-such-device"
    assert "there is: cpu" in caught.value.message


@pytest.mark.parametrize(("parameters", "used"), [(15_000, 1), (25_000_000, 2)])
def test_a_small_model_is_trained_on_one_core_and_a_large_one_on_all(parameters: int, used: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with cores_for(parameters):
            assert torch.get_num_threads() == used
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

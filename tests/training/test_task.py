from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from secagg.errors import InputError
from training.task import Task, TaskSpec, build_task, load_custom_task

CUSTOM = """
from training.tasks.images import ImageTask

def build(spec):
    return ImageTask(spec)

def nothing(spec):
    return None
"""


@pytest.fixture
def custom_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "ward_task.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ward_task", raising=False)
    return "ward_task"


def test_the_shipped_kinds_are_tasks(write_task: Callable[[str], TaskSpec], heart_spec: TaskSpec) -> None:
    for spec in (heart_spec, write_task('kind = "image-classification"\n')):
        task = build_task(spec)
        assert isinstance(task, Task)
        assert task.spec == spec


def test_a_charter_alone_never_imports_code(custom_module: str) -> None:
    spec = TaskSpec.from_settings(f"{custom_module}:build", b"{}")
    with pytest.raises(InputError) as caught:
        build_task(spec)
    assert caught.value.reason == "custom-task"
    assert custom_module not in sys.modules


def test_a_custom_task_is_loaded_on_purpose(custom_module: str) -> None:
    spec = TaskSpec.from_settings(f"{custom_module}:build", b"{}")
    assert load_custom_task(spec).spec == spec


@pytest.mark.parametrize("function", ["nothing", "absent"])
def test_code_that_gives_no_task_is_refused(custom_module: str, function: str) -> None:
    with pytest.raises(InputError) as caught:
        load_custom_task(TaskSpec.from_settings(f"{custom_module}:{function}", b"{}"))
    assert caught.value.reason == "custom-task"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def build(spec)\n    return None\n", "SyntaxError: expected ':' (ward_task.py, line 1)"),
        ("settings = undefined\n", "NameError: name 'undefined' is not defined"),
        ("def build(spec):\n    return {}['depth']\n", "KeyError: 'depth'"),
        ("def build(spec):\n    raise ValueError('no depth')\n", "ValueError: no depth"),
    ],
)
def test_whatever_somebodys_own_code_raises_is_told_as_its_fault(
    custom_module: str, tmp_path: Path, code: str, told: str
) -> None:
    (tmp_path / f"{custom_module}.py").write_text(code)
    with pytest.raises(InputError) as caught:
        load_custom_task(TaskSpec.from_settings(f"{custom_module}:build", b"{}"))
    assert caught.value.reason == "custom-task"
    assert caught.value.message == f"Cannot build the task 'ward_task:build': {told}."
    assert "secagg --verbose" in caught.value.diagnostics()


def test_what_somebodys_own_code_refuses_itself_is_passed_on(custom_module: str, tmp_path: Path) -> None:
    refuses = "from secagg.errors import InputError\ndef build(spec):\n    raise InputError('too-deep', 'Too deep.')\n"
    (tmp_path / f"{custom_module}.py").write_text(refuses)
    with pytest.raises(InputError) as caught:
        load_custom_task(TaskSpec.from_settings(f"{custom_module}:build", b"{}"))
    assert caught.value.reason == "too-deep"


def test_a_package_that_is_not_installed_is_refused() -> None:
    with pytest.raises(InputError, match="no_such_package"):
        load_custom_task(TaskSpec.from_settings("no_such_package:build", b"{}"))

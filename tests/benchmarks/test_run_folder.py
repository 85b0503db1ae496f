"""A run's folder: what is in it stays, what is half in it goes, and figures of two machines never meet."""

from __future__ import annotations

import subprocess

import msgspec
import pytest

from benchmarks.sweep import running
from benchmarks.sweep.case import Case
from benchmarks.sweep.environment import Environment, processor_in, revision_of
from benchmarks.sweep.folder import ENVIRONMENT_FILE, ROWS_FILE, RunWriter, read_run
from benchmarks.sweep.measurement import Limits
from benchmarks.sweep.running import run_cases
from benchmarks.sweep.worker import Order
from secagg.errors import InputError, SecaggError
from tests.benchmarks.rows import row

HERE = Environment(
    cpu="a", cores=2, memory=1, system="Linux 6", python="CPython 3.11", packages={"numpy": "2"}, revision="abc"
)
CASES = [Case(scheme="plain", hospitals=3, parameters=10), Case(scheme="mask", hospitals=3, parameters=10)]


@pytest.fixture
def measured(monkeypatch):
    """The orders that were measured, without measuring anything."""
    done = []

    def measure(order: Order):
        done.append(order)
        return row(order.case, order.turn, order.kind) if order.case else Limits(turn=order.turn, cipher=1, memory=1)

    monkeypatch.setattr(running, "measured", measure)
    monkeypatch.setattr(Environment, "here", lambda: HERE)
    return done


def ignore(order: Order) -> None:
    """Of progress."""


def test_a_run_measures_memory_once_and_times_by_turns(tmp_path, measured):
    with RunWriter(tmp_path, HERE) as writer:
        run_cases(writer, CASES, 2, ignore)
    names = [(order.kind, order.turn, order.case and order.case.scheme) for order in measured]
    assert names[:2] == [("memory", 0, "plain"), ("memory", 0, "mask")]
    assert names[2:] == [("time", turn, what) for turn in (1, 2) for what in (None, "plain", "mask")]


def test_a_run_that_was_stopped_goes_on_with_what_is_not_there_yet(tmp_path, measured):
    def stop_at_the_fourth(order: Order) -> None:
        if len(measured) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path, HERE) as writer:
        run_cases(writer, CASES, 2, stop_at_the_fourth)
    with RunWriter(tmp_path, HERE) as writer:
        run_cases(writer, CASES, 2, ignore)
    assert len(measured) == len(set(measured)) == 8
    assert len(read_run(tmp_path).rows) == 8


def test_a_case_that_cannot_be_measured_is_told_and_keeps_no_other_from_it(tmp_path, measured, monkeypatch):
    measure = running.measured

    def fail_under_plain(order: Order):
        if order.case and order.case.scheme == "plain":
            raise SecaggError("worker-failed", "No memory.", culprit=order.case.name)
        return measure(order)

    monkeypatch.setattr(running, "measured", fail_under_plain)
    with RunWriter(tmp_path, HERE) as writer:
        failed = run_cases(writer, CASES, 2, ignore)
    assert {case: error.reason for case, error in failed.items()} == {CASES[0]: "worker-failed"}
    assert [order.case for order in measured] == [CASES[1], None, CASES[1], None, CASES[1]]
    assert len(read_run(tmp_path).rows) == 5


def test_half_a_row_is_measured_again(tmp_path, measured):
    with RunWriter(tmp_path, HERE) as writer:
        run_cases(writer, CASES, 1, ignore)
    path = tmp_path / ROWS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    assert len(read_run(tmp_path).rows) == 4
    with RunWriter(tmp_path, HERE) as writer:
        run_cases(writer, CASES, 1, ignore)
    assert (len(measured), len(read_run(tmp_path).rows)) == (6, 5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cpu": "b"}, "cpu was a and is b"),
        ({"packages": {"numpy": "3"}}, "numpy was 2 and is 3"),
        ({"revision": "abc-dirty-1f"}, "revision was abc and is abc-dirty-1f"),
    ],
)
def test_a_run_does_not_go_on_elsewhere_or_with_other_versions(tmp_path, change, told):
    RunWriter(tmp_path, HERE).__exit__()
    with pytest.raises(InputError, match=told) as caught:
        RunWriter(tmp_path, msgspec.structs.replace(HERE, **change))
    assert caught.value.reason == "other-environment"
    # The folder is free again.
    RunWriter(tmp_path, HERE).__exit__()


def test_a_run_ends_where_code_changes_while_it_measures_and_goes_on_once_that_is_put_back(
    tmp_path, measured, monkeypatch
):
    changed = msgspec.structs.replace(HERE, revision="abc-dirty-1f")

    def change_at_the_fourth(order: Order) -> None:
        now = HERE if len(measured) < 3 else changed
        monkeypatch.setattr(Environment, "here", lambda: now)

    with pytest.raises(InputError) as caught, RunWriter(tmp_path, HERE) as writer:
        run_cases(writer, CASES, 2, change_at_the_fourth)
    assert caught.value.reason == "other-environment"
    assert "revision was abc and is abc-dirty-1f" in caught.value.message
    assert len(read_run(tmp_path).rows) == 3
    monkeypatch.setattr(Environment, "here", lambda: HERE)
    with RunWriter(tmp_path, HERE) as writer:
        run_cases(writer, CASES, 2, ignore)
    assert len(read_run(tmp_path).rows) == 8


def test_a_run_does_not_go_on_with_another_version_of_a_baseline(tmp_path):
    older, newer = (msgspec.structs.replace(row(CASES[0], turn), by=f"flwr 1.4{turn}") for turn in (0, 1))
    with RunWriter(tmp_path, HERE) as writer:
        writer.add(older, HERE)
        # Another scheme's code is another's.
        writer.add(row(CASES[1], 1), HERE)
        with pytest.raises(InputError, match=r"plain was flwr 1\.40 and is flwr 1\.41"):
            writer.add(newer, HERE)
    assert len(read_run(tmp_path).rows) == 2


def commit_all(folder) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (["init"], ["add", "."], ["commit", "-m", "one"]):
        subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


def test_code_that_was_changed_again_is_another_revision_and_what_a_run_writes_is_not(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("1\n")
    commit_all(tmp_path)
    revisions = [revision_of(tmp_path)]
    for text in ("2\n", "3\n"):
        module.write_text(text)
        revisions.append(revision_of(tmp_path))
    (tmp_path / "new.py").write_text("")
    revisions.append(revision_of(tmp_path))
    assert len(set(revisions)) == 4
    assert all(later.startswith(f"{revisions[0]}-dirty-") for later in revisions[1:])
    (tmp_path / "results.csv").write_text("")
    assert revision_of(tmp_path) == revisions[-1]


def test_texts_can_be_written_while_a_run_goes_on(tmp_path):
    notes = tmp_path / "docs" / "notes.md"
    notes.parent.mkdir()
    notes.write_text("1\n")
    commit_all(tmp_path)
    revision = revision_of(tmp_path)
    notes.write_text("2\n")
    assert revision_of(tmp_path) == revision


def test_two_processes_do_not_measure_into_one_folder(tmp_path):
    with RunWriter(tmp_path, HERE), pytest.raises(InputError) as caught:
        RunWriter(tmp_path, HERE)
    assert caught.value.reason == "state-in-use"


def test_a_folder_with_other_things_in_it_is_no_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    for touch in (lambda: RunWriter(tmp_path, HERE), lambda: read_run(tmp_path)):
        with pytest.raises(InputError) as caught:
            touch()
        assert caught.value.reason == "not-a-run"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", [ENVIRONMENT_FILE, ROWS_FILE])
def test_a_file_that_no_run_writes_is_told(tmp_path, name):
    RunWriter(tmp_path, HERE).__exit__()
    (tmp_path / name).write_bytes(b'{"type": "case"}\n')
    with pytest.raises(InputError) as caught:
        read_run(tmp_path)
    assert caught.value.reason == "malformed-run"


def test_a_process_that_cannot_measure_says_why():
    with pytest.raises(InputError) as caught:
        running.measured(Order(1, "time", Case(scheme="mask-graph", hospitals=3, parameters=10)))
    assert caught.value.reason == "no-graph"


@pytest.mark.parametrize("answer", ["", r'{"type": "\377"}'])
def test_a_process_that_ends_without_an_answer_is_told(monkeypatch, tmp_path, answer):
    process = tmp_path / "process"
    process.write_text(f"#!/bin/sh\nprintf '{answer}'\nexit 1\n")
    process.chmod(0o700)
    monkeypatch.setattr(running.sys, "executable", str(process))
    with pytest.raises(SecaggError) as caught:
        running.measured(Order(1))
    assert caught.value.reason == "worker-failed"


def test_this_machine_describes_itself():
    here = Environment.here()
    assert here.packages.keys() >= {"secagg", "numpy", "cryptography", "tenseal"}
    assert here.differences(here) == []
    assert here.memory > 1 << 28


def test_processors_of_one_name_are_told_apart_by_family_and_model():
    cpu = "processor\t: {}\ncpu family\t: 25\nmodel\t\t: {}\nmodel name\t: AMD EPYC\n\n"
    assert processor_in(cpu.format(0, 1) + cpu.format(1, 1)) == "AMD EPYC, family 25, model 1"
    assert processor_in(cpu.format(0, 17)) == "AMD EPYC, family 25, model 17"


def test_a_processor_without_a_name_is_none():
    assert processor_in("processor\t: 0\nBogoMIPS\t: 50.00\nCPU architecture: 8\n") == ""

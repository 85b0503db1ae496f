"""How many cores there are to compute on: in a container, those that it has time for."""

from __future__ import annotations

import os

import pytest

from secagg.processes.cores import cores_of_quota, usable_cores


@pytest.fixture
def quota(tmp_path):
    """What a process in a group below another is allowed."""
    own, groups = tmp_path / "cgroup", tmp_path / "groups"
    (groups / "pod/site").mkdir(parents=True)
    own.write_text("0::/pod/site\n")

    def allowed(site: str, pod: str = "max 100000\n") -> int | None:
        (groups / "pod/site/cpu.max").write_text(site)
        (groups / "pod/cpu.max").write_text(pod)
        # Beyond the groups nothing counts.
        (tmp_path / "cpu.max").write_text("1 100000\n")
        return cores_of_quota(own, groups)

    return allowed


def test_a_quota_is_rounded_up_to_whole_cores(quota):
    assert quota("100000 100000\n") == 1
    assert quota("20000 100000\n") == 1
    assert quota("250000 100000\n") == 3


def test_the_smallest_counts_of_the_group_s_own_and_of_those_around_it(quota):
    assert quota("max 100000\n", pod="200000 100000\n") == 2
    assert quota("100000 100000\n", pod="200000 100000\n") == 1


@pytest.mark.parametrize("text", ["max 100000\n", "", "many\n", "1 0\n", "1 2 3\n"])
def test_without_a_limit_that_can_be_read_there_is_none(quota, text):
    assert quota(text) is None


def test_where_there_are_no_such_groups_there_is_no_limit(tmp_path):
    assert cores_of_quota(tmp_path / "none", tmp_path) is None
    (tmp_path / "older").write_text("4:cpu:/docker\n")
    assert cores_of_quota(tmp_path / "older", tmp_path) is None


def test_this_process_has_one_core_at_least_and_no_more_than_it_may_run_on():
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))

"""`secagg watch`: what a training comes to, on the terminal."""

from __future__ import annotations

import socket

import pytest

from tests.cli.outcome import UNUSABLE
from training.run_lock import alone


def test_a_finished_run_is_shown_and_the_command_ends(secagg, finished):
    shown = secagg("watch", finished).shown
    for told in ("task, simulation: released", "2 of 2", "epsilon", "of 8, delta 1e-05", "3 of 4", "h2"):
        assert told in shown, shown


def test_what_is_shown_in_a_file_ends_with_a_whole_line(secagg, finished):
    assert secagg("watch", finished).out.endswith("┘\n")


def test_a_run_that_came_to_nothing_is_shown_as_not_running_and_the_command_ends(secagg, finished):
    (finished / "release").rename(finished / "away")
    assert "task, simulation: not running" in secagg("watch", finished).shown


def test_it_is_shown_once_where_that_is_asked_for(secagg, finished):
    (finished / "release").rename(finished / "away")
    with alone(finished):
        assert "training" in secagg("watch", finished, "--once").shown


def test_as_json_every_round_is_there(secagg, finished):
    found = secagg("watch", finished, "--json").json
    assert (found["kind"], found["state"], found["steps"]) == ("simulation", "released", 2)
    assert [row["dropped"] for row in found["rounds"]] == [["h2"], []]
    assert 0 < found["rounds"][0]["epsilon"] < found["rounds"][1]["epsilon"] == found["epsilon"]


@pytest.mark.parametrize(
    ("options", "waiting"), [((), "cli.watch.time.sleep"), (("--html",), "cli.watch.WatchServer.serve_forever")]
)
def test_ctrl_c_ends_it_as_it_says_and_is_no_failure(secagg, finished, monkeypatch, options, waiting):
    def press(*_):
        raise KeyboardInterrupt

    (finished / "release").rename(finished / "away")
    monkeypatch.setattr(waiting, press)
    with alone(finished):
        outcome = secagg("watch", finished, *options)
    assert (outcome.code, outcome.err) == (0, "")


def test_what_would_not_be_looked_at_is_refused(secagg, finished):
    secagg("watch", finished, "--html", "--once").failed(UNUSABLE, "usage", "leave out --once and --json")
    assert "leave out --once and --json" in secagg("watch", finished, "--html", "--json").error["message"]
    secagg("watch", finished, "--port", 0).failed(UNUSABLE, "usage", "add --html")


def test_a_folder_of_something_else_and_a_port_that_is_taken_are_named(secagg, finished, here):
    secagg("watch", "data").failed(UNUSABLE, "nothing-to-watch", "data", "secagg simulate --out")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        secagg("watch", finished, "--html", "--port", port).failed(UNUSABLE, "port-in-use", port)

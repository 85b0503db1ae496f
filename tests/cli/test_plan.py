from __future__ import annotations


def test_a_plan_shows_both_graphs_and_which_one_a_charter_takes(secagg):
    outcome = secagg("plan", "--hospitals", "200", "--parameters", "15000", "--colluding", "10")
    shown = outcome.shown
    for text in ("all with all", "neighbours", "200 hospitals, 20 of them gone, 10 colluding", "2^-"):
        assert text in shown
    (taken,) = (line for line in outcome.out.splitlines() if "`charter new` takes" in line)
    assert [cell.strip() for cell in taken.split("│")[2:4]] == ["", "this"]


def test_a_plan_as_json_holds_degree_threshold_messages_bytes_and_time(secagg):
    complete, sparse = secagg("plan", "--hospitals", "200", "--parameters", "15000", "--colluding", "10", "--json").json
    assert (complete["chosen"], sparse["chosen"]) == (False, True)
    assert (complete["degree"], sparse["degree"]) == (0, 49)
    assert sparse["threshold"] == 106
    assert sparse["hiding_log2"] <= -40
    assert sparse["round"]["messages_up"] == 3
    assert 3 < sparse["bytes_up_per_parameter"] < 3.3
    assert sparse["seconds_round_hospital"] > 0


def test_a_plan_for_a_small_consortium_has_all_mask_with_all(secagg):
    complete, *_ = secagg("plan", "--hospitals", "4", "--parameters", "10", "--dropout", "0", "--json").json
    assert complete["chosen"]


def test_a_plan_that_leaves_fewer_than_the_threshold_is_refused_with_a_remedy(secagg):
    outcome = secagg("plan", "--hospitals", "40", "--parameters", "10", "--dropout", "0.9")
    assert outcome.code == 2
    assert "too-many-dropped" in outcome.err
    assert "a share of at most 0.47" in outcome.err


def test_a_plan_needs_to_know_how_many(secagg):
    assert secagg("plan", "--hospitals", "2", "--parameters", "10").code == 2
    assert secagg("plan").code == 2

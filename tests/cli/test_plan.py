from __future__ import annotations

import base64
import re
import shlex
import subprocess
import sys

import msgspec
import pytest

from secagg.charter.sections import MOST_RECORDS
from secagg.masking.sizes import Shape, Traffic, round_traffic, set_up_traffic
from tests.cli.outcome import UNUSABLE
from tests.support.consortium import make_identities

LARGE = ("plan", "--hospitals", "200", "--parameters", "15000", "--colluding", "10")
SCHEMES = ["mask", "double-lock", "bfv", "ckks"]


def cells(outcome, name: str) -> list[str]:
    """Those of the one row of the table that is called so."""
    (line,) = (line for line in outcome.out.splitlines() if name in line and line.startswith("│"))
    return [cell.strip() for cell in line.split("│")[2:-1]]


# --- Masks ---------------------------------------------------------------------------------------------------


def test_a_plan_shows_both_graphs_and_which_one_a_charter_takes(secagg):
    outcome = secagg(*LARGE, "--scheme", "mask")
    for text in ("few neighbours", "200 hospitals, of which 20 drop out and 10 collude", "2^-"):
        assert text in outcome.shown
    assert cells(outcome, "masks with") == ["199", "86"]
    assert cells(outcome, "chosen by default") == ["", "yes"]


def test_a_plan_as_json_holds_degree_threshold_messages_bytes_and_time(secagg):
    complete, sparse = secagg(*LARGE, "--scheme", "mask", "--json").json["ways"]
    assert (complete["chosen"], sparse["chosen"]) == (False, True)
    assert (complete["degree"], sparse["degree"]) == (0, 49)
    assert sparse["threshold"] == 106
    assert sparse["hiding_log2"] <= -40
    assert sparse["round"]["messages_up"] == 3
    assert 3 < sparse["bytes_up_per_parameter"] < 3.3
    assert sparse["seconds_round_hospital"] > 0
    assert (sparse["homomorphic"], sparse["warnings"]) == (None, [])


def test_a_plan_for_a_small_consortium_has_all_mask_with_all(secagg):
    complete, *_ = secagg("plan", "--hospitals", "4", "--parameters", "10", "--dropout", "0", "--json").json["ways"]
    assert complete["chosen"]


def test_a_plan_for_masks_does_not_wait_for_tenseal():
    arguments = [*LARGE, "--scheme", "mask", "--json"]
    code = f"import sys; from cli.main import run; assert run({arguments}) == 0; print('tenseal' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True, timeout=100)
    assert process.stdout.splitlines()[-1] == "False"


def test_noise_that_comes_off_takes_shares_and_a_tag_for_each_level(secagg):
    small = ("plan", "--hospitals", "40", "--parameters", "10", "--dropout", "0", "--scheme", "mask")
    (plain, *_), (noisy, *_) = (
        secagg(*small, *levels, "--json").json["ways"]
        for levels in ((), ("--noise-level", "40", "--noise-level", "35"))
    )
    assert noisy["set_up"]["bytes_up"] - plain["set_up"]["bytes_up"] == pytest.approx(39 * 2 * 64 * 10, rel=0.05)
    assert noisy["round"]["bytes_up"] - plain["round"]["bytes_up"] == pytest.approx(40 * 2 * 32 + 2 * 8, abs=8)
    shown = secagg(*small, "--noise-level", "40").shown
    assert "Surplus noise is removed under mask only, where all mask with all." in shown


@pytest.mark.parametrize("more", [("--scheme", "mask"), ("--epsilon", 8, "--patients", 700)])
def test_levels_at_which_no_noise_could_come_off_are_refused(secagg, more):
    outcome = secagg("plan", "--hospitals", "40", "--parameters", "10", *more, "--noise-level", "20", "--json")
    assert outcome.error["reason"] == "noise-levels-contradict"


def test_among_neighbours_no_noise_comes_off_and_nothing_is_paid_for_it(secagg):
    among = ("plan", "--hospitals", "40", "--parameters", "10", "--dropout", "0", "--scheme", "mask", "--json")
    (_, plain), (_, noisy) = (secagg(*among, *levels).json["ways"] for levels in ((), ("--noise-level", "40")))
    assert (noisy["set_up"], noisy["round"]) == (plain["set_up"], plain["round"])


# --- Schemes -------------------------------------------------------------------------------------------------


def test_without_a_word_on_it_all_schemes_stand_side_by_side_with_who_sees_what(secagg):
    outcome = secagg(*LARGE)
    assert cells(outcome, "coordinator sees") == ["the sum", "the sum", "no sum", "no sum", "no sum"]
    assert cells(outcome, "with one hospital") == ["the sum", "the sum", "the sum", "updates", "updates"]
    assert cells(outcome, "chosen by default") == ["", "yes", "if asked", "if asked", "if asked"]
    assert cells(outcome, "masks with") == ["199", "86", "199", "-", "-"]
    assert "Over several rounds the two can learn one hospital's update if they forge a sum;" in outcome.shown
    assert "bfv, ckks: all hospitals share one key." in outcome.shown
    assert "every hospital exchanges keys with every other, here 39,800 messages" in outcome.shown


@pytest.mark.parametrize(("hospitals", "colluding"), [(3, 0), (3, 1), (40, 0), (101, 1), (1000, 0)])
def test_a_plan_of_any_size_is_readable_at_eighty_columns(secagg, hospitals, colluding):
    arguments = ["--hospitals", hospitals, "--parameters", 100_000_000, "--colluding", colluding, "--dropout", 0]
    outcome = secagg("plan", *arguments)
    assert max(len(line) for line in outcome.out.splitlines()) <= 80
    assert "…" not in outcome.out
    # Every name of a row is whole, and stands on a line of its own.
    named = ("of these needed", "chance of lost round", "coordinator memory", "coordinator disk", "holders of shares")
    for name in named:
        assert len(cells(outcome, name)) == (4 if hospitals == 3 else 5)


def test_in_a_narrow_window_the_table_is_wider_than_that_and_every_figure_is_whole(secagg, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    outcome = secagg("plan", "--hospitals", 8, "--parameters", 100_000_000, "--field-bits", 24)
    assert "…" not in outcome.out
    assert re.findall(r"per parameter\W+([\d.]+)", outcome.out) == ["3.00", "3.00"]
    assert all(f" {figure} " in outcome.out for figure in ("3.75", "7.50", "updates", "never"))


def test_up_to_a_hundred_hospitals_nothing_is_said_of_keys_with_every_other(secagg):
    assert "exchanges keys" not in secagg("plan", "--hospitals", 100, "--parameters", 10).shown


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_that_is_asked_for_stands_alone(secagg, scheme):
    ways = secagg("plan", "--hospitals", 40, "--parameters", 1000, "--scheme", scheme, "--json").json["ways"]
    assert {one["scheme"] for one in ways} == {scheme}
    assert [one["graph"] for one in ways] == (["complete", "sparse"] if scheme == "mask" else ["complete"])


def test_a_plan_as_json_says_what_each_scheme_costs_and_who_sees_what(secagg):
    ways = secagg("plan", "--hospitals", 100, "--parameters", 1_000_000, "--field-bits", 23, "--json").json["ways"]
    found = {one["scheme"]: one for one in ways if one["graph"] == "complete"}
    assert list(found) == SCHEMES
    for scheme, sees, with_one, messages in (
        ("mask", "sum", "sum", 3),
        ("double-lock", "nothing", "sum", 3),
        ("bfv", "nothing", "updates", 1),
        ("ckks", "nothing", "updates", 1),
    ):
        one = found[scheme]
        assert (one["coordinator_sees"], one["coordinator_with_one_hospital_sees"]) == (sees, with_one)
        assert one["round"]["messages_up"] == messages
        assert [warning["code"] for warning in one["warnings"]] == (["shared-key"] if with_one == "updates" else [])
        assert min(one["seconds_set_up"], one["seconds_round_hospital"], one["seconds_round_coordinator"]) > 0
    for scheme in ("double-lock", "bfv"):
        assert found[scheme]["homomorphic"] == "n8192-q60"
        assert 3.7 < found[scheme]["bytes_up_per_parameter"] < 4
        assert 7.5 < found[scheme]["bytes_down_per_parameter"] < 8


def test_where_nobody_may_collude_nothing_is_promised_of_a_coordinator_with_a_hospital(secagg):
    arguments = ["plan", "--hospitals", 10, "--parameters", 10, "--colluding", 0]
    found = {
        one["scheme"]: one["coordinator_with_one_hospital_sees"] for one in secagg(*arguments, "--json").json["ways"]
    }
    assert found == {"mask": None, "double-lock": None, "bfv": "updates", "ckks": "updates"}
    outcome = secagg(*arguments, "--scheme", "double-lock")
    assert cells(outcome, "with one hospital") == ["no"]
    assert "forge" not in outcome.shown


def test_a_scheme_whose_messages_would_be_too_large_is_left_out_or_refused_if_asked_for(secagg):
    # Two numbers go into a coefficient of bfv, of one bit more than one of ckks.
    arguments = ["plan", "--hospitals", 100, "--parameters", 400_000_000]
    outcome = secagg(*arguments, "--field-bits", 25)
    assert "ckks is left out. 400000001 numbers of 25 bits are too many for one message" in outcome.shown
    assert len(cells(outcome, "coordinator sees")) == 4
    assert "no encrypted scheme for this many parameters with --server momentum or adam" in outcome.shown
    secagg(*arguments, "--scheme", "ckks", "--field-bits", 25).failed(2, "too-large", "a smaller model")


# --- What is recommended -------------------------------------------------------------------------------------

UNLINKED = ("plan", "--hospitals", 4, "--parameters", 10_000, "--dropout", 0)
FOUR = (*UNLINKED, "--link", "16/2mbit")
PRIVATE = ("--epsilon", 8, "--patients", 700)


def test_each_choice_is_told_with_its_reason_and_what_else_there_is(secagg):
    shown = secagg(*FOUR, *PRIVATE).shown
    for text in (
        "scheme mask The coordinator sees the sum",
        "threshold 3 of 4 The smallest that is safe",
        "field width 24 bits",
        "epoch a key set-up every",
        "noise distributed, multiplier",
        "Instead: double-lock:",
        "local: 1.7 times the noise",
        "A round takes about",
    ):
        assert text in shown


def test_what_is_recommended_as_json_holds_options_and_times(secagg):
    found = secagg(*FOUR, *PRIVATE, "--json").json["recommendation"]
    assert [choice["what"] for choice in found["choices"]] == ["scheme", "threshold", "field width", "epoch", "noise"]
    assert all(choice["why"] for choice in found["choices"])
    options = dict(zip(found["options"][::2], found["options"][1::2], strict=True))
    assert (options["--dp"], options["--epsilon"], options["--batch-size"]) == ("distributed", "8", "70")
    assert sum(found["round_time"].values()) == pytest.approx(found["seconds_round"])
    # 30 kB down at 16 Mbit/s and up at 2, and three answers over 40 ms.
    assert found["round_time"]["transfer"] == pytest.approx(8 * 30_300 / 16e6 + 8 * 30_500 / 2e6 + 0.12, rel=0.02)
    assert (found["fits"], found["parameters_that_fit"]) == (None, None)


def test_a_delta_of_one_over_the_patients_or_more_is_warned_of(secagg):
    asked = (*FOUR, "--epsilon", 3, "--patients", 120, "--sampling-rate", 1, "--delta", 0.009)
    assert "Warning: Delta is 0.009, and with 120 patients in training" in secagg(*asked).err
    (warning,) = secagg(*asked, "--json").json["recommendation"]["warnings"]
    assert warning["code"] == "delta-too-large"


def test_control_of_a_delta_that_is_recommended_nobody_is_warned(secagg):
    outcome = secagg(*FOUR, *PRIVATE)
    assert outcome.err == ""
    assert secagg(*FOUR, *PRIVATE, "--json").json["recommendation"]["warnings"] == []


def pasted(planned) -> list[str]:
    """The words of the command that a plan prints, without members."""
    lines = planned.out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("secagg charter new"))
    end = next(index for index, line in enumerate(lines) if index > start and not line.endswith("\\"))
    command = " ".join(line.removesuffix("\\") for line in lines[start : end + 1])
    return shlex.split(command.replace("TASK.toml", "task.toml").replace("--member NAME=KEY ...", ""))[1:]


@pytest.mark.parametrize("more", [PRIVATE, ("--coordinator-sees", "nothing"), ()], ids=["private", "hidden", "plain"])
def test_the_command_that_is_printed_makes_a_charter_when_it_is_pasted(secagg, here, members, more):
    model = secagg("charter", "new", "other", "--task", "task.toml", *members, "--json").json["content"]["model"]
    planned = secagg("plan", "--hospitals", 3, "--parameters", model["parameters"], "--dropout", 0, *more)
    made = secagg(*pasted(planned), *members, "--json").json["content"]
    assert made["scheme"] == ("double-lock" if "nothing" in more else "mask")
    assert made["privacy"]["mode"] == ("distributed" if more is PRIVATE else "none")
    assert made["threshold"] == 3
    if more is PRIVATE:
        assert f"multiplier {made['privacy']['noise_multiplier']:g}" in planned.shown


@pytest.mark.parametrize(
    ("more", "section", "expected"),
    [
        # Weights of 1,024, the usual ones, have no room there.
        (("--field-bits", 16), "encoding", {"field_bits": 16, "max_weight": 819}),
        # The most that a charter holds, to two digits.
        (("--epsilon", 3, "--patients", 10 * MOST_RECORDS), "training", {"batch_size": 1_000_000}),
    ],
    ids=["narrow", "many"],
)
def test_a_command_at_the_edge_of_what_a_charter_holds_makes_one_too(secagg, here, more, section, expected):
    keys = [base64.b64encode(identity.public_key).decode() for identity in make_identities(40)]
    members = [part for index, key in enumerate(keys) for part in ("--member", f"h{index}={key}")]
    planned = secagg("plan", "--hospitals", 40, "--parameters", 3, *more)
    made = secagg(*pasted(planned), *members, "--json").json["content"][section]
    assert {name: made[name] for name in expected} == expected


def test_a_round_that_is_longer_than_asked_for_says_how_many_parameters_would_fit(secagg):
    arguments = ("plan", "--hospitals", 5, "--parameters", 1_000_000, "--link", "2mbit", "--round-seconds", 10)
    found = secagg(*arguments, "--json").json["recommendation"]
    assert found["fits"] is False
    assert 100_000 < found["parameters_that_fit"] < 1_000_000
    assert "Longer than you asked for" in secagg(*arguments).shown
    again = ("plan", "--hospitals", 5, "--parameters", 100_000, "--link", "2mbit", "--round-seconds", 10)
    assert secagg(*again, "--json").json["recommendation"]["fits"] is True


def test_where_one_scheme_is_asked_for_nothing_is_recommended(secagg):
    outcome = secagg(*UNLINKED, "--scheme", "mask", "--json")
    assert outcome.json["recommendation"] is None
    assert "Recommended" not in secagg(*UNLINKED, "--scheme", "mask").shown


FORTY = ("plan", "--hospitals", 40, "--parameters", 15_000, "--epoch-rounds", 20, "--epsilon", 3, "--patients", 4708)


@pytest.mark.parametrize("seen", ["sum", "nothing"])
def test_what_mask_costs_beside_a_recommendation_is_with_the_noise_levels_that_its_charter_would_have(secagg, seen):
    mask, *_ = secagg(*FORTY, "--coordinator-sees", seen, "--field-bits", 32, "--json").json["ways"]
    shape = Shape(40, 21, 4, 15_001, 32, 20, None, noise_levels=(36,))
    assert msgspec.convert(mask["set_up"], Traffic) == set_up_traffic(shape)
    assert msgspec.convert(mask["round"], Traffic) == round_traffic(shape)


def test_noise_levels_that_were_given_are_those_of_the_command_and_of_the_table(secagg):
    planned = secagg(*FORTY, "--noise-level", 40, "--noise-level", 36, "--json").json
    options = planned["recommendation"]["options"]
    assert options[options.index("--noise-levels") + 1] == "40,36"
    fewer = secagg(*FORTY, "--json").json["ways"][0]["set_up"]["bytes_up"]
    assert planned["ways"][0]["set_up"]["bytes_up"] > fewer


# --- Refusals ------------------------------------------------------------------------------------------------


def test_a_plan_that_leaves_fewer_than_the_threshold_is_refused_with_a_remedy(secagg):
    outcome = secagg("plan", "--hospitals", "40", "--parameters", "10", "--dropout", "0.9")
    assert outcome.code == 2
    assert "too-many-dropped" in outcome.err
    assert "a share of at most 0.47" in outcome.err


def test_a_plan_needs_to_know_how_many(secagg):
    assert secagg("plan", "--hospitals", "2", "--parameters", "10").code == 2
    assert secagg("plan").code == 2
    assert secagg("plan", "--hospitals", "9", "--parameters", "10", "--scheme", "rot13").code == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--link", "fast"), "not a speed such as 100mbit"),
        (("--link", "0mbit"), "not a speed such as 100mbit"),
        (("--latency", "-1"), "--latency"),
        (("--epsilon", "3"), "give --patients too"),
        (("--patients", "300"), "give --epsilon too"),
        (("--delta", "1e-6"), "give --epsilon too"),
        (("--sampling-rate", "0.2"), "give --epsilon too"),
        (("--round-seconds", "0"), "--round-seconds"),
    ],
)
def test_wishes_that_mean_nothing_are_refused_with_the_option_that_is_wrong(secagg, given, told):
    outcome = secagg(*FOUR, *given)
    assert outcome.code == 2
    assert told in outcome.err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--link", "1mbit"),
        ("--coordinator-link", "1mbit"),
        ("--latency", 9),
        ("--round-seconds", 60),
        ("--coordinator-sees", "nothing"),
        ("--rounds", 9),
        ("--epsilon", 3),
        ("--patients", 700),
    ],
)
def test_what_only_a_recommendation_reads_is_refused_where_one_scheme_is_asked_for(secagg, option, value):
    outcome = secagg(*UNLINKED, "--scheme", "mask", option, value)
    outcome.failed(UNUSABLE, "usage", f"{option} has no effect without --scheme all:")


def test_noise_does_not_come_off_under_a_scheme_that_has_none(secagg):
    outcome = secagg(*UNLINKED, "--scheme", "bfv", "--noise-level", 4)
    outcome.failed(UNUSABLE, "usage", "--noise-level has no effect without --scheme all or --scheme mask:")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), "Without a privacy budget there is no noise"),
        ((*PRIVATE, "--coordinator-sees", "nothing"), "Nobody can remove noise under double-lock"),
    ],
    ids=["no budget", "no sum"],
)
def test_noise_levels_where_nobody_removes_noise_are_refused(secagg, more, told):
    outcome = secagg(*FOUR, *more, "--noise-level", 4)
    outcome.failed(UNUSABLE, "noise-levels-contradict", told, "Leave --noise-level out")


def test_a_budget_that_no_noise_keeps_is_refused(secagg):
    outcome = secagg(*FOUR, "--epsilon", "0.001", "--patients", 700, "--rounds", 1000, "--json")
    assert outcome.code == 2
    assert outcome.error["reason"] == "bad-variance"


def test_a_step_without_a_patient_is_refused(secagg):
    outcome = secagg(*FOUR, "--epsilon", 3, "--patients", 4, "--json")
    assert outcome.error["reason"] == "batch-too-small"


def test_a_step_of_more_patients_than_a_charter_holds_is_refused(secagg):
    outcome = secagg(*FOUR, "--epsilon", 3, "--patients", 11_000_000, "--json")
    assert outcome.error["reason"] == "batch-too-large"

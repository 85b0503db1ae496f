"""Every number in a report equals the one that an independent script computes from the exported files."""

from __future__ import annotations

import json
import re

import pytest

from cli.main import run
from dp.accounting.orders import ORDERS
from dp.stated import no_less, no_more
from tests.cli import recount
from tests.cli.reporting import MEMBERS


@pytest.fixture(scope="module")
def made(consortium, tmp_path_factory):
    """The consortium's report of the finished run, and one officer's: as JSON, as the page, and as text of the JSON."""
    out = tmp_path_factory.mktemp("reports")
    place = consortium / "run"
    common = ["--charter", place / "charter", "--release", place / "release"]
    common += ["--transcript", place / "coordinator/transcript"]
    homes = {"all": [place / "hospitals" / member for member in MEMBERS], "h1": [place / "hospitals/h1"]}
    for name, folders in homes.items():
        arguments = ["audit", "report", *folders, *common, "--out", out / f"{name}.html"]
        assert run([str(argument) for argument in arguments]) == 0
    texts = {name: (out / f"{name}.json").read_text() for name in homes}
    return {name: (json.loads(texts[name]), (out / f"{name}.html").read_text(), texts[name]) for name in homes}


reports = pytest.mark.parametrize("which", ["all", "h1"])


@reports
def test_what_left_is_what_the_logs_say(made, which):
    document, _, _ = made[which]
    for site, signed in zip(document["report"]["sites"], document["records"]["sites"], strict=True):
        expected, found = recount.egress(signed["evidence"]["egress"]), site["egress"]
        assert {name: found[name] for name in ("messages", "bytes", "sums")} == {
            name: expected[name] for name in ("messages", "bytes", "sums")
        }
        assert {row["stage"]: (row["messages"], row["bytes"]) for row in found["stages"]} == expected["stages"]
        assert {row["day"]: (row["messages"], row["bytes"]) for row in found["days"]} == expected["days"]
        for row in found["rounds"]:
            assert (row["messages"], row["bytes"], row["took"]) == expected["rounds"].pop(
                (row["charter"], row["round"])
            )
        assert expected["rounds"] == {}


@reports
def test_every_epsilon_is_what_the_ledgers_charges_cost(made, which):
    document, _, _ = made[which]
    run, orders = document["report"]["charter"]["digest"], [float(order) for order in ORDERS]
    for site, signed in zip(document["report"]["sites"], document["records"]["sites"], strict=True):
        (data_set,) = site["data_sets"]
        charges = recount.charged(signed["evidence"]["ledger"], run)
        assert len({noise for _, noise in charges}) == 1
        noise, delta = charges[0][1], data_set["delta"]
        total = recount.epsilon(sum(steps for steps, _ in charges), noise, delta, orders)
        assert data_set["spent"] == pytest.approx(total, rel=1e-9)
        (entry,) = data_set["runs"]
        assert (entry["epsilon"], entry["rounds"]) == (pytest.approx(total, rel=1e-9), len(charges))
        course = [
            recount.epsilon(sum(steps for steps, _ in charges[:count]), noise, delta, orders)
            for count in range(1, len(charges) + 1)
        ]
        assert [point["epsilon"] for point in data_set["course"]] == pytest.approx(course, rel=1e-9)
        reserved = 2
        assert data_set["another"]["alone"] == pytest.approx(recount.epsilon(reserved, noise, delta, orders), rel=1e-9)
        both = recount.epsilon(reserved + len(charges), noise, delta, orders)
        assert data_set["another"]["total"] == pytest.approx(both, rel=1e-9)
        if data_set["limit"] is not None:
            assert data_set["left"] == pytest.approx(data_set["limit"] - total, rel=1e-6)
            assert data_set["share"] == pytest.approx(total / data_set["limit"])
            assert data_set["another"]["allowed"] is (both <= data_set["limit"])


@reports
def test_who_took_part_is_what_every_hospital_says_that_it_took_and_sent(made, which):
    document, _, _ = made[which]
    rounds = {row["round"]: row for row in document["report"]["transcript"]["rounds"]}
    for signed in document["records"]["sites"]:
        evidence = signed["evidence"]
        entries = [item["entry"] for item in evidence["egress"]["shown"]]
        masked = {entry["round"] for entry in entries if entry["stage"] == "MASKED"}
        assert masked == {number for number, row in rounds.items() if evidence["member"] in row["took_part"]}
        took = {entry["round"]: entry["sha256"] for entry in entries if entry["direction"] == "took"}
        assert took == {number: row["sum_sha256"] for number, row in rounds.items()}
    assert [row["missing"] for row in rounds.values()] == [["h2"], []]


@reports
def test_the_release_is_what_its_statement_says(made, which):
    document, _, _ = made[which]
    found = document["report"]["release"]
    stated = recount.statement(document["records"], "statement")
    predicate = stated["predicate"]
    assert found["model_sha256"] == stated["subject"][0]["digest"]["sha256"]
    assert found["contributors"] == {entry["name"]: entry["sums"] for entry in predicate["contributors"]}
    assert (found["sums"], found["rounds"]) == (predicate["sums"], predicate["rounds"]) == (2, 2)
    assert (found["epsilon"], found["delta"]) == (predicate["privacy"]["epsilon"], predicate["privacy"]["delta"])
    guarantee = document["report"]["guarantee"]
    ledger = document["records"]["sites"][0]["evidence"]["ledger"]
    noise = recount.charged(ledger, document["report"]["charter"]["digest"])
    orders = [float(order) for order in ORDERS]
    assert guarantee["epsilon"] == pytest.approx(recount.epsilon(2, noise[0][1], found["delta"], orders), rel=1e-9)


@reports
def test_roots_and_checkpoints_are_those_of_the_entries(made, which):
    document = recount.as_written(made[which][2])
    stated = recount.statement(document["records"], "checkpoints")["predicate"]["sites"]
    noted = {site["name"]: site for site in stated}
    assert document["report"]["release"]["checkpoints"] == len(noted) == len(MEMBERS)
    assert document["report"]["release"]["cosigned_by"] == list(MEMBERS)
    for signed in document["records"]["sites"]:
        evidence = signed["evidence"]
        for log in ("ledger", "egress"):
            assert recount.root(evidence[log]) == evidence[log]["checkpoint"]["root"]
            place = noted[evidence["member"]][log]
            assert recount.root(evidence[log], place["entries"]) == place["root"]


def test_the_page_says_the_same_numbers(made):
    document, page, _ = made["h1"]
    (site,) = document["report"]["sites"]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for row in site["egress"]["stages"]:
        assert f"{row['stage']} {row['holds'].replace(chr(39), '&#39;')} {row['messages']:,} {row['bytes']:,}" in text
    assert f"All {site['egress']['messages']:,} {site['egress']['bytes']:,}" in text
    (data_set,) = site["data_sets"]
    spent, left = no_less(data_set["spent"], 2), no_more(data_set["left"], 2)
    assert f"{spent} spent or reserved {left} left of {data_set['limit']:g}" in text
    for item in document["records"]["sites"][0]["evidence"]["egress"]["shown"]:
        assert item["entry"]["sha256"] in page
    for row in document["report"]["transcript"]["rounds"]:
        assert row["sum_sha256"] in page
    for check in document["report"]["checks"]:
        assert check["detail"].replace("'", "&#39;") in page


def test_what_is_shown_to_others_holds_no_count_of_patients_and_no_budget(made):
    document, page, _ = made["all"]
    for signed in document["records"]["sites"]:
        evidence = signed["evidence"]
        assert evidence["limit"] is None
        assert {group["patients"] for group in evidence["groups"]} == {None}
    for site in document["report"]["sites"]:
        assert {(data_set["patients"], data_set["limit"]) for data_set in site["data_sets"]} == {(None, None)}
    assert "14 patients" not in page
    (own,) = made["h1"][0]["report"]["sites"]
    assert own["data_sets"][0]["patients"] == 14

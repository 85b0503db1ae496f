"""`secagg audit report`: what it says, what it is written as, and what it does not say."""

from __future__ import annotations

import json
import os
import re
import stat
from html import unescape
from html.parser import HTMLParser

import msgspec
import pytest
from msgspec.structs import replace

from cli.main import run
from dp.events import GaussianEvent
from dp.ledger import Cost, PatientList
from dp.ledger.patients import keep_patients
from secagg.charter.folder import read_charter, read_verified
from secagg.latch import Latch
from tests.cli.conftest import SHORT
from tests.cli.outcome import TAMPERING, UNUSABLE, nothing_written
from tests.cli.reporting import MEMBERS, alter_body, hiding, reasons, rewrite, site_report, with_other_entries
from tests.support.log_rows import overwrite, rows
from training.auditing.record import PrivacyRecord
from training.privacy_plan import privacy_plan
from training.reporting.document import ReportDocument
from training.reporting.versions import Versions

QUESTIONS = ("wrong", "budget", "egress", "guarantee", "audit", "rounds", "refusals", "integrity", "rules", "versions")
BOUND = {"canaries": 100, "guesses": 50, "right": 30, "epsilon": 1.0}


class Page(HTMLParser):
    """Which elements there are, and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


def test_a_report_whose_name_is_no_text_is_written_and_repeated(secagg, finished, tmp_path):
    page, charter = tmp_path / os.fsdecode(b"r\xff.html"), ("--charter", finished / "charter")
    assert secagg("audit", "report", finished / "hospitals/h1", *charter, "--out", page, "--json").code == 0
    assert secagg("audit", "report", "--verify", page.with_suffix(".json"), *charter, "--json").code == 0


@pytest.fixture(scope="module")
def written(consortium, tmp_path_factory):
    """Where the reports of a finished run are: of the officer of h1, and of all."""
    out, place = tmp_path_factory.mktemp("reports"), consortium / "run"
    charter = read_charter(place / "charter")
    claim = privacy_plan(charter).epsilon_after(charter.training.rounds)
    audit = {"lacks": None, "claim": claim, "delta": 1e-5, "confidence": 0.95, "within_claim": True}
    audit |= {"runs": [BOUND, BOUND], "together": BOUND, "most": 9.0}
    made = {"passed": True, "mode": "local", "audit": audit, "controls": {}}
    made["charter"] = charter.digest().hex()
    (out / "audit.json").write_text(json.dumps(made))
    common = ["--charter", place / "charter", "--release", place / "release", "--audit", out / "audit.json"]
    common += ["--transcript", place / "coordinator/transcript"]
    for name, homes in (("h1", ["h1"]), ("all", MEMBERS)):
        folders = [place / "hospitals" / home for home in homes]
        assert run(["audit", "report", *map(str, [*folders, *common, "--out", out / f"{name}.html"])]) == 0
    return out


pages = pytest.mark.parametrize("name", ["h1", "all"])


@pages
def test_a_page_answers_in_the_order_in_which_it_is_asked(written, name):
    page = Page((written / f"{name}.html").read_text())
    assert tuple(section["id"] for section in page.all("section")) == QUESTIONS
    links = [link["href"] for link in page.all("a")]
    # The first skips to the content.
    assert links[1 : 1 + len(QUESTIONS)] == [f"#{question}" for question in QUESTIONS]


@pages
def test_a_page_loads_nothing_from_anywhere_and_runs_nothing(written, name):
    text = (written / f"{name}.html").read_text()
    page = Page(text)
    assert page.all("script", "iframe", "object", "embed", "img", "audio", "video", "form") == []
    attributes = [item for _, found in page.tags for item in found.items()]
    places = {value for key, value in attributes if key in ("href", "src", "action")}
    assert {place for place in places if not place.startswith("#")} == {"data:,"}
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = [tag["content"] for tag in page.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert not any(key.startswith("on") for key, _ in attributes)


@pages
def test_a_page_can_be_read_without_seeing_it(written, name):
    page = Page((written / f"{name}.html").read_text())
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("nav")) == 1
    assert all(drawing.get("role") == "img" for drawing in page.all("svg"))
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    identifiers = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(set(identifiers)) == len(identifiers)


@pages
def test_on_a_telephone_a_tables_title_stays_and_epsilon_is_beside_the_name(written, name):
    text = (written / f"{name}.html").read_text()
    assert "<caption" not in text
    section = text[text.index('id="budget"') : text.index('id="egress"')]
    title = {"h1": "Runs on this data set, by charter", "all": "Cost of this training, by hospital"}[name]
    above, below = section.split(f'<p class="caption">{title}</p>')
    assert '<div class="scroll' not in above
    assert re.findall(r'<th scope="col"[^>]*>([^<]*)<', below)[1] == "Epsilon"


@pages
def test_nothing_claims_that_a_rule_is_met_or_that_there_is_no_risk(written, name):
    for text in ((written / f"{name}.html").read_text(), (written / f"{name}.json").read_text()):
        assert not re.search(r"compliant|zero.risk|no risk|guarantees? compliance", text, re.IGNORECASE)
    assert "not legal advice" in (written / f"{name}.html").read_text()


@pages
def test_what_is_written_is_for_its_owner_only(written, name):
    for suffix in ("html", "json"):
        assert stat.S_IMODE((written / f"{name}.{suffix}").stat().st_mode) == 0o600


def test_the_audit_is_shown_beside_the_claim(written):
    page = (written / "h1.html").read_text()
    assert "epsilon is at least 1.00" in page
    assert "claimed: 8.00" in page
    notices = json.loads((written / "h1.json").read_text())["report"]["notices"]
    assert [notice["code"] for notice in notices] == ["budget-alert"]


@pytest.fixture
def with_audit(secagg, finished, written, tmp_path):
    """The report of h1 with an audit that is changed in some places."""

    def report(**changes):
        found = json.loads((written / "audit.json").read_text())
        for place, value in changes.items():
            (found if place in found else found["audit"])[place] = value
        (tmp_path / "audit.json").write_text(
            json.dumps({key: value for key, value in found.items() if value is not None})
        )
        given = ("--audit", tmp_path / "audit.json", "--out", tmp_path / "r.html", "--json")
        outcome = secagg("audit", "report", finished / "hospitals/h1", "--charter", finished / "charter", *given)
        return outcome.code, json.loads(outcome.out)["report"]

    return report


FORGED = "A hospital that helps the coordinator to forge a sum can get at one update over several rounds: "


def test_beside_what_did_not_leave_it_says_whether_a_forged_sum_was_looked_for(written, secagg, finished, tmp_path):
    for name, whose in (("h1", "this hospital's log"), ("all", "one or more of the logs of 4 hospitals")):
        told = f"{FORGED}none did, by {whose}: all 2 sums in the transcript are there, and each is the true one."
        assert told in unescape((written / f"{name}.html").read_text())
    given = ("--charter", finished / "charter", "--out", tmp_path / "r.html")
    assert secagg("audit", "report", finished / "hospitals/h1", *given).code == 0
    assert f"{FORGED}whether one did was not checked here" in unescape((tmp_path / "r.html").read_text())


HIDDEN = {
    "every sum": (lambda entry: entry.took_sum, "whether one did was not checked here", "no hospital's log was there"),
    "one sum": (
        lambda entry: entry.took_sum and entry.round == 2,
        "none did in the 1 of 2 sums in the transcript that are in the log of 1 hospital",
        "all 2 sums recomputed; of 1 of them the log of 1 hospital says the same",
    ),
}


@pytest.mark.parametrize(("hidden", "told", "checked"), HIDDEN.values(), ids=HIDDEN)
def test_of_sums_that_a_hospital_hides_it_is_not_said_that_they_are_the_true_ones(
    secagg, finished, tmp_path, hidden, told, checked
):
    exported = hiding(finished, tmp_path, "h1", hidden)
    given = ("--charter", finished / "charter", "--transcript", finished / "coordinator/transcript")
    assert secagg("audit", "report", exported, *given, "--out", tmp_path / "r.html").code == 0
    page = unescape((tmp_path / "r.html").read_text())
    assert f"{FORGED}{told}" in page
    assert checked in page


def with_nothing(entry):
    return msgspec.structs.replace(entry, cost=Cost())


def with_nothing_but_noiseless_rounds(entry):
    (event,) = entry.cost.training or (GaussianEvent(1.0, 1.0, 0),)
    return msgspec.structs.replace(entry, cost=Cost((msgspec.structs.replace(event, noise_multiplier=0.0),)))


LEDGERS = {
    "undercharged-round": (with_nothing, "h2's ledger has rounds that were charged with less"),
    "no-finite-epsilon": (with_nothing_but_noiseless_rounds, "By h2's ledger there was next to no noise"),
}


@pytest.mark.parametrize(("code", "ledger"), LEDGERS.items(), ids=LEDGERS)
def test_a_hospital_whose_ledger_says_what_rounds_do_not_cost_is_named_on_page_and_screen_and_in_json(
    secagg, finished, tmp_path, code, ledger
):
    change, told = ledger
    exports = [with_other_entries(finished, tmp_path, "h2", change), finished / "hospitals/h1"]
    given = ("--charter", finished / "charter", "--out", tmp_path / "r.html")
    outcome = secagg("audit", "report", *exports, *given)
    assert outcome.code == TAMPERING
    assert told in " ".join(outcome.out.split())
    assert f"[{code}]" in outcome.out
    page = unescape((tmp_path / "r.html").read_text())
    assert told in page
    report = json.loads((tmp_path / "r.json").read_text())["report"]
    assert [(finding["reason"], finding["culprit"]) for finding in report["findings"]] == [(code, "h2")]
    assert "<dd>8.00" in page
    verified = secagg("audit", "report", "--verify", tmp_path / "r.json", "--charter", finished / "charter")
    assert (verified.code, "follows from its records" in verified.out) == (TAMPERING, True)


def test_of_a_log_whose_only_sum_the_transcript_lacks_it_is_not_said_that_nothing_was_checked(
    secagg, finished, tmp_path
):
    exported = hiding(finished, tmp_path, "h1", lambda entry: entry.took_sum and entry.round == 1)
    rewrite(finished, 2)
    given = ("--charter", finished / "charter", "--transcript", finished / "coordinator/transcript")
    outcome = secagg("audit", "report", exported, *given, "--out", tmp_path / "r.html")
    assert "[missing-round]" in outcome.out
    page = unescape((tmp_path / "r.html").read_text())
    assert f"{FORGED}here something in the transcript does not fit" in page
    assert "whether one did was not checked here" not in page


OTHERS = {
    "another charter": {"charter": "0" * 64},
    "an earlier version, which named none": {"charter": None},
    "another mode": {"mode": "distributed"},
    "another delta": {"delta": 0.01},
}


def of_audit(report):
    (state,) = (check["state"] for check in report["checks"] if check["what"] == "Empirical audit")
    return state, "no-audit" in {notice["code"] for notice in report["notices"]}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_an_audit_of_other_terms_is_no_test_of_this_promise(with_audit, changes, tmp_path):
    code, report = with_audit(**changes)
    assert (code, of_audit(report)) == (0, ("absent", True))
    assert "not known to be of this charter" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("changes", [{"claim": 100.0, "most": 101.0}, {"claim": 2.0}], ids=["larger", "smaller"])
def test_an_audit_of_another_claim_is_none_of_this_charter_whatever_it_says(with_audit, changes):
    """With a larger one nothing would contradict it; a smaller one could be refuted by guesses that are too few."""
    code, report = with_audit(**changes)
    assert (code, [finding["reason"] for finding in report["findings"]]) == (TAMPERING, ["other-claim"])


def test_control_where_claims_are_not_compared_nothing_contradicts_one_of_100(with_audit, monkeypatch):
    monkeypatch.setattr(PrivacyRecord, "claims_as", lambda *_: True)
    code, report = with_audit(claim=100.0, most=101.0)
    assert (code, of_audit(report)) == (0, ("whole", False))


UNDRAWN = {"no run": {"runs": []}, "a bound below nothing": {"runs": [BOUND | {"epsilon": -1.0}], "claim": -1.0}}


@pytest.mark.parametrize("changes", UNDRAWN.values(), ids=UNDRAWN)
def test_what_no_audit_writes_is_none(secagg, finished, written, tmp_path, changes):
    found = json.loads((written / "audit.json").read_text())
    found["audit"] |= changes
    (tmp_path / "audit.json").write_text(json.dumps(found))
    given = ("--charter", finished / "charter", "--audit", tmp_path / "audit.json", "--out", tmp_path / "r.html")
    secagg("audit", "report", finished / "hospitals/h1", *given).failed(UNUSABLE, "not-an-audit")


def test_control_one_of_this_charters_terms_is(with_audit, tmp_path):
    code, report = with_audit()
    assert (code, of_audit(report)) == (0, ("whole", False))
    assert "not known to be of this charter" not in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("changes", [{}, OTHERS["another charter"]], ids=["this charter", "another"])
def test_an_audit_that_says_it_passed_with_more_than_was_claimed_has_failed(with_audit, changes):
    code, report = with_audit(together=BOUND | {"epsilon": 8.5}, **changes)
    assert (code, [finding["reason"] for finding in report["findings"]]) == (TAMPERING, ["audit-failed"])


def test_nor_has_one_passed_whose_control_was_not_caught(with_audit):
    audit = {"lacks": "noise", "claim": 2.0, "delta": 1e-5, "confidence": 0.95, "within_claim": False}
    controls = {"noise-off": audit | {"runs": [BOUND], "together": BOUND, "most": 2.8}}
    code, report = with_audit(controls=controls)
    assert (code, [finding["reason"] for finding in report["findings"]]) == (TAMPERING, ["audit-failed"])


def test_an_audit_that_failed_is_something_wrong(secagg, finished, written, tmp_path):
    found = json.loads((written / "audit.json").read_text())
    found["passed"] = False
    found["audit"]["within_claim"] = False
    found["audit"]["together"]["epsilon"] = 2.996
    found["audit"]["claim"] = 2.001
    (tmp_path / "audit.json").write_text(json.dumps(found))
    home, charter = finished / "hospitals/h1", finished / "charter"
    more = ("--audit", tmp_path / "audit.json", "--out", tmp_path / "r.html")
    outcome = secagg("audit", "report", home, "--charter", charter, *more)
    assert (outcome.code, "[audit-failed]" in outcome.out) == (TAMPERING, True)
    # Too little is told of the bound, too much of the claim, and never the other way round.
    assert "epsilon is at least 2.99, where 2.01 is claimed" in " ".join(outcome.out.split())
    assert "epsilon is at least 2.99. The claim is 2.01." in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(("limit", "remedy"), [(8, "No further run fits: "), (10, "Decide what the rest is to be ")])
def test_a_budget_that_is_used_up_leaves_nothing_to_decide_about(finished, limit, remedy):
    policy = finished / "hospitals/h1/policy.toml"
    policy.write_text(policy.read_text().replace("maximum_epsilon = 8.0", f"maximum_epsilon = {limit}.0"))
    (told,) = (notice.remedy for notice in site_report(finished).notices if notice.code == "budget-alert")
    assert told.startswith(remedy)


def test_what_was_not_given_is_said_not_to_be_known(secagg, finished, tmp_path):
    home, charter = finished / "hospitals/h1", finished / "charter"
    out = tmp_path / "r.html"
    found = secagg("audit", "report", home, "--charter", charter, "--out", out, "--json").json["report"]
    codes = {notice["code"] for notice in found["notices"]}
    assert codes == {"budget-alert", "no-release", "no-transcript", "no-audit"}
    assert (found["transcript"], found["release"], found["audit"]) == (None, None, None)
    absent = [check["what"] for check in found["checks"] if check["state"] == "absent"]
    assert absent == [
        "h1: ledger, since the run ended",
        "h1: egress log, since the run ended",
        "Checkpoints of all logs",
        "Release",
        "Transcript",
    ]


def test_hospitals_of_which_nothing_was_given_are_named_in_a_report_on_others(secagg, consortium, tmp_path):
    place = consortium / "run"
    for name in ("h1", "h3"):
        export = ("audit", "export", place / "hospitals" / name, "--charter", place / "charter")
        assert secagg(*export, "--out", tmp_path / f"{name}.json").code == 0
    given = ("--charter", place / "charter", "--release", place / "release", "--out", tmp_path / "r.html")
    outcome = secagg("audit", "report", tmp_path / "h1.json", tmp_path / "h3.json", *given)
    assert outcome.code == 0
    assert "No records of h2, h4 were given: nothing of theirs was checked." in " ".join(outcome.out.split())


def test_a_report_is_repeated_with_all_that_it_rests_on(secagg, consortium, written):
    place = consortium / "run"
    given = ("--release", place / "release", "--audit", written / "audit.json")
    given += ("--transcript", place / "coordinator/transcript")
    outcome = secagg("audit", "report", "--verify", written / "all.json", "--charter", place / "charter", *given)
    assert outcome.code == 0
    path, page = written / "all.json", written / "all.html"
    assert outcome.out.endswith(f"Yes: every figure in {path} follows from its records, and {page} says the same.\n")
    alone = secagg("audit", "report", "--verify", written / "all.json", "--charter", place / "charter")
    assert "Not checked again: the release, the transcript, the audit." in alone.out


@pages
def test_a_page_that_was_altered_is_not_that_of_the_report_beside_it(secagg, consortium, written, tmp_path, name):
    charter = ("--charter", consortium / "run/charter")
    # Whatever both are called.
    page, beside = tmp_path / "mailed.html", tmp_path / "mailed.json"
    beside.write_bytes((written / f"{name}.json").read_bytes())
    verify = ("audit", "report", "--verify", beside, *charter)
    assert "Not checked again: the page, the release" in secagg(*verify).out
    whole = (written / f"{name}.html").read_text()
    page.write_text(whole)
    assert secagg(*verify).code == 0
    for altered in (whole.replace("No: nothing was found", "No: Nothing was found"), whole + "<p>Trust me.</p>", ""):
        assert altered != whole
        page.write_text(altered)
        secagg(*verify).failed(TAMPERING, "page-differs", page)


@pages
def test_nor_is_the_page_of_another_version_called_altered(secagg, consortium, written, tmp_path, name):
    """Its template may be another."""
    page, beside = tmp_path / "old.html", tmp_path / "old.json"
    document = ReportDocument.from_json((written / f"{name}.json").read_bytes())
    earlier = Versions("3.11.0", {"secagg": "0.0.9"})
    report, records = replace(document.report, versions=earlier), replace(document.records, versions=earlier)
    beside.write_bytes(replace(document, report=report, records=records).to_json())
    page.write_text("<p>As it was then.</p>")
    verify = ("audit", "report", "--verify", beside, "--charter", consortium / "run/charter")
    secagg(*verify).failed(UNUSABLE, "other-version", page, "secagg 0.0.9 wrote that", "Verify it with that version")
    page.unlink()
    assert "Not checked again: the page, the release" in secagg(*verify).out


def test_the_name_of_a_report_that_was_sent_reaches_no_terminal_as_it_is(secagg, consortium, written, tmp_path):
    path = tmp_path / "r\x1b[2J.json"
    path.write_bytes((written / "h1.json").read_bytes())
    outcome = secagg("audit", "report", "--verify", path, "--charter", consortium / "run/charter")
    assert outcome.code == 0
    assert "r\ufffd[2J.json follows from its records" in outcome.out


def test_a_charter_of_another_run_repeats_nothing(secagg, consortium, written, simulate, here):
    assert simulate().code == 0
    outcome = secagg("audit", "report", "--verify", written / "h1.json", "--charter", here / "run/charter")
    outcome.failed(TAMPERING, "other-charter", "h1")


def test_a_run_without_privacy_is_said_to_have_none(secagg, simulate, here):
    assert simulate().code == 0
    outcome = secagg("audit", "report", "run/hospitals/h1", "--charter", "run/charter", "--release", "run/release")
    assert outcome.code == 0
    assert "[unprotected]" in outcome.out
    page = (here / "report.html").read_text()
    assert "<dd>no limit" in page
    assert "There is no differential privacy in this run" in page
    assert "not covered" in page


def test_what_is_exported_of_one_charter_hides_all_others_and_still_gives_the_roots(secagg, simulate, here):
    assert simulate().code == 0
    again = ("--task", "task.toml", "--data", "data", "--hospitals-at", "run/hospitals")
    assert secagg("simulate", *again, "--out", "second", *SHORT).code == 0
    for charter in ("run", "second"):
        signed = ("--charter", f"{charter}/charter")
        assert secagg("audit", "export", "run/hospitals/h1", *signed, "--out", f"{charter}.json").code == 0
        evidence = json.loads((here / f"{charter}.json").read_text())["evidence"]
        for log in ("ledger", "egress"):
            assert len(evidence[log]["hidden"]) > 0
            assert len(evidence[log]["hidden"]) + len(evidence[log]["shown"]) == evidence[log]["checkpoint"]["entries"]
        found = secagg("audit", "egress", f"{charter}.json", *signed, "--json").json
        assert [entry["rounds"] for entry in found["charters"]] == [2]
        assert found["entries"] == len(evidence["egress"]["shown"]) < found["length"]
        # Of the earlier run, what the later one sent follows in the log.
        whole = secagg("audit", "egress", "run/hospitals/h1", "--json").json
        assert found["head"] == (None if charter == "run" else whole["head"])
        release = ("--release", f"{charter}/release", "--out", f"{charter}-report.html")
        assert secagg("audit", "report", f"{charter}.json", "run/hospitals/h2", *signed, *release).code == 0


def test_a_data_set_without_entries_of_the_charter_is_not_named_in_what_is_exported_of_it(secagg, finished, here):
    patients = finished / "hospitals/h1/patients"
    (own,) = patients.iterdir()
    other = PatientList.of(PatientList.decode(own.read_bytes()).patients[:3])
    keep_patients(patients, other)
    export = ("audit", "export", finished / "hospitals/h1", "--charter", finished / "charter")
    assert secagg(*export, "--out", "h1.json").code == 0
    evidence = json.loads((here / "h1.json").read_text())["evidence"]
    assert evidence["groups"] == [{"data_sets": [own.stem], "patients": None}]
    assert other.data_set not in (here / "h1.json").read_text()
    own_report = site_report(finished).sites[0].data_sets
    assert [(found.data_set, found.patients) for found in own_report] == [(own.stem, 14)]


def test_a_hospital_that_was_given_a_forged_sum_reports_it(finished):
    evidence = next((finished / "hospitals/h1/runs").iterdir()) / "evidence/forged-sum.bin"
    evidence.parent.mkdir()
    evidence.write_bytes(b"forged")
    assert reasons(site_report(finished)) == {"forged-sum"}


def test_and_by_its_latch_where_the_sum_itself_found_no_room_or_was_removed(finished):
    with Latch(finished / "hospitals/h1/latch.sqlite") as latch:
        latch.record_stopped(read_verified(finished / "charter").digest)
    (finding,) = site_report(finished).findings
    assert finding.reason == "forged-sum"
    assert "is not in its folder" in finding.message


def test_places_that_make_no_report_are_refused(secagg, finished, tmp_path):
    charter = ("--charter", finished / "charter")
    home = finished / "hospitals/h1"
    secagg("audit", "report", *charter).failed(UNUSABLE, "usage", "exported")
    secagg("audit", "report", home, *charter, "--verify", "x.json").failed(UNUSABLE, "usage", "--verify takes no")
    secagg("audit", "report", home, home, *charter).failed(UNUSABLE, "duplicate-site", "h1")
    other = tmp_path / "x.json"
    other.write_text("{}")
    secagg("audit", "report", other, home, *charter).failed(UNUSABLE, "not-evidence", "secagg audit export")
    secagg("audit", "report", "--verify", other, *charter).failed(UNUSABLE, "not-a-report", "beside the page")
    secagg("audit", "report", home, *charter, "--audit", other).failed(UNUSABLE, "not-an-audit")
    secagg("audit", "egress", other).failed(UNUSABLE, "usage", "--charter")


def test_a_report_replaces_an_earlier_one_and_nothing_else(secagg, finished, tmp_path):
    home, charter = finished / "hospitals/h1", finished / "charter"
    assert secagg("audit", "export", home, "--charter", charter, "--out", tmp_path / "h1.json").code == 0
    (tmp_path / "mine.html").write_text("<title>Mine</title>")
    (tmp_path / "audit.json").write_text("{}")
    report = ("audit", "report", tmp_path / "h1.json", finished / "hospitals/h2", "--charter", charter)
    with nothing_written(tmp_path):
        for name, taken in (("h1.html", "h1.json"), ("mine.html", "mine.html"), ("audit.html", "audit.json")):
            secagg(*report, "--out", tmp_path / name).failed(UNUSABLE, "exists", tmp_path / taken, "--out")
    for _ in range(2):
        assert secagg(*report, "--out", tmp_path / "report.html").code == 0


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_name_that_is_none_is_told_as_that(secagg, finished, here, name):
    with nothing_written(here):
        outcome = secagg("audit", "report", finished / "hospitals/h1", "--charter", finished / "charter", "--out", name)
    outcome.failed(UNUSABLE, "usage", "--out")


@pytest.mark.parametrize("name", ["report.pdf", "report.json", "report.htm", "report.v2"])
def test_a_name_of_another_kind_of_file_is_refused_and_replaces_no_report(secagg, finished, tmp_path, name):
    report = ("audit", "report", finished / "hospitals/h1", "--charter", finished / "charter")
    assert secagg(*report, "--out", tmp_path / "report.html").code == 0
    with nothing_written(tmp_path):
        secagg(*report, "--out", tmp_path / name).failed(UNUSABLE, "usage", "--out", name, "does not end in .html")


def test_control_a_name_without_an_ending_gets_that_of_a_page(secagg, finished, tmp_path):
    report = ("audit", "report", finished / "hospitals/h1", "--charter", finished / "charter")
    assert secagg(*report, "--out", tmp_path / "mine").code == 0
    assert (tmp_path / "mine.html").exists()


def test_an_export_replaces_nothing(secagg, finished, tmp_path):
    home, charter = finished / "hospitals/h1", finished / "charter"
    arguments = ("audit", "export", home, "--charter", charter, "--out", tmp_path / "h1.json")
    assert secagg(*arguments).code == 0
    secagg(*arguments).failed(UNUSABLE, "exists", tmp_path / "h1.json")


def test_an_export_of_a_log_that_was_altered_says_that_none_is_shown(secagg, finished, tmp_path):
    home, charter = finished / "hospitals/h1", finished / "charter"
    overwrite(home / "egress.sqlite", alter_body(rows(home / "egress.sqlite"), 3))
    outcome = secagg("audit", "export", home, "--charter", charter, "--out", tmp_path / "h1.json")
    assert outcome.code == TAMPERING
    assert outcome.out.splitlines()[-1].endswith("egress log: none, as it was tampered with.")

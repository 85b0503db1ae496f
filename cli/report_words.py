"""What a report says in sentences, beyond its figures: answers to what officers ask, and what rules ask for.

Knows words. Every number in them is a fact of the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cli.output import size
from dp.ledger.entries import LEDGER
from dp.stated import exact, no_less, no_more
from secagg.charter.sections import ENCRYPTED_SCHEMES, MASKED_SCHEMES
from secagg.transcript.refusals import FORGED_SUM
from training.reporting.budget import DataSetFacts
from training.reporting.report import CharterFacts, Report

Figure = tuple[str, str, str]
"""A name, a value, and a line that explains it."""


def figures_of(report: Report) -> list[Figure]:
    """The four figures at the top."""
    return [_spent(report), _left_building(report), _took_part(report), _owners(report)]


def _spent(report: Report) -> Figure:
    shown = [data_set for site in report.sites for data_set in site.data_sets]
    # A budget is the site's word, and its own officer's business: in a report for others it would be one site's.
    limited = [(data_set, data_set.limit) for data_set in shown if data_set.limit and report.about == "site"]
    if report.guarantee.epsilon is None:
        return "Spent", "no limit", "this training has no differential privacy: no epsilon covers it"
    if limited:
        dearest, limit = max(limited, key=lambda one: one[0].spent)
        more = f"epsilon, of a budget of {exact(limit)}; {no_more(dearest.left or 0.0, 2)} is left"
        return "Spent or reserved", no_less(dearest.spent, 2), more
    # Others' trainings are not shown: what a data set's patients have spent, they have spent in this one.
    if not shown:
        return (
            "Spent in this training",
            no_less(report.guarantee.epsilon, 2),
            "epsilon, as promised: no ledger shows it",
        )
    most = max(data_set.spent for data_set in shown)
    return "Spent or reserved in this training", no_less(most, 2), "epsilon, the most that any hospital shows"


def _left_building(report: Report) -> Figure:
    egress = [site.egress for site in report.sites if site.egress]
    total, count = sum(each.bytes for each in egress), sum(each.messages for each in egress)
    whose = "" if report.about == "site" else f" of {len(egress)} hospitals"
    name = "Left the building" if report.about == "site" else "Left the buildings"
    return name, size(total), f"in {count:,} messages{whose}"


def _took_part(report: Report) -> Figure:
    members = len(report.charter.members)
    if report.transcript:
        rounds = [found for found in report.transcript.rounds if found.took_part]
        fewest = min((len(found.took_part) for found in rounds), default=0)
        return "Took part", f"{fewest} of {members}", f"hospitals, in the smallest of {len(rounds)} sums"
    if report.release:
        return "Took part", f"{len(report.release.contributors)} of {members}", "hospitals, by the release"
    return "Took part", "not known", "no transcript was given, and no release that can be relied on"


def _owners(report: Report) -> Figure:
    if report.release:
        return "The model belongs to", str(len(report.release.contributors)), "hospitals, by their signatures"
    return "The model", "not shown", "no release that can be relied on was given"


def answers_of(report: Report) -> list[tuple[str, str]]:
    """What is asked most, with its answer."""
    answers = [("May we train again?", _may_train(report)), ("What left on which day?", _by_day(report))]
    return [*answers, ("Whose model is it?", _whose(report))]


def another_run(data_set: DataSetFacts) -> str:
    """Whether one more run fits."""
    again = data_set.another
    if again is None:
        return ""
    told = (
        f"One more training like this one would cost {no_less(again.alone, 2)} by itself and bring the total to "
        f"{no_less(again.total, 2)}"
    )
    if again.allowed is None:
        return f"{told}."
    verdict = "the budget has room for it" if again.allowed else "the budget has no room for it"
    return f"{told}: {verdict}."


def _may_train(report: Report) -> str:
    sets = [data_set for site in report.sites for data_set in site.data_sets]
    if report.about != "site":
        return "Each hospital decides that by its own budget: see the report that its officer has."
    if any(finding.reason.startswith(f"{LEDGER.reason}-") for finding in report.findings):
        return "No: the ledger is not what was written, so that nobody knows what is left. See what is wrong, above."
    if not sets:
        return "Not known: the ledger holds no entry that a figure can be computed from, or could not be read."
    told = []
    if report.guarantee.epsilon is None:
        told.append("This training has no differential privacy, and the budget does not limit another one like it.")
    for data_set in sets:
        name = f"Data set {data_set.data_set[:16]}: " if len(sets) > 1 else ""
        if data_set.limit is None or data_set.left is None:
            continue
        left = (
            f"{no_more(data_set.left, 2)} of {exact(data_set.limit)} is left, for all time and not only for this year."
        )
        told.append(f"{name}{left} {another_run(data_set)}".strip())
    return " ".join(told)


def _by_day(report: Report) -> str:
    if report.about != "site":
        dates = sorted({day.day for site in report.sites if site.egress for day in site.egress.days})
        if not dates:
            return "Not known: no log is shown."
        span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        return f"Messages left the hospitals on {len(dates)} {'day' if len(dates) == 1 else 'days'}: {span}."
    days = [day for site in report.sites if site.egress for day in site.egress.days]
    if not days:
        return "Nothing, by the log that could be read."
    busiest = max(days, key=lambda day: day.bytes)
    if len(days) == 1:
        return f"{busiest.messages:,} messages, {size(busiest.bytes)}, all on {busiest.day}. Each is listed below."
    return (
        f"Messages left on {len(days)} days, {days[0].day} to {days[-1].day}; the most on {busiest.day}: "
        f"{busiest.messages:,}, {size(busiest.bytes)}. Each day and each message is listed below."
    )


def _whose(report: Report) -> str:
    if report.release is None:
        return "Not known: no release that can be relied on was given."
    names = list(report.release.contributors)
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return f"It belongs in equal parts to {listed}: each has signed one and the same statement about it."


def what_stayed(report: Report) -> list[str]:
    """What no message holds."""
    scheme, fewest = report.charter.scheme, report.charter.surely_summed
    hidden = (
        "Its update in a readable form: what is sent in a round can be read only as a sum with those of others, at "
        f"least {fewest} in all. A hospital that helps the coordinator to forge a sum can get at one update over "
        f"several rounds: {_forged(report)}. One that sends numbers of its own making, so that the model stands still, "
        "can come to the same, which no record shows."
        if scheme in MASKED_SCHEMES
        else "Its update in clear: it is encrypted with a key that all hospitals share. Whoever has that key and the "
        "message reads the update."
    )
    lines = [
        "Records of patients, or any part of one: no message above has a place for them.",
        hidden,
        f"What any single patient contributes, which patients were drawn for a step, and {_noise(report.charter)}",
        "Its signing key, its policy, its lists of patients and, except for what its officer exports, its ledger and "
        "log.",
    ]
    if scheme in ENCRYPTED_SCHEMES:
        lines.append("The sum in clear: it is opened at the hospitals, and the coordinator does not see it.")
    lines.append(
        "This covers what this software sent. It watches no other way out of the building: e-mail, removable disks "
        "and backups leave no entry in its log."
    )
    return lines


def _noise(charter: CharterFacts) -> str:
    """As much of it as stays with the hospital."""
    if charter.privacy == "none":
        return "the noise that was drawn: there was none."
    if not charter.noise_levels:
        return "the noise that was drawn."
    return (
        "the noise that stays in a sum. If more hospitals are in it than were counted on, the surplus of their noise "
        "is revealed to the coordinator, which subtracts it."
    )


def _forged(report: Report) -> str:
    """Whether anybody did, as far as this report can tell."""
    transcript = report.transcript
    if any(finding.reason == FORGED_SUM for finding in report.findings):
        return "a hospital has signed that it was given a forged sum; what is said to be wrong says who may be lying"
    if transcript is None:
        return "whether one did was not checked here, as no transcript was given"
    if transcript.findings:
        misfit = (
            "here something in the transcript does not fit; what is said to be wrong says whether that is such a sum"
        )
        beside = "; no hospital's log was there that shows one of its sums"
        return misfit if transcript.compared_with else f"{misfit}{beside}"
    if not transcript.compared_with:
        return "whether one did was not checked here, as no hospital's log was there that shows a sum of the transcript"
    logs, compared = len(transcript.compared_with), transcript.compared_sums
    # One of them may be a liar's, and the others show few.
    whose = "the log of 1 hospital" if logs == 1 else f"one or more of the logs of {logs} hospitals"
    if report.about == "site":
        whose = "this hospital's log"
    sums = sum(found.sum_sha256 is not None for found in transcript.rounds)
    seen = "in as much of the transcript as can be read" if transcript.cut else "in the transcript"
    if compared == sums:
        return f"none did, by {whose}: all {sums} sums {seen} are there, and each is the true one"
    return f"none did in the {compared} of {sums} sums {seen} that are in {whose}; of the others nothing is known here"


@dataclass(frozen=True)
class Rule:
    """A rule, what it asks for, what is here as evidence, and what only the site can say."""

    name: str
    asks: str
    evidence: str
    links: tuple[tuple[str, str], ...]
    yours: str


RULES: Final = (
    Rule(
        "HIPAA, 45 CFR 164.312(b): audit controls",
        "mechanisms that record and examine activity in systems that use electronic protected health information",
        "Every message that left and every use of a data set is recorded in chained, signed logs, and examined here:",
        (("egress", "what left"), ("budget", "budget"), ("integrity", "integrity")),
        "who had access to the records and the machine; logs of the operating system; how often this is examined",
    ),
    Rule(
        "GDPR, Art. 30(1)(b), (c): purposes, categories",
        "purposes of the processing; categories of data subjects and of personal data",
        "The charter names the task and its settings, and is signed by all members:",
        (("integrity", "charter"), ("guarantee", "the promise")),
        "the purpose in words, its legal basis, the categories",
    ),
    Rule(
        "GDPR, Art. 30(1)(d), (e): recipients, transfers",
        "categories of recipients; transfers to third countries",
        "Recipients, counts, sizes and digests of all that was sent:",
        (("egress", "what left"), ("integrity", "members")),
        "where members and the coordinator are; whether what is sent is personal data",
    ),
    Rule(
        "GDPR, Art. 30(1)(g): security measures",
        "a general description of technical and organisational measures",
        "How updates are hidden, noise, budgets, signatures, and the checks of them:",
        (("guarantee", "the promise"), ("budget", "budget"), ("integrity", "integrity")),
        "organisational measures; time limits for erasure (Art. 30(1)(f)); contacts (Art. 30(1)(a))",
    ),
    Rule(
        "GDPR, Art. 35(7)(a): description",
        "a systematic description of the processing operations",
        "What was sent in each round, who took part, and under which charter:",
        (("egress", "what left"), ("rounds", "who took part")),
        "the description of the project around it, and its necessity and proportionality (Art. 35(7)(b))",
    ),
    Rule(
        "GDPR, Art. 35(7)(c), (d): risks and measures",
        "an assessment of the risks to data subjects, and the measures envisaged to address them",
        "A number that limits what can be learned about one patient, what it rests on, what it does not protect, and "
        "how it was tested:",
        (("guarantee", "the promise"), ("audit", "the test")),
        "whether the risk that remains is acceptable; the views of data subjects (Art. 35(9))",
    ),
)

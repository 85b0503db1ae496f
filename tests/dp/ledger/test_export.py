"""An export says what its ledger says, and another ledger of the site takes over all of it and nothing twice."""

from __future__ import annotations

import base64
import json
import shutil

import msgspec
import pytest
from msgspec.structs import replace

from dp.accounting import epsilon_of_runs
from dp.events import GaussianEvent
from dp.ledger import Budget, Cost, Kind, Ledger, PatientList
from dp.ledger import export as module
from dp.ledger.account import patients_folder
from dp.ledger.entries import LEDGER
from dp.ledger.export import export_ledger, read_export
from dp.ledger.spending import cost_epsilon
from secagg.errors import InputError, SecaggError, TamperingError
from secagg.identity import Identity, is_valid_signature
from secagg.signed_log import SignedEntry, read_log

DELTA = 1e-5
BUDGET = Budget(epsilon=50.0, delta=DELTA)
SITE, FORMER = Identity.from_seed(bytes(range(32))), Identity.from_seed(bytes(32))
RUN, OTHER_RUN = "1" * 64, "2" * 64
PATIENTS = PatientList.of([[bytes([number]) * 16] for number in range(1, 6)])
STRANGERS = PatientList.of([[bytes([number]) * 16] for number in range(50, 55)])
DATA = PATIENTS.data_set


def rounds(count: int) -> Cost:
    return Cost((GaussianEvent(1.5, 0.1, 5 * count),))


def cost(count: int) -> float:
    return cost_epsilon(rounds(count), DELTA)


def composed(*counts: int) -> float:
    return epsilon_of_runs([(rounds(count).training,) for count in counts], DELTA)


def train(path, count, run=RUN, reserved=0, end=True, site=SITE, patients=PATIENTS):
    """A run of ``count`` rounds."""
    with Ledger(path, site) as ledger:
        data_set = ledger.enrol(patients)
        ledger.reserve(data_set, run, rounds(max(count, reserved)), BUDGET, "")
        for number in range(count):
            ledger.charge(data_set, run, number, rounds(1), BUDGET, "")
        if end:
            ledger.close_run(data_set, run, DELTA, "")


def written(path, site=SITE, charter=None):
    out = path.with_suffix(f".{charter[:1] if charter else 'all'}.json")
    out.write_bytes(export_ledger(path, site, charter))
    return out


def take(path, file, site=SITE, **how) -> int:
    with Ledger(path, SITE) as ledger:
        return ledger.take_over(read_export(file, site.public_key), **how)


def spent(path, data_set=DATA) -> float:
    with Ledger(path, SITE) as ledger:
        return ledger.spending(data_set).epsilon(DELTA)


@pytest.fixture
def here(tmp_path):
    """This site's ledger: three rounds."""
    path = tmp_path / "here" / "ledger.sqlite"
    train(path, 3)
    return path


@pytest.fixture
def elsewhere(tmp_path):
    """Where a ledger may be."""
    return tmp_path / "elsewhere" / "ledger.sqlite"


# The document ----------------------------------------------------------------------------------------------------


def test_a_document_says_what_the_ledger_says_and_holds_no_patient(here):
    text = written(here).read_text()
    found = read_export(written(here), SITE.public_key)
    entries = read_log(here, SITE.public_key, LEDGER)
    assert tuple(item.entry for item in found.entries) == entries
    assert (found.charter, found.length, found.head) == (None, len(entries), head_of(here))
    assert DATA in text
    for (digest,) in PATIENTS.patients:
        assert digest.hex() not in text


def head_of(path):
    with Ledger(path, SITE) as ledger:
        return ledger.head


def test_of_one_charters_entries_no_ledger_takes_its_own_back_since_some_between_them_are_missing(here, elsewhere):
    elsewhere.parent.mkdir()
    shutil.copy(here, elsewhere)
    train(elsewhere, 1, OTHER_RUN)
    train(elsewhere, 2)
    before = read_log(here, SITE.public_key, LEDGER)
    part = read_export(written(elsewhere, charter=RUN), SITE.public_key)
    assert module.continuation(part, SITE.public_key, before) == ()
    whole = read_export(written(elsewhere), SITE.public_key)
    assert len(module.continuation(whole, SITE.public_key, before)) == whole.length - len(before)


def test_of_one_charter_only_its_entries_are_in_it(here):
    train(here, 1, OTHER_RUN)
    found = read_export(written(here, charter=OTHER_RUN), SITE.public_key)
    assert {item.entry.run for item in found.entries} == {OTHER_RUN}
    assert (found.length, found.head) == (len(read_log(here, SITE.public_key, LEDGER)), head_of(here))
    with pytest.raises(InputError) as caught:
        export_ledger(here, SITE, "3" * 64)
    assert caught.value.reason == "no-such-run"


def test_the_entries_signatures_are_those_of_the_ledger(here):
    document = json.loads(written(here).read_text())
    for item in document["ledger"]["entries"]:
        body = json.dumps(item["entry"], sort_keys=True, separators=(",", ":")).encode().replace(b"1e-05", b"0.00001")
        assert is_valid_signature(SITE.public_key, base64.b64decode(item["signature"]), LEDGER.signed_bytes(body))


def refusal(file, key=SITE) -> SecaggError:
    with pytest.raises(SecaggError) as caught:
        read_export(file, key.public_key)
    return caught.value


def changed(file, change):
    document = json.loads(file.read_text())
    change(document["ledger"])
    file.write_text(json.dumps(document))
    return file


CHANGES = {
    "an entry removed": lambda ledger: ledger["entries"].pop(2),
    "the end removed": lambda ledger: ledger["entries"].pop(),
    "no entries": lambda ledger: ledger["entries"].clear(),
    "two exchanged": lambda ledger: ledger["entries"].insert(1, ledger["entries"].pop(2)),
    "less noise": lambda ledger: ledger["entries"][0]["entry"]["cost"]["training"][0].update(steps=1),
    "another length": lambda ledger: ledger.update(length=3),
    "another head": lambda ledger: ledger.update(head="0" * 64),
    "one charter's": lambda ledger: ledger.update(charter=RUN),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_document_is_tampering(here, change):
    found = refusal(changed(written(here), change))
    assert isinstance(found, TamperingError)
    assert (found.reason, found.exit_code) == ("export-altered", 4)


@pytest.mark.parametrize("change", list(CHANGES.values())[:-1], ids=list(CHANGES)[:-1])
def test_even_the_site_itself_can_sign_no_document_that_its_chain_contradicts(here, change):
    file = changed(written(here), change)
    document = msgspec.json.decode(file.read_bytes(), type=module._Document)
    again = module._Document(document.ledger, SITE.sign(module._signed_bytes(document.ledger)))
    file.write_bytes(msgspec.json.encode(again))
    assert refusal(file).reason == "export-altered"


def signed_by_the_site(file, **claims):
    """What the document at ``file`` says with other claims in it, as the site that owns the key can sign it."""
    export = replace(msgspec.json.decode(file.read_bytes(), type=module._Document).ledger, **claims)
    file.write_bytes(msgspec.json.encode(module._Document(export, SITE.sign(module._signed_bytes(export)))))
    return file


def test_a_part_in_which_an_entry_stands_twice_is_of_no_ledger(interleaved):
    file = written(interleaved, charter=RUN)
    entries = read_export(file, SITE.public_key).entries
    twice = signed_by_the_site(file, entries=(*entries[:2], entries[1], *entries[2:]))
    assert refusal(twice).reason == "export-altered"


@pytest.fixture
def interleaved(here):
    """A ledger of which entries 6, 8, 9 are of the other charter, and 10, 11 of the first again."""
    with Ledger(here, SITE) as ledger:
        ledger.reserve(DATA, OTHER_RUN, rounds(2), BUDGET, "")
        ledger.reserve(DATA, RUN, rounds(1), BUDGET, "")
        ledger.charge(DATA, OTHER_RUN, 1, rounds(1), BUDGET, "")
        ledger.close_run(DATA, OTHER_RUN, DELTA, "")
        ledger.charge(DATA, RUN, 4, rounds(1), BUDGET, "")
        ledger.close_run(DATA, RUN, DELTA, "")
    return here


FORGED_PARTS = {
    "as the whole": lambda head: {"length": 3, "head": head},
    "one entry more than there are": lambda head: {"length": 4, "head": head},
    "as what is before its last entry": lambda head: {"length": 8, "head": head},
    "as one that ends with it, and another head": lambda _: {"length": 9, "head": "0" * 64},
}


@pytest.mark.parametrize("claims", FORGED_PARTS.values(), ids=FORGED_PARTS)
def test_no_site_can_sign_a_part_as_that_of_a_ledger_which_its_numbers_contradict(interleaved, claims):
    file = written(interleaved, charter=OTHER_RUN)
    read_export(file, SITE.public_key)
    assert refusal(signed_by_the_site(file, **claims(head_of(interleaved)))).reason == "export-altered"


def test_control_where_a_parts_numbers_are_not_looked_at_it_passes_for_the_whole(interleaved, monkeypatch):
    monkeypatch.setattr(module.LedgerExport, "is_part", True)
    monkeypatch.setattr(module, "_misplaced", lambda entries, export: None)
    found = read_export(
        signed_by_the_site(written(interleaved, charter=OTHER_RUN), length=3, head=head_of(interleaved)),
        SITE.public_key,
    )
    assert (len(found.entries), found.length, found.head) == (3, 3, head_of(interleaved))


def test_entries_of_a_part_that_are_next_to_one_another_are_chained(interleaved, elsewhere):
    """The last ones are as genuine, and of a copy, where they follow another entry."""
    shutil.copytree(interleaved.parent, elsewhere.parent)
    for path in (interleaved, elsewhere):
        train(path, 2, OTHER_RUN)
    here, there = (read_export(written(path, charter=OTHER_RUN), SITE.public_key) for path in (interleaved, elsewhere))
    mixed = (*here.entries[:4], *there.entries[4:])
    found = refusal(signed_by_the_site(written(elsewhere, charter=OTHER_RUN), entries=mixed))
    assert [item.entry.sequence for item in mixed] == [item.entry.sequence for item in there.entries]
    assert found.reason == "export-altered"


def test_a_part_that_has_the_first_entry_begins_with_nothing_before_it(interleaved):
    file = written(interleaved, charter=RUN)
    first, *others = read_export(file, SITE.public_key).entries
    entry = replace(first.entry, previous="1" * 64)
    forged = (SignedEntry(entry, SITE.sign(LEDGER.signed_bytes(entry.body()))), *others[4:])
    assert refusal(signed_by_the_site(file, entries=forged)).reason == "export-altered"


def test_a_charters_document_that_is_the_whole_ledger_is_chained_to_its_head(here):
    whole = written(here, charter=RUN)
    assert not read_export(whole, SITE.public_key).is_part
    assert refusal(signed_by_the_site(whole, head="0" * 64)).reason == "export-altered"


def test_another_sites_document_is_not_this_ones(here):
    found = refusal(written(here), FORMER)
    assert found.reason == "export-altered"
    assert "another key than the given one" in found.message


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"ledger": 1, "signature": ""}', b"[" * 5000])
def test_what_is_no_document_is_no_accusation(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    found = refusal(tmp_path / "file")
    assert (found.reason, found.exit_code) == ("not-an-export", 2)


# Taking over -----------------------------------------------------------------------------------------------------


def test_what_an_earlier_key_recorded_counts_here(here, elsewhere):
    train(elsewhere, 2, OTHER_RUN, site=FORMER)
    assert take(here, written(elsewhere, FORMER), FORMER) == 2
    assert spent(here) == composed(3, 2)
    # And nothing twice.
    for _ in range(2):
        assert take(here, written(elsewhere, FORMER), FORMER) == 0
    assert spent(here) == composed(3, 2)


def test_a_later_export_adds_what_is_new(here, elsewhere):
    train(elsewhere, 2, OTHER_RUN, site=FORMER)
    take(here, written(elsewhere, FORMER), FORMER)
    train(elsewhere, 1, OTHER_RUN, site=FORMER)
    assert take(here, written(elsewhere, FORMER), FORMER) == 1
    assert spent(here) == composed(3, 3)
    take(here, written(elsewhere, FORMER, OTHER_RUN), FORMER)
    assert spent(here) == composed(3, 3)


def test_an_open_run_elsewhere_counts_with_what_it_reserved_and_a_closed_one_does_not(here, elsewhere):
    train(elsewhere, 1, OTHER_RUN, reserved=4, end=False, site=FORMER)
    train(elsewhere, 1, "3" * 64, reserved=9, site=FORMER)
    take(here, written(elsewhere, FORMER), FORMER, as_data_set=DATA)
    assert spent(here) == composed(3, 4, 1)
    with Ledger(here, SITE) as ledger:
        states = {run.run: run.state for run in ledger.spending(DATA).runs if run.imported}
    assert states == {OTHER_RUN: "open", "3" * 64: "closed"}


def test_the_same_charter_under_two_keys_is_two_runs(here, elsewhere):
    train(elsewhere, 3, RUN, site=FORMER)
    take(here, written(elsewhere, FORMER), FORMER)
    assert spent(here) == composed(3, 3)
    # What is charged here from now on adds to what was charged here.
    train(here, 1)
    assert spent(here) == composed(4, 3)


def test_a_data_set_that_is_not_known_here_counts_with_every_one_unless_the_officer_says_which(here, elsewhere):
    train(elsewhere, 2, OTHER_RUN, site=FORMER, patients=STRANGERS)
    copy = here.with_name("copy") / here.name
    shutil.copytree(here.parent, copy.parent)
    take(here, written(elsewhere, FORMER), FORMER)
    assert spent(here) == composed(3, 2)
    train(copy, 1, "3" * 64, patients=PatientList.of([[bytes([77]) * 16]]))
    take(copy, written(elsewhere, FORMER), FORMER, as_data_set=DATA)
    assert spent(copy) == composed(3, 2)
    with Ledger(copy, SITE) as ledger:
        (other,) = set(ledger.account.data_sets) - {DATA}
        assert ledger.spending(other).epsilon(DELTA) == cost(1)


def copy_lists(source, target):
    for path in patients_folder(source).iterdir():
        shutil.copy(path, patients_folder(target))


def test_lists_of_an_earlier_key_that_are_copied_along_free_nobody(here, elsewhere):
    """To the new key all who are on them are strangers, though they may be the same patients."""
    train(elsewhere, 2, OTHER_RUN, site=FORMER, patients=STRANGERS)
    copy_lists(elsewhere, here)
    take(here, written(elsewhere, FORMER), FORMER)
    assert spent(here) == composed(3, 2)
    with Ledger(here, SITE) as ledger:
        (imported,) = (run for run in ledger.spending(DATA).shared[0] if run.imported)
    assert imported.origin_data_set == STRANGERS.data_set


def test_control_under_the_name_that_such_a_list_has_nobody_here_has_spent_it(here, elsewhere, monkeypatch):
    monkeypatch.setattr("dp.ledger.store._foreign_name", lambda _, data_set: data_set)
    train(elsewhere, 2, OTHER_RUN, site=FORMER, patients=STRANGERS)
    copy_lists(elsewhere, here)
    take(here, written(elsewhere, FORMER), FORMER)
    assert spent(here) == composed(3)


def test_an_officer_says_of_no_patients_whose_list_is_here_that_they_are_others(here, elsewhere):
    shutil.copytree(here.parent, elsewhere.parent)
    train(here, 1, "3" * 64, patients=STRANGERS)
    train(elsewhere, 2, OTHER_RUN)
    assert take(here, written(elsewhere), as_data_set=STRANGERS.data_set) == 2
    assert spent(here) == composed(3, 2)
    with Ledger(here, SITE) as ledger:
        assert ledger.spending(STRANGERS.data_set).epsilon(DELTA) == cost(1)


@pytest.fixture
def one_run_on_two(elsewhere):
    """An export of a ledger in which one charter holds a reservation on each of two data sets."""
    train(elsewhere, 1, OTHER_RUN, reserved=4, end=False, site=FORMER, patients=STRANGERS)
    train(elsewhere, 2, OTHER_RUN, reserved=5, end=False, site=FORMER)
    return written(elsewhere, FORMER)


def test_a_charter_on_two_data_sets_there_counts_twice_also_where_an_officer_says_that_they_are_one_here(
    here, one_run_on_two
):
    take(here, one_run_on_two, FORMER, as_data_set=DATA)
    assert spent(here) == pytest.approx(composed(3, 4, 5))
    # Also through a third ledger, whose officer says so again.
    third = here.with_name("third.sqlite")
    train(third, 1, "3" * 64)
    take(third, written(here), as_data_set=DATA)
    assert spent(third) == pytest.approx(composed(1, 3, 4, 5))


def test_control_an_import_that_forgets_what_a_data_set_was_called_takes_the_larger_of_both(
    here, one_run_on_two, monkeypatch
):
    """It is also how a ledger that was written before counts: as it did."""
    monkeypatch.setattr("dp.ledger.store._as_of", lambda spent, data_set: replace(spent, data_set=data_set))
    take(here, one_run_on_two, FORMER, as_data_set=DATA)
    assert spent(here) == composed(3, 5)
    assert b"origin_data_set" not in written(here).read_bytes()
    monkeypatch.undo()
    assert take(here, one_run_on_two, FORMER, as_data_set=DATA) == 0
    assert spent(here) == composed(3, 5)


def test_a_ledger_that_fell_behind_itself_gets_its_own_entries_back(here, elsewhere):
    shutil.copytree(here.parent, elsewhere.parent)
    train(here, 2, OTHER_RUN)
    assert take(elsewhere, written(here)) == 4
    assert read_log(elsewhere, SITE.public_key, LEDGER) == read_log(here, SITE.public_key, LEDGER)
    # An older export takes nothing away.
    train(here, 1, OTHER_RUN)
    before = head_of(here)
    assert take(here, written(elsewhere)) == 0
    assert head_of(here) == before


@pytest.mark.parametrize("site", [SITE, FORMER])
def test_more_than_fits_into_one_statement_is_taken_over_piece_by_piece(here, elsewhere, site, monkeypatch):
    train(elsewhere, 7, OTHER_RUN, site=site)
    if site is SITE:
        here = here.with_name("empty.sqlite")
    monkeypatch.setattr("dp.ledger.store._AT_ONCE", 3)
    assert take(here, written(elsewhere, site), site) == (9 if site is SITE else 7)
    assert take(here, written(elsewhere, site), site) == 0
    assert spent(here) == (cost(7) if site is SITE else composed(3, 7))


def test_two_copies_that_wrote_the_same_at_the_same_time_add_up(here, elsewhere):
    shutil.copytree(here.parent, elsewhere.parent)
    for path in (here, elsewhere):
        train(path, 1, OTHER_RUN)
    assert take(here, written(elsewhere)) == 1
    assert spent(here) == composed(3, 2)


@pytest.fixture
def given_up(here, elsewhere):
    """One round of eight was charged when the folder was copied to ``elsewhere``; here the run was then given up."""
    train(here, 1, OTHER_RUN, reserved=8, end=False)
    shutil.copytree(here.parent, elsewhere.parent)
    with Ledger(here, SITE) as ledger:
        ledger.release_run(DATA, OTHER_RUN, "")
    assert spent(here) == composed(3, 1)
    return here


def test_what_a_copy_still_holds_of_a_run_that_is_over_here_counts_if_it_has_gone_on_with_it(given_up, elsewhere):
    train(elsewhere, 2, OTHER_RUN, reserved=8, end=False)
    assert take(given_up, written(elsewhere)) == 3
    assert spent(given_up) == composed(3, 1, 8)
    # Once, and nobody gets a reservation of its own back as another's.
    assert take(given_up, written(elsewhere)) == 0
    take(elsewhere, written(given_up))
    take(given_up, written(elsewhere))
    assert spent(given_up) == composed(3, 1, 8)
    with Ledger(given_up, SITE) as ledger:
        ledger.release_run(DATA, OTHER_RUN, "")
    assert spent(given_up) == composed(3, 1, 8)


def test_of_a_copy_that_has_not_gone_on_with_it_or_has_ended_it_nothing_is_held(given_up, elsewhere):
    train(elsewhere, 1, "3" * 64)
    assert take(given_up, written(elsewhere)) == 1
    assert spent(given_up) == pytest.approx(composed(3, 1, 1))
    train(elsewhere, 2, OTHER_RUN, reserved=8)
    assert take(given_up, written(elsewhere)) == 2
    assert spent(given_up) == pytest.approx(composed(3, 1, 1, 2))
    take(elsewhere, written(given_up))
    assert spent(elsewhere) == pytest.approx(composed(3, 3, 1))


def test_control_where_the_common_past_is_never_taken_over_the_copys_rest_counts_nowhere(
    given_up, elsewhere, monkeypatch
):
    monkeypatch.setattr("dp.ledger.store.runs_that_went_on", lambda export, entries: frozenset())
    train(elsewhere, 2, OTHER_RUN, reserved=8, end=False)
    take(given_up, written(elsewhere))
    assert spent(given_up) == composed(3, 1, 2)


def test_the_runs_that_a_copy_and_this_ledger_both_hold_open_are_known(here, elsewhere):
    train(here, 1, OTHER_RUN, reserved=8, end=False)
    train(elsewhere, 1, "3" * 64, reserved=8, end=False, site=FORMER)
    copy = read_export(written(here), SITE.public_key)
    foreign = read_export(written(elsewhere, FORMER), FORMER.public_key)
    with Ledger(here.with_name("behind.sqlite"), SITE) as ledger:
        ledger.take_over(copy)
        assert ledger.open_in(copy) == ((DATA, OTHER_RUN),)
        ledger.take_over(foreign)
        assert ledger.open_in(foreign) == ()
        ledger.close_run(DATA, OTHER_RUN, DELTA, "")
        assert ledger.open_in(copy) == ()


def test_what_a_run_holds_here_is_not_held_once_more_for_the_copy_that_goes_on_with_it(here, elsewhere):
    train(here, 1, OTHER_RUN, reserved=8, end=False)
    shutil.copytree(here.parent, elsewhere.parent)
    for copy in (here, elsewhere):
        train(copy, 1, OTHER_RUN, reserved=8, end=False)
    take(here, written(elsewhere))
    assert spent(here) == pytest.approx(composed(3, 8, 1))


def test_a_sum_that_is_applied_after_a_run_was_given_up_does_not_open_it_again(here):
    train(here, 1, OTHER_RUN, reserved=8, end=False)
    assert module.open_runs(read_export(written(here), SITE.public_key)) == {(DATA, OTHER_RUN)}
    with Ledger(here, SITE) as ledger:
        ledger.release_run(DATA, OTHER_RUN, "")
        ledger.commit(DATA, OTHER_RUN, 0, DELTA, "")
    assert module.open_runs(read_export(written(here), SITE.public_key)) == frozenset()


def test_rounds_without_privacy_are_taken_over_too(here, elsewhere):
    train(elsewhere, 1, OTHER_RUN, site=FORMER)
    with Ledger(elsewhere, FORMER) as ledger:
        ledger.note_unprotected(DATA, "3" * 64, 1, DELTA, "")
    assert take(here, written(elsewhere, FORMER), FORMER, as_data_set=DATA) == 2
    with Ledger(here, SITE) as ledger:
        assert [run.run for run in ledger.spending(DATA).runs if run.unprotected] == ["3" * 64]


def test_two_copies_that_went_their_own_ways_add_up(here, elsewhere, tmp_path):
    third = tmp_path / "third" / "ledger.sqlite"
    for copy in (elsewhere, third):
        shutil.copytree(here.parent, copy.parent)
    for number, path in enumerate((here, elsewhere, third), start=1):
        train(path, number, OTHER_RUN)
    for path in (elsewhere, third):
        take(here, written(path))
    # Of the third run, one round here, two there and three there: all were released.
    assert spent(here) == composed(3, 6)
    # Through whom it came does not matter.
    take(here, written(third))
    take(elsewhere, written(here))
    take(here, written(elsewhere))
    assert spent(here) == pytest.approx(composed(3, 6))


def test_limit_what_two_copies_hold_for_one_charter_counts_once(here, elsewhere, tmp_path):
    """The charges of both add up; of their reservations the larger counts. Other hospitals refuse one of the two."""
    third = tmp_path / "third" / "ledger.sqlite"
    for copy in (elsewhere, third):
        shutil.copytree(here.parent, copy.parent)
        train(copy, 1, OTHER_RUN, reserved=4, end=False)
    train(here, 1, "3" * 64)
    for copy in (elsewhere, third):
        take(here, written(copy))
    assert spent(here) == composed(3, 1, 4)


def test_imported_runs_are_shown_as_such_and_their_charges_survive_the_end_of_a_run_here(here, elsewhere):
    train(elsewhere, 2, RUN, site=FORMER)
    take(here, written(elsewhere, FORMER), FORMER, as_data_set=DATA)
    with Ledger(here, SITE) as ledger:
        ledger.close_run(DATA, RUN, DELTA, "")
        ledger.release_run(DATA, RUN, "")
        runs = ledger.spending(DATA).runs
    assert [(run.imported, run.rounds) for run in runs] == [(False, 3), (True, 2)]
    assert spent(here) == composed(3, 2)
    assert [entry.kind for entry in read_log(here, SITE.public_key, LEDGER) if entry.origin] == [Kind.CHARGE] * 2

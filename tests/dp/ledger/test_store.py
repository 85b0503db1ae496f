"""The ledger's file: what is in it stays as it was, or the first entry that did not is named."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dp.events import GaussianEvent
from dp.ledger import Account, Cost, Entry, Kind, Ledger
from dp.ledger.account import patients_folder
from dp.ledger.entries import LEDGER, NOTHING
from dp.ledger.spending import cost_epsilon
from dp.ledger.store import Budget
from dp.stated import no_less, no_more
from secagg.errors import InputError, RefusedError, TamperingError
from secagg.identity import Identity
from secagg.signed_log import FIRST_PREVIOUS, read_log
from tests.support.errors import error_of
from tests.support.ledgers import (
    BUDGET,
    DATA,
    DELTA,
    NOW,
    OTHER_DATA,
    OTHER_RUN,
    ROUND,
    RUN,
    SEED,
    STRANGERS,
    cost,
    rounds,
    spent,
)
from tests.support.log_rows import overwrite, rows

DOCUMENT = Path(__file__).parents[3] / "docs" / "accounting.md"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def site():
    return Identity.from_seed(SEED)


@pytest.fixture
def ledger(path, site):
    with Ledger(path, site) as ledger:
        for patients in STRANGERS:
            ledger.enrol(patients)
        yield ledger


@pytest.fixture
def written(path, site):
    """A ledger with five entries, closed."""
    with Ledger(path, site) as ledger:
        ledger.reserve(DATA, RUN, rounds(4), BUDGET, NOW)
        for number in (1, 2):
            ledger.charge(DATA, RUN, number, ROUND, BUDGET, NOW)
        ledger.commit(DATA, RUN, 2, DELTA, NOW)
        ledger.close_run(DATA, RUN, DELTA, NOW)
    return path


def affordable() -> int:
    return max(count for count in range(1, 200) if cost(count) <= BUDGET.epsilon)


def tampering(path: Path, site: Identity) -> TamperingError:
    """What is said of an altered ledger, the same by its owner and by a reader."""
    found, opened = error_of(read_log, path, site.public_key, LEDGER), error_of(Ledger, path, site)
    assert isinstance(opened, TamperingError)
    assert (found.reason, found.culprit, found.message) == (opened.reason, opened.culprit, opened.message)
    return found


# Entries ---------------------------------------------------------------------------------------------------------


def test_a_new_ledger_is_empty_and_nobody_has_spent_anything(ledger):
    assert ledger.entries == ()
    assert ledger.head == FIRST_PREVIOUS
    assert spent(ledger) == 0


def test_each_entry_carries_the_hash_of_the_one_before(written, site):
    entries = read_log(written, site.public_key, LEDGER)
    kinds = [Kind.RESERVE, Kind.CHARGE, Kind.CHARGE, Kind.COMMIT, Kind.CLOSE]
    assert [entry.kind for entry in entries] == kinds
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.round for entry in entries] == [0, 1, 2, 2, 0]
    hashes = [FIRST_PREVIOUS, *(LEDGER.chain_hash(body) for _, body, _ in rows(written))]
    assert [entry.previous for entry in entries] == hashes[:-1]
    with Ledger(written, site) as ledger:
        assert ledger.head == hashes[-1]


def test_the_rule_needs_nothing_but_the_file_and_the_public_key(written, site):
    with Ledger(written, site) as ledger:
        owner = ledger.spending(DATA)
    account = Account.load(read_log(written, site.public_key, LEDGER), patients_folder(written))
    assert account.spending(DATA) == owner


def test_a_new_ledger_and_all_that_sqlite_puts_beside_it_are_private(tmp_path, site):
    before = os.umask(0)
    try:
        with Ledger(tmp_path / "new" / "ledger.sqlite", site) as ledger:
            ledger.reserve(DATA, RUN, ROUND, BUDGET, NOW)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()}
    finally:
        os.umask(before)
    assert {"ledger.sqlite", "ledger.sqlite-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_a_ledger_that_others_could_read_is_made_private_again(written, site):
    written.chmod(0o644)
    with Ledger(written, site):
        assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_every_write_is_flushed_to_disk_before_it_returns(ledger):
    full = 2
    assert ledger._database.execute("PRAGMA synchronous").fetchone() == (full,)
    assert ledger._database.isolation_level is None


@pytest.mark.parametrize("name", ["a ledger.sqlite", "100%25.sqlite", "what?mode=rw#.sqlite", "größe.sqlite"])
def test_any_file_name_will_do(tmp_path, site, name):
    with Ledger(tmp_path / name, site) as ledger:
        ledger.reserve(DATA, RUN, ROUND, BUDGET, NOW)
    assert len(read_log(tmp_path / name, site.public_key, LEDGER)) == 1
    assert {file.name.removesuffix("-wal").removesuffix("-shm") for file in tmp_path.iterdir()} == {
        name,
        f"{name}.lock",
    }


# Tampering -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("column", ["body", "signature"])
def test_every_byte_that_is_altered_is_found_and_its_entry_named(written, site, column, number):
    (value,) = (row[("sequence", "body", "signature").index(column)] for row in rows(written) if row[0] == number)
    with closing(sqlite3.connect(written, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=OFF")
        update = f"UPDATE entries SET {column} = ? WHERE sequence = ?"
        for position in range(len(value)):
            altered = bytearray(value)
            altered[position] ^= 1
            database.execute(update, (bytes(altered), number))
            found = error_of(read_log, written, site.public_key, LEDGER)
            assert (found.reason, found.culprit) == ("ledger-altered", f"entry {number}")
        database.execute(update, (value, number))
    assert len(read_log(written, site.public_key, LEDGER)) == 5


@pytest.mark.parametrize("column", ["body", "signature"])
@pytest.mark.parametrize("change", [lambda value: value[:-1], lambda value: value + b" ", lambda value: b""])
def test_a_shortened_or_lengthened_column_is_found(written, site, column, change):
    altered = [
        (
            sequence,
            change(body) if column == "body" else body,
            change(signature) if column == "signature" else signature,
        )
        if sequence == 3
        else (sequence, body, signature)
        for sequence, body, signature in rows(written)
    ]
    overwrite(written, altered)
    assert (tampering(written, site).reason, tampering(written, site).culprit) == ("ledger-altered", "entry 3")


def renumbered(entries: list[tuple]) -> list[tuple]:
    return [(number, body, signature) for number, (_, body, signature) in enumerate(entries, start=1)]


REARRANGED = [
    pytest.param(lambda rows: rows[1:], 1, id="first removed"),
    pytest.param(lambda rows: renumbered(rows[1:]), 1, id="first removed, renumbered"),
    pytest.param(lambda rows: rows[:2] + rows[3:], 3, id="one removed"),
    pytest.param(lambda rows: renumbered(rows[:2] + rows[3:]), 3, id="one removed, renumbered"),
    pytest.param(lambda rows: renumbered([rows[0], rows[2], rows[1], *rows[3:]]), 2, id="two exchanged"),
    pytest.param(lambda rows: renumbered([*rows[:2], rows[1], *rows[2:]]), 3, id="one doubled"),
    pytest.param(lambda rows: renumbered([*rows, rows[1]]), 6, id="one repeated at the end"),
    pytest.param(lambda rows: [(rows[0][0] - 1, *rows[0][1:]), *rows[1:]], 1, id="numbered from zero"),
    pytest.param(lambda rows: [*rows[:-1], (9, *rows[-1][1:])], 5, id="last renumbered"),
]


@pytest.mark.parametrize(("change", "number"), REARRANGED)
def test_entries_removed_exchanged_or_repeated_are_found(written, site, change, number):
    overwrite(written, change(rows(written)))
    found = tampering(written, site)
    assert (found.reason, found.culprit) == ("ledger-altered", f"entry {number}")
    assert f"Entry {number} " in found.message


def signed(entry: Entry, site: Identity) -> tuple:
    return entry.sequence, entry.body(), site.sign(LEDGER.signed_bytes(entry.body()))


def test_an_entry_signed_by_another_key_is_found(written, site):
    entries = read_log(written, site.public_key, LEDGER)
    cheap = msgspec.structs.replace(entries[1], cost=NOTHING)
    overwrite(written, [signed(cheap if entry is entries[1] else entry, Identity.generate()) for entry in entries])
    assert tampering(written, site).culprit == "entry 1"
    overwrite(written, [*rows(written)[:0], signed(entries[0], site), signed(cheap, Identity.generate())])
    assert tampering(written, site).culprit == "entry 2"


def test_even_the_site_itself_cannot_change_one_entry_and_keep_the_rest(written, site):
    entries = read_log(written, site.public_key, LEDGER)
    cheap = msgspec.structs.replace(entries[1], cost=NOTHING)
    overwrite(written, [signed(cheap if entry is entries[1] else entry, site) for entry in entries])
    found = tampering(written, site)
    assert found.culprit == "entry 3"
    assert "does not follow" in found.message


def test_a_signed_entry_that_is_not_canonical_is_found(written, site):
    *kept, (sequence, body, _) = rows(written)
    spaced = msgspec.json.format(body, indent=1)
    overwrite(written, [*kept, (sequence, spaced, site.sign(LEDGER.signed_bytes(spaced)))])
    found = tampering(written, site)
    assert found.culprit == "entry 5"
    assert "canonical" in found.message


def test_a_ledger_of_another_key_is_not_ours(written):
    found = tampering(written, Identity.generate())
    assert (found.reason, found.culprit, found.exit_code) == ("ledger-altered", "entry 1", 4)
    assert "officer" in found.remedy


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked into" * 40, bytes(4096)])
def test_a_file_that_is_no_database_is_damage_and_not_an_empty_ledger(path, site, content):
    path.write_bytes(content)
    for found in (error_of(read_log, path, site.public_key, LEDGER), error_of(Ledger, path, site)):
        assert (found.reason, found.exit_code) == ("ledger-damaged", 4)
    assert path.read_bytes() == content


def test_a_database_without_entries_of_a_ledger_is_damage_to_a_reader(path, site):
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE something (else_ INTEGER)")
    assert error_of(read_log, path, site.public_key, LEDGER).reason == "ledger-damaged"


def test_a_missing_ledger_is_unreadable_and_not_an_accusation(path, site):
    found = error_of(read_log, path, site.public_key, LEDGER)
    assert isinstance(found, InputError)
    assert found.reason == "unreadable"
    assert not path.exists()


def test_a_place_that_cannot_be_written_to_is_an_error_that_says_so(path, site):
    path.mkdir()
    found = error_of(Ledger, path, site)
    assert (found.reason, found.exit_code) == ("unwritable", 2)


def test_after_damage_was_found_the_lock_is_free(written, site):
    good = rows(written)
    overwrite(written, good[1:])
    assert error_of(Ledger, written, site).reason == "ledger-altered"
    overwrite(written, good)
    with Ledger(written, site) as ledger:
        assert len(ledger.entries) == 5


def test_a_cut_tail_shows_only_in_the_head_that_was_noted_elsewhere(written, site):
    with Ledger(written, site) as ledger:
        noted = ledger.head
    overwrite(written, rows(written)[:2])
    with Ledger(written, site) as ledger:
        assert len(ledger.entries) == 2
        assert ledger.head != noted


# Budget ----------------------------------------------------------------------------------------------------------


def test_a_run_over_budget_is_refused_with_the_numbers_and_nothing_is_written(ledger):
    most = affordable()
    ledger.reserve(DATA, RUN, rounds(3), BUDGET, NOW)
    found = error_of(ledger.reserve, DATA, OTHER_RUN, rounds(most), BUDGET, NOW)
    assert isinstance(found, RefusedError)
    assert (found.reason, found.exit_code) == ("budget-exceeded", 3)
    assert f"has spent or reserved epsilon {no_less(cost(3), 3)} of 3 (delta 1e-05)" in found.message
    assert f"{no_more(3 - cost(3), 3)} is left" in found.message
    assert f"would cost {no_less(cost(most), 3)} and bring it to {no_less(cost(most + 3), 3)}" in found.message
    assert DATA[:16] in found.culprit
    assert "fewer rounds" in found.remedy
    assert len(ledger.entries) == 1


def test_who_is_refused_is_told_which_other_runs_hold_what_could_be_freed(ledger):
    ledger.reserve(DATA, RUN, rounds(affordable()), BUDGET, NOW)
    held = error_of(ledger.reserve, DATA, OTHER_RUN, rounds(affordable()), BUDGET, NOW).remedy
    assert RUN[:16] in held
    assert "secagg budget release" in held
    # What the run that is refused holds itself is for no officer to free.
    assert "release" not in error_of(ledger.reserve, DATA, RUN, rounds(50), BUDGET, NOW).remedy
    for number in range(1, affordable() + 1):
        ledger.charge(DATA, RUN, number, ROUND, BUDGET, NOW)
    assert "release" not in error_of(ledger.reserve, DATA, OTHER_RUN, rounds(affordable()), BUDGET, NOW).remedy


def test_a_budget_can_be_spent_to_the_last_round_and_not_one_further(ledger):
    most = affordable()
    ledger.reserve(DATA, RUN, rounds(most), BUDGET, NOW)
    for number in range(1, most + 1):
        ledger.charge(DATA, RUN, number, ROUND, BUDGET, NOW)
    assert cost(most) == spent(ledger) <= BUDGET.epsilon < cost(most + 1)
    before = ledger.head
    assert error_of(ledger.charge, DATA, RUN, most + 1, ROUND, BUDGET, NOW).reason == "budget-exceeded"
    assert ledger.head == before


def test_a_reservation_counts_before_anything_is_charged(ledger):
    ledger.reserve(DATA, RUN, rounds(6), BUDGET, NOW)
    assert spent(ledger) == cost(6)


def test_closing_frees_only_what_was_not_used(ledger):
    ledger.reserve(DATA, RUN, rounds(6), BUDGET, NOW)
    ledger.charge(DATA, RUN, 1, ROUND, BUDGET, NOW)
    ledger.charge(DATA, RUN, 2, ROUND, BUDGET, NOW)
    ledger.close_run(DATA, RUN, DELTA, NOW)
    assert spent(ledger) == cost(2)
    ledger.close_run(DATA, RUN, DELTA, NOW)
    assert [entry.kind for entry in ledger.entries].count(Kind.CLOSE) == 1


def test_what_was_freed_can_be_spent_by_another_run(ledger):
    most = affordable()
    ledger.reserve(DATA, RUN, rounds(most), BUDGET, NOW)
    assert error_of(ledger.reserve, DATA, OTHER_RUN, ROUND, BUDGET, NOW).reason == "budget-exceeded"
    ledger.charge(DATA, RUN, 1, ROUND, BUDGET, NOW)
    ledger.close_run(DATA, RUN, DELTA, NOW)
    ledger.reserve(DATA, OTHER_RUN, rounds(most - 1), BUDGET, NOW)
    assert spent(ledger) == cost(most)


def test_a_retried_round_is_charged_again_and_extends_the_reservation_first(ledger):
    ledger.reserve(DATA, RUN, rounds(2), BUDGET, NOW)
    for number in (1, 1, 2):
        ledger.charge(DATA, RUN, number, ROUND, BUDGET, NOW)
    assert spent(ledger) == cost(3)
    assert [entry.kind for entry in ledger.entries] == [
        Kind.RESERVE,
        Kind.CHARGE,
        Kind.CHARGE,
        Kind.RESERVE,
        Kind.CHARGE,
    ]


def test_a_charge_without_a_reservation_makes_its_own(ledger):
    ledger.charge(DATA, RUN, 1, ROUND, BUDGET, NOW)
    assert [entry.kind for entry in ledger.entries] == [Kind.RESERVE, Kind.CHARGE]
    assert spent(ledger) == cost(1)


def test_a_run_that_is_taken_up_again_does_not_reserve_twice(path, site):
    for _ in range(3):
        with Ledger(path, site) as ledger:
            ledger.reserve(DATA, RUN, rounds(6), BUDGET, NOW)
            assert spent(ledger) == cost(6)
    assert len(read_log(path, site.public_key, LEDGER)) == 1


def test_a_smaller_reservation_takes_nothing_back(ledger):
    ledger.reserve(DATA, RUN, rounds(6), BUDGET, NOW)
    ledger.reserve(DATA, RUN, rounds(2), BUDGET, NOW)
    assert spent(ledger) == cost(6)


def test_a_run_that_holds_its_cost_already_lacks_nothing_also_where_the_budget_has_become_smaller_since(ledger):
    smaller = Budget(cost(6) / 2, DELTA)
    assert ledger.lacking(DATA, RUN, rounds(6), smaller) == cost(6)
    ledger.reserve(DATA, RUN, rounds(6), BUDGET, NOW)
    assert ledger.lacking(DATA, RUN, rounds(6), smaller) is None
    ledger.reserve(DATA, RUN, rounds(6), smaller, NOW)
    assert len(ledger.entries) == 1


def test_a_run_that_was_given_up_pays_for_nothing_before_it_has_reserved_again(ledger):
    ledger.reserve(DATA, RUN, rounds(3), BUDGET, NOW)
    ledger.charge(DATA, RUN, 1, ROUND, BUDGET, NOW)
    ledger.release_run(DATA, RUN, NOW)
    before = ledger.head
    assert error_of(ledger.charge, DATA, RUN, 2, ROUND, BUDGET, NOW).reason == "run-released"
    assert (ledger.head, spent(ledger)) == (before, cost(1))
    ledger.reserve(DATA, RUN, rounds(3), BUDGET, NOW)
    ledger.charge(DATA, RUN, 2, ROUND, BUDGET, NOW)
    assert spent(ledger) == cost(3)


def test_a_charge_to_a_closed_run_opens_it_again(ledger):
    ledger.reserve(DATA, RUN, rounds(3), BUDGET, NOW)
    ledger.close_run(DATA, RUN, DELTA, NOW)
    assert spent(ledger) == 0
    ledger.charge(DATA, RUN, 1, ROUND, BUDGET, NOW)
    assert spent(ledger) == cost(3)


def test_a_run_without_protection_is_closed_like_any_other_and_costs_nothing(ledger):
    ledger.note_unprotected(DATA, RUN, 1, DELTA, NOW)
    assert not ledger.spending(DATA).run(RUN).closed
    ledger.close_run(DATA, RUN, DELTA, NOW)
    assert ledger.spending(DATA).run(RUN).closed
    ledger.note_unprotected(DATA, RUN, 2, DELTA, NOW)
    assert not ledger.spending(DATA).run(RUN).closed
    assert spent(ledger) == 0


def test_a_run_that_never_was_is_not_closed(ledger):
    ledger.close_run(DATA, RUN, DELTA, NOW)
    assert ledger.entries == ()


def test_runs_on_one_data_set_compose_and_another_data_set_is_untouched(ledger):
    ledger.reserve(DATA, RUN, rounds(3), BUDGET, NOW)
    ledger.reserve(DATA, OTHER_RUN, rounds(4), BUDGET, NOW)
    assert spent(ledger) == cost(7)
    assert spent(ledger, OTHER_DATA) == 0
    ledger.reserve(OTHER_DATA, RUN, rounds(affordable()), BUDGET, NOW)
    assert spent(ledger) == cost(7)


def test_within_a_run_the_dearer_of_training_and_validation_is_what_counts(ledger):
    steps, counts = (GaussianEvent(2.0, 0.1, 10),), (GaussianEvent(10.0, 1.0, 5),)
    alone = [cost_epsilon(Cost(training=steps), DELTA), cost_epsilon(Cost(metrics=counts), DELTA)]
    ledger.reserve(DATA, RUN, Cost(steps, counts), BUDGET, NOW)
    assert max(alone) <= spent(ledger) < sum(alone) / 1.3


def test_across_runs_training_and_validation_add_up_because_their_patients_may_be_the_same(ledger):
    steps, counts = (GaussianEvent(2.0, 0.1, 10),), (GaussianEvent(10.0, 1.0, 5),)
    ledger.reserve(DATA, RUN, Cost(training=steps), BUDGET, NOW)
    ledger.reserve(DATA, OTHER_RUN, Cost(metrics=counts), BUDGET, NOW)
    assert spent(ledger) == cost_epsilon(Cost(training=(*steps, *counts)), DELTA)


def test_no_noise_fits_no_budget(ledger):
    bare = Cost((GaussianEvent(0.0, 0.1, 1),))
    assert error_of(ledger.charge, DATA, RUN, 1, bare, Budget(1e9, DELTA), NOW).reason == "budget-exceeded"
    assert ledger.entries == ()


@pytest.mark.parametrize("later", ["1970-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00", ""])
def test_a_clock_that_jumps_changes_nothing_but_the_record(path, site, later):
    with Ledger(path, site) as ledger:
        ledger.reserve(DATA, RUN, rounds(affordable()), BUDGET, NOW)
        ledger.charge(DATA, RUN, 1, ROUND, BUDGET, later)
        assert error_of(ledger.reserve, DATA, OTHER_RUN, ROUND, BUDGET, later).reason == "budget-exceeded"
    with Ledger(path, site) as ledger:
        assert [entry.time for entry in ledger.entries] == [NOW, later]
        assert spent(ledger) == cost(affordable())


def test_the_worked_example_in_the_documentation(ledger):
    def step(count):
        return Cost((GaussianEvent(1.5, 0.1, 5 * count),))

    lines = []

    def note():
        lines.append(f"| {spent(ledger):.3f} | {BUDGET.epsilon - spent(ledger):.3f} |")

    ledger.reserve(DATA, RUN, step(8), BUDGET, NOW)
    note()
    for number in (1, 2, 3, 4):
        ledger.charge(DATA, RUN, number, step(1), BUDGET, NOW)
    note()
    ledger.charge(DATA, RUN, 4, step(1), BUDGET, NOW)
    note()
    ledger.reserve(DATA, RUN, step(8), BUDGET, NOW)
    note()
    ledger.close_run(DATA, RUN, DELTA, NOW)
    note()
    refused = error_of(ledger.reserve, DATA, OTHER_RUN, step(8), BUDGET, NOW)
    alone, together = (cost_epsilon(step(count), DELTA) for count in (8, 13))
    assert f"would cost {no_less(alone, 3)} and bring it to {no_less(together, 3)}" in refused.message
    lines.append(f"which alone cost {alone:.3f} and together {together:.3f} | refused |")
    ledger.reserve(DATA, OTHER_RUN, step(6), BUDGET, NOW)
    note()
    lines.append(f"{cost_epsilon(step(5), DELTA):.3f} + {cost_epsilon(step(6), DELTA):.3f}")
    text = DOCUMENT.read_text(encoding="utf-8")
    for line in lines:
        assert line in text
        text = text[text.index(line) + len(line) :]


# Processes -------------------------------------------------------------------------------------------------------


def test_one_process_cannot_open_a_ledger_twice(ledger, path, site):
    assert error_of(Ledger, path, site).reason == "state-in-use"


def test_reading_leaves_the_owner_undisturbed(ledger, path, site):
    for number in range(1, 4):
        ledger.charge(DATA, RUN, number, ROUND, BUDGET, NOW)
        assert read_log(path, site.public_key, LEDGER) == ledger.entries


# Any order of events ---------------------------------------------------------------------------------------------

DATA_SETS = st.sampled_from([DATA, OTHER_DATA])
RUNS = st.sampled_from([RUN, OTHER_RUN, "3" * 64])
COSTS = st.builds(rounds, st.integers(1, 12), st.sampled_from([1.0, 1.5]))


class AnyOrder(RuleBasedStateMachine):
    """Reservations, charges, closings and crashes, in any order; the truth is a list of what was released."""

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.site = Identity.from_seed(SEED)
        self.ledger = Ledger(self.path, self.site)
        for patients in STRANGERS:
            self.ledger.enrol(patients)
        self.released = {DATA: NOTHING, OTHER_DATA: NOTHING}

    def refused(self, call, *arguments) -> bool:
        head = self.ledger.head
        try:
            call(*arguments)
        except RefusedError as error:
            reason = error.reason
        else:
            return False
        assert (reason, self.ledger.head) == ("budget-exceeded", head)
        return True

    @rule(data_set=DATA_SETS, run=RUNS, cost=COSTS)
    def reserve(self, data_set, run, cost):
        before = spent(self.ledger, data_set)
        if not self.refused(self.ledger.reserve, data_set, run, cost, BUDGET, NOW):
            assert spent(self.ledger, data_set) >= before

    @rule(data_set=DATA_SETS, run=RUNS, cost=COSTS)
    def release(self, data_set, run, cost):
        if not self.refused(self.ledger.charge, data_set, run, 1, cost, BUDGET, NOW):
            self.released[data_set] = self.released[data_set].plus(cost)

    @rule(data_set=DATA_SETS, run=RUNS)
    def commit(self, data_set, run):
        self.ledger.commit(data_set, run, 1, DELTA, NOW)

    @rule(data_set=DATA_SETS, run=RUNS)
    def close_run(self, data_set, run):
        self.ledger.close_run(data_set, run, DELTA, NOW)

    @rule()
    def restart(self):
        before = self.ledger.head
        self.ledger.close()
        self.ledger = Ledger(self.path, self.site)
        assert self.ledger.head == before

    @invariant()
    def nothing_that_was_released_is_missing_and_the_budget_holds(self):
        for data_set, released in self.released.items():
            found = spent(self.ledger, data_set)
            assert cost_epsilon(released, DELTA) <= found * (1 + 1e-12) <= BUDGET.epsilon * (1 + 1e-12)

    @invariant()
    def the_file_says_the_same(self):
        assert read_log(self.path, self.site.public_key, LEDGER) == self.ledger.entries

    def teardown(self):
        self.ledger.close()
        self.folder.cleanup()


AnyOrder.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestAnyOrder = AnyOrder.TestCase

"""A site whose policy names officers: it is not loosened by one person, whatever they do to its files but one."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import msgspec
import pytest

from secagg.errors import RefusedError, SecaggError, TamperingError
from secagg.identity import Identity
from secagg.latch import LATCH_FILE, AcceptedPolicy, Latch
from secagg.policy import Policy, accept_policy, acceptance, load_policy, put_in_force, render_policy
from secagg.policy.acceptance import SIGNATURES_FILE, add_signature, read_change, sign_change
from secagg.policy.model import Countersigning
from secagg.policy.toml import read_policy

OFFICERS = [Identity.from_seed(bytes([seed] * 32)) for seed in range(1, 4)]
STRANGERS = [Identity.from_seed(bytes([seed] * 32)) for seed in range(5, 8)]
STRICT = Policy(
    maximum_epsilon=4.0, countersigning=Countersigning(officers=frozenset(officer.public_key for officer in OFFICERS))
)
RAISED = msgspec.structs.replace(STRICT, maximum_epsilon=8.0)


class Site:
    """A hospital's folder, as far as its policy goes."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.path = folder / "policy.toml"

    def write(self, policy):
        self.path.write_bytes(render_policy(policy))

    def start(self):
        """What a hospital does when it is opened."""
        policy = load_policy(self.path)
        with Latch(self.path.with_name(LATCH_FILE)) as latch:
            accept_policy(latch, policy, self.path)
        return policy

    def sign(self, *officers):
        for officer in officers:
            add_signature(self.path, sign_change(read_change(self.path, read_policy(self.path)), officer))

    def refusal(self):
        with pytest.raises(RefusedError) as caught:
            load_policy(self.path)
        with pytest.raises(RefusedError):
            self.start()
        assert caught.value.exit_code == 3
        return caught.value


@pytest.fixture
def site(tmp_path):
    """One that has run under the strict policy."""
    site = Site(tmp_path / "site")
    site.write(STRICT)
    site.start()
    return site


def test_a_raise_without_signatures_is_refused_wherever_the_policy_is_loaded(site):
    site.write(RAISED)
    refusal = site.refusal()
    assert refusal.reason == "policy-loosened"
    assert "maximum_epsilon from 4 to 8" in refusal.message
    assert "missing: 2" in refusal.message


def test_control_at_a_site_that_names_no_officers_the_same_raise_is_in_force_at_once(tmp_path):
    site = Site(tmp_path / "site")
    site.write(msgspec.structs.replace(STRICT, countersigning=None))
    site.start()
    site.write(msgspec.structs.replace(RAISED, countersigning=None))
    assert site.start().maximum_epsilon == 8


def test_two_officers_put_a_raise_in_force_and_one_does_not(site):
    site.write(RAISED)
    site.sign(OFFICERS[0])
    assert "missing: 1" in site.refusal().message
    site.sign(OFFICERS[0])
    site.refusal()
    site.sign(OFFICERS[2])
    assert site.start() == load_policy(site.path) == RAISED


def test_a_stricter_policy_needs_nobody_and_the_way_back_needs_two(site):
    site.write(msgspec.structs.replace(STRICT, maximum_epsilon=2.0))
    site.start()
    site.write(STRICT)
    assert "from 2 to 4" in site.refusal().message


def test_a_file_that_is_removed_is_not_the_way_to_the_defaults(site):
    site.path.unlink()
    refusal = site.refusal()
    assert "maximum_epsilon from 4 to 8" in refusal.message
    officers = ", ".join(sorted(officer.fingerprint for officer in OFFICERS))
    assert f"countersigning from 2 of 3 officers ({officers}) to nobody's signature" in refusal.message


def test_nor_is_one_from_which_the_officers_were_struck(site):
    site.write(msgspec.structs.replace(STRICT, countersigning=None))
    assert "countersigning" in site.refusal().message


def test_officers_that_only_the_new_policy_names_have_no_say(site):
    """An administrator puts keys of their own in the officers' place, and signs with them."""
    theirs = Countersigning(officers=frozenset(stranger.public_key for stranger in STRANGERS))
    site.write(msgspec.structs.replace(RAISED, countersigning=theirs))
    with pytest.raises(RefusedError) as caught:
        site.sign(STRANGERS[0])
    assert caught.value.reason == "not-an-officer"
    change = read_change(site.path, read_policy(site.path))
    for stranger in STRANGERS:
        signature = acceptance.PolicySignature(stranger.public_key, stranger.sign(acceptance._message(change)))
        add_signature(site.path, signature)
    site.refusal()


def test_control_where_the_new_policy_s_officers_were_asked_the_swap_goes_through(site, monkeypatch):
    monkeypatch.setattr(acceptance.Change, "countersigning", property(lambda change: change.after.countersigning))
    theirs = Countersigning(officers=frozenset(stranger.public_key for stranger in STRANGERS))
    site.write(msgspec.structs.replace(RAISED, countersigning=theirs))
    site.sign(*STRANGERS[:2])
    assert site.start().maximum_epsilon == 8


def test_the_officers_themselves_may_be_followed_by_others(site):
    theirs = Countersigning(officers=frozenset(stranger.public_key for stranger in STRANGERS))
    site.write(msgspec.structs.replace(STRICT, countersigning=theirs))
    site.sign(*OFFICERS[:2])
    assert site.start().countersigning == theirs


def raise_and_lower(site):
    """Two officers allow a raise, which is in force for a while; afterwards the site is strict again."""
    site.write(RAISED)
    site.sign(*OFFICERS[:2])
    site.start()
    site.write(STRICT)
    site.start()


def test_a_signature_is_good_for_one_change_and_not_for_the_same_change_later(site):
    raise_and_lower(site)
    site.write(RAISED)
    assert "missing: 2" in site.refusal().message


def test_control_without_the_chain_an_old_raise_could_be_put_in_force_again(site, monkeypatch):
    monkeypatch.setattr(acceptance, "_message", lambda change: change.after.canonical())
    raise_and_lower(site)
    site.write(RAISED)
    assert site.start().maximum_epsilon == 8


def put_back(site, taken_back):
    """Two officers allow a raise, ``taken_back`` is done before the site has run under it, and both files return."""
    site.write(RAISED)
    site.sign(*OFFICERS[:2])
    files = [site.path, site.path.with_name(SIGNATURES_FILE)]
    saved = [file.read_bytes() for file in files]
    taken_back(site)
    for file, content in zip(files, saved, strict=True):
        file.write_bytes(content)


def lower_and_start(site):
    site.write(STRICT)
    site.start()


def put_in_force_and_lower(site):
    put_in_force(site.path)
    lower_and_start(site)


def test_a_raise_that_was_taken_back_before_any_start_is_not_signed_any_more(site):
    put_back(site, put_in_force_and_lower)
    assert "missing: 2" in site.refusal().message


def test_control_a_raise_that_nobody_put_in_force_when_it_was_signed_stays_signed(site):
    put_back(site, lower_and_start)
    assert site.start().maximum_epsilon == 8


def test_nothing_is_put_in_force_that_too_few_have_signed(site):
    site.write(RAISED)
    site.sign(OFFICERS[0])
    with pytest.raises(RefusedError) as caught:
        put_in_force(site.path)
    assert caught.value.reason == "policy-loosened"
    site.write(STRICT)
    assert site.start() == STRICT


def test_signatures_of_one_site_are_good_at_no_other(site, tmp_path):
    site.write(RAISED)
    site.sign(*OFFICERS[:2])
    other = Site(tmp_path / "other")
    other.write(STRICT)
    other.start()
    other.write(RAISED)
    (other.path.with_name(SIGNATURES_FILE)).write_bytes(site.path.with_name(SIGNATURES_FILE).read_bytes())
    other.refusal()


def test_what_was_signed_is_what_is_put_in_force(site):
    site.write(RAISED)
    site.sign(*OFFICERS[:2])
    site.write(msgspec.structs.replace(RAISED, maximum_epsilon=80.0))
    site.refusal()


def test_an_officer_who_signs_twice_is_one_officer(site):
    site.write(RAISED)
    signature = sign_change(read_change(site.path, read_policy(site.path)), OFFICERS[0])
    site.path.with_name(SIGNATURES_FILE).write_bytes(msgspec.json.encode([signature, signature]))
    site.refusal()


def test_signatures_that_cannot_be_read_are_no_signatures(site):
    site.write(RAISED)
    site.path.with_name(SIGNATURES_FILE).write_bytes(b"[")
    with pytest.raises(TamperingError) as caught:
        load_policy(site.path)
    assert caught.value.reason == "malformed-policy-signatures"


def test_a_memory_that_cannot_be_read_is_no_permission(site):
    latch = site.path.with_name(LATCH_FILE)
    with closing(sqlite3.connect(latch)) as database, database:
        database.execute("UPDATE policy SET content = x'00'")
    with pytest.raises(SecaggError) as caught:
        load_policy(site.path)
    assert caught.value.reason == "policy-memory-damaged"


def test_nothing_is_remembered_where_nobody_is_named(tmp_path):
    site = Site(tmp_path / "site")
    site.write(Policy())
    site.start()
    with Latch(site.path.with_name(LATCH_FILE)) as latch:
        assert latch.accepted_policy() is None


def test_there_is_nothing_to_sign_where_nothing_is_loosened(site):
    with pytest.raises(RefusedError) as caught:
        site.sign(OFFICERS[0])
    assert caught.value.reason == "nothing-to-sign"


def test_limit_who_may_remove_the_latch_may_loosen_the_policy(site):
    """As the documents say: the latch is the memory, and whoever owns the folder owns it."""
    site.path.with_name(LATCH_FILE).unlink()
    site.write(RAISED)
    assert site.start().maximum_epsilon == 8


def test_limit_but_a_head_that_was_noted_elsewhere_tells(site):
    def head():
        with Latch(site.path.with_name(LATCH_FILE)) as latch:
            return latch.accepted_policy().head

    noted = head()
    assert head() == noted
    site.path.with_name(LATCH_FILE).unlink()
    site.start()
    assert head() != noted


def test_a_latch_keeps_what_it_is_given(tmp_path):
    with Latch(tmp_path / LATCH_FILE) as latch:
        latch.record_policy(AcceptedPolicy(b"1" * 32, b"first"))
        latch.record_policy(AcceptedPolicy(b"2" * 32, b"second"))
    with Latch(tmp_path / LATCH_FILE) as latch:
        assert latch.accepted_policy() == AcceptedPolicy(b"2" * 32, b"second")

"""`secagg charter`: three hospitals agree, from a draft to a charter that all have signed, and on nothing else."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from secagg.charter.folder import read_charter, read_verified
from secagg.identity import Identity
from tests.cli.conftest import LOCAL_DP
from tests.cli.outcome import (
    INTERRUPTED,
    REFUSED,
    TAMPERING,
    UNUSABLE,
    Outcome,
    contents,
    copy_of,
    flip,
    nothing_written,
    respell,
)
from training.tasks.backbone import FOLDER

HEART = Path(__file__).parents[2] / "docs/examples/heart.toml"
OPEN_POLICY = 'allowed_privacy_modes = ["none", "local"]\n'


def alter(folder, old, new):
    path = folder / "charter.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# A consortium of three, end to end


def test_three_hospitals_agree_on_a_charter_that_each_has_read(secagg, here, keys, members, policy):
    policy.write_text(policy.read_text() + OPEN_POLICY)
    drafted = secagg("charter", "new", "heart", "--task", HEART, "--name", "heart-study", *members)
    assert "heart/charter.toml" in drafted.shown
    assert "tabular-classification" in drafted.shown
    assert "none: the model may reveal individual patients" in drafted.shown
    secagg("charter", "verify", "heart").failed(UNUSABLE, "charter-unsigned", "a, b, c", "secagg charter sign")
    still = ["b, c", "c"]
    for name in "abc":
        # Each reads it on its own machine, and compares hash and fingerprints.
        shown = secagg("charter", "show", "heart", "--json").json
        assert shown["charter"] in drafted.out
        assert keys[name]["fingerprint"] in secagg("charter", "show", "heart").shown
        told = secagg("charter", "sign", "heart", "--identity", f"{name}.pem").shown
        assert told.startswith(f"Signed as {name}: charter {shown['charter']}.")
        assert told.endswith(f"Not signed yet by: {still.pop(0)}." if still else "All members have signed.")
    verified = secagg("charter", "verify", "heart").shown
    assert verified == f"Yes: all 3 members have signed the charter {shown['charter']}."
    assert read_verified(here / "heart").charter.name == "heart-study"
    assert secagg("charter", "show", "heart", "--json").json["signed_by"] == ["a", "b", "c"]


def test_signatures_that_are_shown_are_said_not_to_have_been_verified(secagg, drafted, policy):
    assert "not verified" not in secagg("charter", "show").out
    assert secagg("charter", "sign", "--identity", "a.pem").code == 0
    alter(drafted, "rounds = ", "rounds = 1")
    assert "Signatures were not verified here: secagg charter verify charter\n" in secagg("charter", "show").out
    secagg("charter", "verify", "charter").failed(TAMPERING, "charter-altered")


def test_columns_may_come_from_a_hospitals_file(secagg, here, members):
    task = (here / "task.toml").read_text().replace('features = ["age", "dose"]\n', "")
    (here / "task.toml").write_text(task)
    new = ("charter", "new", "--task", "task.toml", *members)
    with nothing_written(here):
        secagg(*new).failed(UNUSABLE, "columns-unknown", "task.toml", "data.features", "--columns-from")
        secagg(*new, "--columns-from", "none.csv").failed(UNUSABLE, "unreadable-file", "none.csv")
    shown = secagg(*new, "--columns-from", "data/h1.csv", "--json").json
    assert shown["content"]["task"]["settings"]["data"]["features"] == ["age", "dose"]


def test_columns_from_a_file_beside_those_in_the_task_are_refused(secagg, here, members):
    with nothing_written(here):
        new = secagg("charter", "new", "--task", "task.toml", *members, "--columns-from", "data/h1.csv")
        new.failed(UNUSABLE, "usage", "--columns-from has no effect", "lists its features")


def test_what_is_shown_is_what_was_chosen(secagg, here, members):
    secagg("charter", "new", "--task", "task.toml", "--rounds", "7", "--epsilon", "2", *LOCAL_DP, *members)
    shown = secagg("charter", "show").shown
    assert "7 sums" in shown
    assert "local: epsilon 2 at delta 1e-05" in shown
    assert "at least 3 of 3 hospitals" in shown
    content = secagg("charter", "show", "--json").json["content"]
    assert content["training"]["rounds"] == 7
    assert content["privacy"]["budget"] == 2


@pytest.mark.parametrize(
    ("patient", "told"),
    [
        ("", "each row: the task names no patient column"),
        ('patient = "who"\n', "all rows at a hospital with one 'who'"),
    ],
    ids=["no patient column", "one"],
)
def test_whoever_is_to_sign_is_told_what_a_patient_is(secagg, here, members, patient, told):
    task = (here / "task.toml").read_text().replace("[data]\n", f"[data]\n{patient}")
    (here / "task.toml").write_text(task)
    for command in ("new", "--task", "task.toml", *LOCAL_DP, *members), ("show",):
        assert f"a patient is {told}" in secagg("charter", *command).shown


def test_two_drafts_of_the_same_choices_are_two_charters(secagg, here, members):
    drafts = [
        secagg("charter", "new", name, "--task", "task.toml", *members, "--json").json["charter"]
        for name in ("one", "two")
    ]
    assert drafts[0] != drafts[1]


def test_signing_as_json_says_who_is_missing(secagg, drafted, policy):
    signed = secagg("charter", "sign", "--identity", "b.pem", "--json").json
    assert signed["signed_as"] == "b"
    assert signed["missing"] == ["a", "c"]
    assert signed["charter"] == read_charter(drafted).digest().hex()


def test_signing_twice_changes_nothing(secagg, signed):
    before = contents(signed)
    assert secagg("charter", "sign", "--identity", "b.pem").shown.endswith("All members have signed.")
    assert contents(signed) == before


# Schemes

WEAKNESS = "a coordinator that colludes with any one of them reads every hospital's update."


def new(secagg, members, *options):
    return secagg("charter", "new", "--task", "task.toml", *LOCAL_DP, *members, *options)


@pytest.mark.parametrize(
    ("chosen", "scheme"),
    [("mask", "mask"), ("double-lock", "double-lock"), ("he", "double-lock"), ("bfv", "bfv"), ("ckks", "ckks")],
)
def test_a_charter_has_the_chosen_scheme_and_homomorphic_encryption_is_double_lock(
    secagg, here, members, chosen, scheme
):
    assert new(secagg, members, "--scheme", chosen).code == 0
    content = secagg("charter", "show", "--json").json["content"]
    assert content["scheme"] == scheme
    assert content["homomorphic"]["parameters"] == "n4096-q60"


def test_an_unknown_scheme_is_refused_and_the_known_ones_are_listed(secagg, here, members):
    with nothing_written(here):
        outcome = new(secagg, members, "--scheme", "paillier")
    outcome.failed(UNUSABLE, "usage", "--scheme", "paillier", "double-lock")


def test_parameters_may_be_chosen_where_something_is_encrypted(secagg, here, members):
    with nothing_written(here):
        outcome = new(secagg, members, "--homomorphic", "n8192-q60")
    outcome.failed(UNUSABLE, "nothing-encrypted", "n8192-q60", "double-lock")
    assert new(secagg, members, "--scheme", "he", "--homomorphic", "n8192-q60").code == 0
    assert "n8192-q60: ring degree 8192" in secagg("charter", "show").shown


@pytest.mark.parametrize(
    ("scheme", "told"),
    [
        (
            "mask",
            [
                "coordinator sees the sum",
                "with one hospital it sees the sum of each round; over several, an update too",
                "if the hospital helps it to forge a sum",
                "masks with all others",
            ],
        ),
        (
            "double-lock",
            [
                "coordinator sees neither an update nor the sum",
                "with one hospital it sees the sum of each round; over several, an update too",
                "may collude with the coordinator 1 of them",
                "BFV, n4096-q60: ring degree 4096, modulus of 60 bits (128 bits of security: 109 at most)",
                "24 bits, 2 per coefficient; plain modulus 2^48",
                "yes: noise of at most 51 (except with probability 2^-40), where 2,048 would do harm",
            ],
        ),
        (
            "bfv",
            [
                "coordinator sees neither an update nor the sum",
                "with one hospital it sees every hospital's update",
                "may collude with the coordinator none of them",
                "shares its key with all others",
                "plain modulus 2^48",
            ],
        ),
        (
            "ckks",
            [
                "with one hospital it sees every hospital's update",
                "24 bits, 2 per coefficient; scale 2^11",
                "noise of at most",
                "where 1,024 would do harm",
            ],
        ),
    ],
)
def test_the_terms_say_who_sees_what_and_why_sums_are_exact(secagg, here, members, monkeypatch, scheme, told):
    # Wide enough for every term to stand on one line.
    monkeypatch.setenv("COLUMNS", "200")
    drafted = new(secagg, members, "--scheme", scheme)
    shown = secagg("charter", "show")
    for line in told:
        assert line in Outcome(0, drafted.out, "").shown
        assert line in Outcome(0, shown.out, "").shown


def test_with_no_colluders_in_the_charter_nothing_is_promised_against_one(secagg, here, members):
    assert "not promised: max_colluding is 0" in new(secagg, members, "--colluding", "0").shown


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_one_key_for_all_is_told_by_new_show_and_sign(secagg, here, members, policy, scheme):
    drafted = new(secagg, members, "--scheme", scheme)
    policy.write_text(policy.read_text() + f'allowed_schemes = ["{scheme}"]\n')
    sign = ("charter", "sign", "--identity", "a.pem")
    for outcome in (drafted, secagg("charter", "show"), secagg(*sign)):
        assert outcome.code == 0
        assert outcome.err.count("\n") == 1
        assert outcome.err.startswith(f"Warning: Under the scheme {scheme} all hospitals have one key:")
        assert WEAKNESS in outcome.err
        assert "Choose the scheme double-lock" in outcome.err
    for command in (("charter", "show"), sign):
        (warning,) = secagg(*command, "--json").json["warnings"]
        assert warning["code"] == "shared-key"
        assert WEAKNESS in warning["message"]
        assert "double-lock" in warning["remedy"]


def sign_by_all(secagg, policy, scheme):
    """By hospitals that allow the scheme by its name."""
    policy.write_text(policy.read_text() + f'allowed_schemes = ["{scheme}"]\n')
    for name in "abc":
        assert secagg("charter", "sign", "--identity", f"{name}.pem").code == 0


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_and_by_verify_and_by_who_makes_the_start_up_kits(secagg, here, members, policy, scheme):
    new(secagg, members, "--scheme", scheme)
    sign_by_all(secagg, policy, scheme)
    verify, provision = ("charter", "verify"), ("charter", "provision", "--host", "localhost", "--out")
    for outcome in (secagg(*verify), secagg(*provision, "one")):
        assert outcome.code == 0
        assert outcome.err.count("\n") == 1
        assert outcome.err.startswith(f"Warning: Under the scheme {scheme} all hospitals have one key:")
    for command in (verify, (*provision, "two")):
        assert [warning["code"] for warning in secagg(*command, "--json").json["warnings"]] == ["shared-key"]


def test_one_key_for_all_is_told_before_a_signature_is_written(secagg, here, members, policy, monkeypatch):
    new(secagg, members, "--scheme", "bfv")
    policy.write_text(policy.read_text() + 'allowed_schemes = ["bfv"]\n')

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.charter.write_signatures", stopped)
    outcome = secagg("charter", "sign", "--identity", "a.pem")
    assert outcome.code == INTERRUPTED
    assert WEAKNESS in outcome.err
    assert "Signed" not in outcome.out


@pytest.mark.parametrize("scheme", ["mask", "double-lock"])
def test_schemes_that_hold_against_colluders_come_without_a_warning(secagg, here, members, policy, scheme):
    assert new(secagg, members, "--scheme", scheme, "--json").json["warnings"] == []
    assert secagg("charter", "show").err == ""
    assert secagg("charter", "sign", "--identity", "a.pem").err == ""


def test_what_encryption_comes_to_is_in_the_json_too(secagg, here, members):
    encryption = new(secagg, members, "--scheme", "he", "--json").json["encryption"]
    assert encryption["spec"]["parameters"]["degree"] == 4096
    assert encryption["spec"]["bits"] == 48
    assert encryption["numbers_per_value"] == 2
    assert encryption["deviation"] < encryption["room"]


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_without_a_word_in_the_policy_a_charter_with_one_key_for_all_is_not_signed(
    secagg, here, members, policy, scheme
):
    new(secagg, members, "--scheme", scheme)
    with nothing_written(here):
        outcome = secagg("charter", "sign", "--identity", "a.pem")
    outcome.failed(REFUSED, "scheme-not-allowed", f"is {scheme}", WEAKNESS, "double-lock", "Change policy.toml")


@pytest.mark.parametrize("known", [None, "known_members = []\n"], ids=["no policy", "a policy that knows nobody"])
def test_it_is_refused_for_its_scheme_before_anything_else(secagg, here, members, known):
    new(secagg, members, "--scheme", "bfv")
    if known:
        (here / "policy.toml").write_text(known)
    with nothing_written(here):
        outcome = secagg("charter", "sign", "--identity", "a.pem")
    outcome.failed(REFUSED, "scheme-not-allowed", WEAKNESS, "Choose the scheme double-lock")
    assert ("`secagg policy new policy.toml --charter charter` writes it" in outcome.err) == (known is None)


def test_above_a_hundred_hospitals_an_encrypted_charter_says_that_all_have_to_do_with_all(secagg, here):
    members = [
        part
        for number in range(101)
        for part in ("--member", f"h{number}={b64encode(Identity.generate().public_key).decode()}")
    ]
    outcome = new(secagg, members, "--scheme", "he")
    assert outcome.code == 0
    assert outcome.err.startswith("Warning: Under the scheme double-lock each of the 101 hospitals has to do with all")
    assert outcome.err.endswith("[all-with-all]\n")
    assert read_charter(here / "charter").graph.degree == 0


# Drafting


def test_a_charter_that_is_there_is_not_overwritten(secagg, signed, here, members):
    with nothing_written(here):
        outcome = secagg("charter", "new", "--task", "task.toml", *members)
    outcome.failed(UNUSABLE, "charter-exists", "charter/charter.toml", "Choose another folder")


@pytest.mark.parametrize("key", ["", "=", "=AAAA", "=not base64", "=" + "A" * 40, "=" + "A" * 43 + "==", "=é"])
def test_a_malformed_key_is_refused_with_the_place_to_copy_it_from(secagg, here, members, key):
    with nothing_written(here):
        outcome = secagg("charter", "new", "--task", "task.toml", *members, "--member", f"delta{key}")
    outcome.failed(UNUSABLE, "bad-public-key", "delta", "secagg identity show")


def test_a_member_listed_twice_is_refused(secagg, here, members, keys):
    with nothing_written(here):
        for twice in (f"d={keys['a']['public_key']}", f"a={bytes(32).hex()[:43]}="):
            outcome = secagg("charter", "new", "--task", "task.toml", *members, "--member", twice)
            outcome.failed(UNUSABLE, "duplicate-member", "List each member once")


def test_a_member_whose_name_differs_from_anothers_in_capitals_only_is_refused(secagg, here, members):
    key = secagg("identity", "new", "d.pem", "--json").json["public_key"]
    with nothing_written(here):
        outcome = secagg("charter", "new", "--task", "task.toml", *members, "--member", f"A={key}")
    outcome.failed(UNUSABLE, "duplicate-member", "The names a and A differ in capitals only", "another name")


@pytest.mark.parametrize(
    ("options", "reason", "mentions"),
    [
        (["--target", "0.9"], "target-without-metrics", ["target", "(--metrics)"]),
        (["--metrics", "noisy"], "metrics-contradict", ["Noisy", "(--metrics)", "(--dp)"]),
        (["--metrics", "exact", *LOCAL_DP], "metrics-not-private", ["noisy", "(--metrics)"]),
        (["--threshold", "2"], "unsafe-threshold", ["3 to 3", "(--threshold)"]),
        (["--colluding", "2"], "too-many-colluding", ["3 members", "2 collude", "(--colluding) may be 1 at most"]),
        (["--epsilon", "0.0001", *LOCAL_DP], "unreachable-epsilon", ["0.0001", "Raise epsilon"]),
    ],
)
def test_choices_that_contradict_each_other_leave_no_charter(secagg, here, members, options, reason, mentions):
    with nothing_written(here):
        secagg("charter", "new", "--task", "task.toml", *members, *options).failed(UNUSABLE, reason, *mentions)


@pytest.mark.parametrize(
    ("options", "mentions"),
    [
        (["--task", "task.toml"], ["--member"]),
        (["--member", "a=b"], ["--task"]),
        (["--task", "data", "--member", "a=b"], ["--task", "is a directory"]),
        (["--task", "task.toml", "--member", "a=b", "--epsilon", "nan"], ["--epsilon", "nan"]),
        (["--task", "task.toml", "--member", "a=b", "--epsilon", "3"], ["--epsilon", "--dp local or --dp distributed"]),
    ],
)
def test_what_is_missing_or_senseless_is_named(secagg, here, options, mentions):
    with nothing_written(here):
        secagg("charter", "new", *options).failed(UNUSABLE, "usage", *mentions, "secagg charter new --help")


def test_a_place_that_cannot_be_written_to_is_named(secagg, here, members):
    with nothing_written(here):
        outcome = secagg("charter", "new", "task.toml/charter", "--task", "task.toml", *members)
    outcome.failed(UNUSABLE, "unwritable", "task.toml/charter")


@pytest.mark.parametrize("name", ["", "St. Mary", "Köln", "../outside", 70 * "x"])
def test_a_name_that_no_charter_can_hold_is_refused(secagg, here, keys, members, name):
    strange = ["--member", f"{name}={keys['a']['public_key']}", *members[2:]]
    with nothing_written(here):
        outcome = secagg("charter", "new", "--task", "task.toml", *strange)
    outcome.failed(UNUSABLE, "bad-name", f"{name!r} cannot be the name of a hospital.", "letters")


@pytest.mark.parametrize("name", ["", "our study", "../outside"])
def test_a_name_of_the_consortium_that_no_charter_can_hold_is_refused(secagg, here, members, name):
    with nothing_written(here):
        outcome = secagg("charter", "new", "--task", "task.toml", "--name", name, *members)
    outcome.failed(UNUSABLE, "bad-name", f"{name!r} cannot be the name of the consortium.")


def test_a_consortium_of_two_is_refused(secagg, here, members):
    with nothing_written(here):
        outcome = secagg("charter", "new", "--task", "task.toml", "--colluding", "0", *members[:4])
    outcome.failed(UNUSABLE, "too-few-members", "this one 2", "Add a hospital")


@pytest.mark.parametrize("folder", ["c [red]d", "c[/]d", "c:cd:d"])
def test_the_name_of_a_folder_is_shown_as_it_is(secagg, here, members, folder):
    assert f"{folder}/charter.toml" in secagg("charter", "new", folder, "--task", "task.toml", *members).shown


def test_names_and_fingerprints_are_shown_whole_however_narrow_the_terminal(secagg, here, keys, monkeypatch):
    monkeypatch.setattr("cli.output.console.width", 60)
    named = [part for name, key in keys.items() for part in ("--member", f"{name * 64}={key['public_key']}")]
    shown = secagg("charter", "new", "--task", "task.toml", *named).shown
    for name, key in keys.items():
        assert f"{name * 64} {key['fingerprint']} no" in shown


# Signing


def test_an_identity_that_is_not_listed_cannot_sign(secagg, drafted, here, policy):
    stranger = secagg("identity", "new", "stranger.pem", "--json").json
    with nothing_written(here):
        outcome = secagg("charter", "sign", "--identity", "stranger.pem")
    outcome.failed(UNUSABLE, "unknown-member", stranger["fingerprint"], "Ask the member who wrote the charter")


def test_a_key_readable_by_others_cannot_sign(secagg, drafted, here, policy):
    (here / "a.pem").chmod(0o644)
    with nothing_written(here):
        secagg("charter", "sign", "--identity", "a.pem").failed(UNUSABLE, "key-readable-by-others", "chmod 600 a.pem")


def test_a_key_with_a_passphrase_can_sign(secagg, drafted, here, policy, keys, members):
    (here / "passphrase.txt").write_text("correct horse\n")
    (here / "wrong.txt").write_text("battery staple\n")
    made = secagg("identity", "new", "d.pem", "--passphrase-file", "passphrase.txt", "--json").json
    policy.write_text(policy.read_text().replace("]", f', "{made["fingerprint"]}"]'))
    d = ("--member", f"d={made['public_key']}")
    assert secagg("charter", "new", "four", "--task", "task.toml", *LOCAL_DP, *members, *d).code == 0
    sign = ("charter", "sign", "four", "--identity", "d.pem")
    with nothing_written(here):
        secagg(*sign).failed(UNUSABLE, "wrong-passphrase", "d.pem")
        secagg(*sign, "--passphrase-file", "wrong.txt").failed(UNUSABLE, "wrong-passphrase", "d.pem")
    assert "Signed as d" in secagg(*sign, "--passphrase-file", "passphrase.txt").shown


def test_without_a_policy_of_its_own_a_hospital_knows_nobody(secagg, drafted, here, keys):
    with nothing_written(here):
        outcome = secagg("charter", "sign", "--identity", "a.pem")
    more = ("secagg policy new policy.toml --charter charter", "Compare each fingerprint in it with its owner")
    outcome.failed(REFUSED, "unknown-member", keys["a"]["fingerprint"], *more)


def test_control_with_a_policy_only_the_fingerprint_is_asked_for(secagg, drafted, here, keys):
    (here / "policy.toml").write_text("known_members = []\n")
    told = secagg("charter", "sign", "--identity", "a.pem").err
    assert "Compare the fingerprint with its owner" in told
    assert "secagg policy new" not in told


def test_the_strict_policy_refuses_a_charter_without_differential_privacy(secagg, here, members, policy):
    secagg("charter", "new", "--task", "task.toml", *members)
    with nothing_written(here):
        outcome = secagg("charter", "sign", "--identity", "a.pem")
    outcome.failed(REFUSED, "privacy-mode-not-allowed", "is none", "local only", "Change policy.toml")


@pytest.mark.parametrize(
    ("limit", "reason", "mentions"),
    [
        ("maximum_epsilon = 1.0", "epsilon-too-large", ["8.0", "1.0"]),
        ("maximum_delta = 1e-9", "delta-too-large", ["1e-05", "1e-09"]),
        ("minimum_cohort = 5", "cohort-too-small", ["3", "5"]),
        ("minimum_honest = 3", "too-few-honest", ["2", "3"]),
        ("maximum_weight = 10", "weight-too-large", ["1024", "10"]),
        ('allowed_tasks = ["image-classification"]', "task-not-allowed", ["tabular", "image"]),
    ],
)
def test_each_limit_of_a_policy_is_told_beside_what_the_charter_says(
    secagg, drafted, here, policy, limit, reason, mentions
):
    policy.write_text(policy.read_text() + limit + "\n")
    with nothing_written(here):
        outcome = secagg("charter", "sign", "--identity", "a.pem")
    outcome.failed(REFUSED, reason, *mentions, "Change policy.toml")


def test_a_charter_whose_weights_have_no_room_is_not_signed(secagg, drafted, here, policy):
    alter(drafted, "field_bits = 24", "field_bits = 16")
    alter(drafted, "max_weight = 1024", "max_weight = 12000")
    policy.write_text(policy.read_text() + "maximum_weight = 12000\n")
    with nothing_written(here):
        outcome = secagg("charter", "sign", "--identity", "a.pem")
    outcome.failed(UNUSABLE, "field-too-narrow", "16 bits", "Raise encoding.field_bits")


@pytest.mark.parametrize("content", ["known_members = 3\n", "known_membres = []\n", "known_members = [\n"])
def test_a_policy_that_cannot_be_read_allows_nothing(secagg, drafted, here, policy, content):
    policy.write_text(content)
    with nothing_written(here):
        secagg("charter", "sign", "--identity", "a.pem").failed(UNUSABLE, "malformed-policy", "policy.toml")


# Altered


def test_a_charter_altered_after_signing_is_found_out(secagg, signed):
    alter(signed, "rounds = 20", "rounds = 21")
    outcome = secagg("charter", "verify")
    outcome.failed(TAMPERING, "charter-altered", "signature of a", "Compare the charter's hash")
    error = secagg("charter", "verify", "--json").error
    assert (error["reason"], error["culprit"]) == ("charter-altered", "a")


def test_a_charter_altered_after_others_signed_is_not_signed(secagg, signed, here):
    """Else the signatures of those who agreed to something else would seem to stand under this."""
    alter(signed, "rounds = 20", "rounds = 21")
    with nothing_written(here):
        outcome = secagg("charter", "sign", "--identity", "a.pem")
    outcome.failed(TAMPERING, "charter-altered", "signature of b")


def test_one_altered_byte_of_a_signature_is_found_out(secagg, signed):
    path = signed / "charter.signatures.json"
    respell(path, path.read_bytes().rindex(b'"signature": "') + 20)
    secagg("charter", "verify").failed(TAMPERING, "charter-altered", "signature of c")


def test_signatures_cut_short_are_found_out(secagg, signed, here):
    path = signed / "charter.signatures.json"
    path.write_bytes(path.read_bytes()[:-10])
    with nothing_written(here):
        for command in ("verify", "show", "sign"):
            options = ["--identity", "a.pem"] if command == "sign" else []
            secagg("charter", command, *options).failed(TAMPERING, "malformed-signatures")


def test_a_signatures_file_that_is_no_longer_text_is_found_out(secagg, signed):
    path = signed / "charter.signatures.json"
    flip(path, path.read_bytes().index(b'"a"') + 1, bit=0x80)
    for command in ("verify", "show"):
        secagg("charter", command).failed(TAMPERING, "malformed-signatures", "charter.signatures.json", "sign again")


@pytest.mark.parametrize(("old", "new"), [("threshold = 3", "threshold = 2"), ('"mask"', '"masc"'), ("[training]", "")])
def test_a_signed_charter_that_is_none_any_more_was_altered(secagg, signed, here, old, new):
    alter(signed, old, new)
    with nothing_written(here):
        for command in (["verify"], ["show"], ["sign", "--identity", "a.pem"]):
            outcome = secagg("charter", *command)
            outcome.failed(TAMPERING, "charter-altered", "charter/charter.toml was changed after a, b, c signed it")


def test_an_unsigned_charter_that_contradicts_itself_is_a_draft_to_mend(secagg, drafted):
    alter(drafted, "threshold = 3", "threshold = 2")
    secagg("charter", "verify").failed(UNUSABLE, "unsafe-threshold", "Set threshold = 3")


def test_a_missing_signature_is_asked_for_by_name(secagg, signed, here, keys, members, policy):
    copy_of(signed, here / "partly")
    (here / "partly/charter.signatures.json").unlink()
    secagg("charter", "sign", "partly", "--identity", "b.pem")
    secagg("charter", "verify", "partly").failed(UNUSABLE, "charter-unsigned", "signature of a, c")


@pytest.mark.parametrize("content", [b"", b"name = ", b"\xff\xfe", b"name = 'x'\n"])
def test_what_is_no_charter_is_refused(secagg, here, content):
    (here / "charter").mkdir()
    (here / "charter/charter.toml").write_bytes(content)
    for command in ("show", "verify"):
        secagg("charter", command).failed(UNUSABLE, "malformed-charter", "secagg charter new")


# What becomes of the model


def test_that_batch_norm_was_replaced_is_told_when_a_charter_is_drafted(secagg, normed_task, members):
    drafted = secagg("charter", "new", "--task", normed_task, *members)
    assert drafted.code == 0
    assert "Warning: 2 BatchNorm layers are replaced by GroupNorm: BatchNorm mixes patients" in drafted.err
    told = secagg("charter", "new", "again", "--task", normed_task, *members, "--json").json["warnings"]
    assert [warning["code"] for warning in told] == ["chosen-start", "batch-norm-replaced"]


def test_of_a_model_without_batch_norm_nothing_is_told(drafted, secagg, members):
    assert secagg("charter", "new", "again", "--task", "task.toml", *members).err == ""


def test_the_terms_say_which_part_is_trained_and_on_which_backbone(secagg, here, members, monkeypatch):
    data = save({"0.weight": torch.zeros(4, 2), "0.bias": torch.zeros(4)})
    (here / "net.safetensors").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    model = f'[model]\nname = "mlp"\nhidden = [4]\nbackbone = "net.safetensors"\nbackbone_sha256 = "{digest}"\n'
    task = here / "task.toml"
    rest = task.read_text()
    monkeypatch.delenv(FOLDER, raising=False)
    for train, told in (
        ("lora", "pairs of rank 4 beside frozen layers"),
        ("last-layer", "all other parameters are frozen"),
    ):
        task.write_text(f'{rest}{model}train = "{train}"\n')
        drafted = secagg("charter", "new", train, "--task", task, *members)
        assert drafted.err.startswith("Warning: Training starts from the backbone net.safetensors, without")
        shown = Outcome(0, drafted.out, "").shown
        assert told in shown
        # Whole, if on two lines.
        assert f"net.safetensors,SHA-256{digest}" in shown.replace(" ", "")
    (here / "net.safetensors").unlink()
    secagg("charter", "new", "third", "--task", task, *members).failed(UNUSABLE, "backbone-missing", "net.safetensors")
    # Reading a charter needs no backbone.
    assert secagg("charter", "show", "lora").code == 0

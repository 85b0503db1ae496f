"""Every attack is refused with its reason code, and succeeds on the build that lacks the defence."""

from __future__ import annotations

import re
from pathlib import Path
from traceback import walk_tb
from unittest.mock import patch

import pytest

from secagg.charter import thresholds
from secagg.errors import LocalProtocolError, SecaggError
from secagg.masking import MaskingClient, MaskingServer
from secagg.wire.envelope import peek
from training.attacks.model import Liar, Refused, Refuser, Succeeded, Tries
from training.attacks.suite import ATTACKS, Verdict, audit, load_controls, named, perform
from training.attacks.ward import Party
from training.coordinator import Coordinator

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
CONTROLS = load_controls(HERE, ATTACKS)
# What a party would be asked, without the party.
ASKS_A_PART = {"release-of-one", "weak-parameters-in-use", "false-weights"}
_AT_A_HOSPITAL, _AT_THE_COORDINATOR = (MaskingClient, Party), (MaskingServer, Coordinator)
PARTIES = {
    Refuser.HOSPITAL: _AT_A_HOSPITAL,
    Refuser.COORDINATOR: _AT_THE_COORDINATOR,
    Refuser.AUDIT: (MaskingServer,),
    Refuser.BOTH: (*_AT_A_HOSPITAL, *_AT_THE_COORDINATOR),
}
THREAT_MODEL = (REPOSITORY / "docs" / "threat-model.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=ATTACKS, ids=lambda attack: attack.name)
def performed(request):
    """One attack, what came of it on its weakened build, and after that on the real one; who refused what there."""
    attack, refusals = request.param, []
    on_weakened = perform(attack, CONTROLS[attack.name].build)
    with patch.object(Tries, "__call__", noting_in(refusals)):
        return attack, on_weakened, perform(attack), refusals


def noting_in(refusals):
    """`Tries` that also note of each refusal who is said to have made it, and whose methods were being called."""
    honest = Tries.__call__

    def noting(tries, call, *arguments, **named):
        def noted():
            try:
                return call(*arguments, **named)
            except SecaggError as error:
                called = [type(frame.f_locals.get("self")) for frame, _ in walk_tb(error.__traceback__)]
                refusals.append((tries.by, error.reason, called))
                raise

        return honest(tries, noted)

    return noting


def is_by_a_party(refusal):
    by, _, called = refusal
    return any(issubclass(kind, PARTIES.get(by, object)) for kind in called)


def test_the_attack_is_refused_with_its_reason_code(performed):
    """No weakened build leaves anything of itself behind either: this came after the control."""
    attack, _, outcome, _ = performed
    assert outcome == attack.refused


def test_control_the_attack_succeeds_on_the_build_that_lacks_the_defence(performed):
    _, outcome, _, _ = performed
    assert isinstance(outcome, Succeeded), outcome


def test_it_is_refused_by_who_is_said_to_refuse_it_and_not_in_the_attackers_own_code(performed):
    attack, _, _, refusals = performed
    others = [refusal for refusal in refusals if not is_by_a_party(refusal)]
    assert attack.name in ASKS_A_PART or others == []


def test_a_refusal_in_the_attackers_own_code_would_be_noticed():
    refusals = []
    with patch.object(Tries, "__call__", noting_in(refusals)):
        Tries(Refuser.HOSPITAL)(peek, b"")
    (refusal,) = refusals
    assert not is_by_a_party(refusal)


def test_every_attack_has_a_control_and_every_control_an_attack():
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names)
    assert set(CONTROLS) == set(names)


def test_every_attack_says_for_what_it_must_be_refused():
    for attack in ATTACKS:
        assert attack.refused.reasons, attack.name
        assert re.fullmatch(r"[A-Z].*\.", attack.does), attack.name


def test_no_hospital_that_lies_is_refused_by_its_own_encoder():
    by_itself = [attack for attack in ATTACKS if (attack.liar, attack.refused.by) == (Liar.HOSPITAL, Refuser.ENCODER)]
    assert by_itself == []


# --- The threat model ----------------------------------------------------------------------------------------


def named_in(text: str) -> set[str]:
    """What has a name like a code: attacks, and reasons of refusals."""
    return set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", text))


def sections(document: str) -> dict[str, str]:
    """What stands below each heading, up to the next."""
    parts = re.split(r"^#{2,3} (.+)\n", document, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_threat_model_names_every_attack_below_the_heading_that_the_attack_gives():
    below = sections(THREAT_MODEL)
    misplaced = [attack.name for attack in ATTACKS if f"`{attack.name}`" not in below[attack.claim]]
    assert misplaced == []


def test_every_name_in_the_threat_model_is_that_of_an_attack_or_of_a_reason():
    packages = ("secagg", "dp", "training")
    sources = "".join(path.read_text() for package in packages for path in (REPOSITORY / package).rglob("*.py"))
    names = {attack.name for attack in ATTACKS}
    assert {name for name in named_in(THREAT_MODEL) - names if f'"{name}"' not in sources} == set()


def test_the_readme_shows_what_the_command_says_of_all_attacks():
    number = len(ATTACKS)
    said = f"Yes: {number} of {number} attacks were refused as they should be, and all {number} controls succeed."
    assert said in (REPOSITORY / "README.md").read_text(encoding="utf-8")


# --- What decides --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome",
    [
        Refused.with_reasons(Refuser.COORDINATOR, "forged-sum"),
        Refused.with_reasons(Refuser.HOSPITAL, "forged-sum", "malformed"),
        Refused.with_reasons(Refuser.HOSPITAL),
        Succeeded("everything"),
    ],
    ids=["by another", "for more reasons", "for none", "not at all"],
)
def test_an_attack_that_is_refused_otherwise_is_not_refused_as_it_should_be(outcome):
    (attack,) = named(["forged-sum"])
    assert audit(attack).refused
    assert not Verdict(attack, outcome, 0.0).refused
    assert Verdict(attack, attack.refused, 0.0, outcome).control_succeeded is isinstance(outcome, Succeeded)


def test_an_attack_whose_honest_part_is_refused_is_broken_and_named():
    (attack,) = named(["forged-sum"])
    with patch.object(thresholds, "smallest_threshold", lambda *_: 99), pytest.raises(LocalProtocolError) as caught:
        perform(attack)
    assert (caught.value.reason, caught.value.culprit) == ("attack-broken", "forged-sum")


def test_what_was_learned_counts_even_where_other_tries_were_refused():
    tries = Tries(Refuser.HOSPITAL, {"malformed"})
    assert tries.outcome("a vector") == Succeeded("a vector")
    assert tries.outcome(None) == Refused.with_reasons(Refuser.HOSPITAL, "malformed")


def test_a_fault_of_the_script_is_no_refusal():
    def broken():
        raise LocalProtocolError("out-of-turn", "The script is wrong.")

    with pytest.raises(LocalProtocolError):
        Tries(Refuser.HOSPITAL)(broken)

"""Which schemes this machine can run, and how fast it encrypts: of `secagg doctor`."""

from __future__ import annotations

from collections.abc import Mapping

from cli.machine_check import MachineCheck
from cli.terms import described_margin, described_parameters
from secagg.charter import Charter
from secagg.charter.cautions import SHARED_KEY_SCHEMES, Caution, cautions, shared_key
from secagg.charter.encryption import EncryptionTerms, encryption_terms, terms_of
from secagg.charter.sections import Scheme
from secagg.encoding.ring import Ring
from secagg.errors import InputError
from secagg.homomorphic.form import approximate_form, exact_form
from secagg.homomorphic.parameters import DEFAULT_PARAMETERS, Encryption, parameter_set
from training.choices import USUAL_FIELD_BITS
from training.encryption_trial import numbers_a_second

_MILLION = 1e6
# What is tried where no charter says what is needed: numbers as wide as by default, in a consortium of usual size.
_MEMBERS, _LENGTH = 100, 100_000
_ENCRYPTED: Mapping[Scheme, Encryption] = {
    "double-lock": Encryption.BFV,
    "bfv": Encryption.BFV,
    "ckks": Encryption.CKKS,
}


def charter_checks(charter: Charter) -> list[MachineCheck]:
    """Whether this machine can do what ``charter`` asks for."""
    told = cautions(charter)
    checks = [_scheme("charter's scheme", charter.scheme, told)]
    terms = encryption_terms(charter)
    if terms is None:
        return checks
    parameters = described_parameters(charter.homomorphic.parameters, terms)
    checks.append(MachineCheck("charter's parameters", parameters, good=True))
    checks.append(MachineCheck("sums are exact", described_margin(terms), good=terms.deviation < terms.room))
    try:
        checks.append(_encryption(terms, charter.encoding.field_bits))
    except InputError as error:
        checks.append(MachineCheck(_name(terms.spec.encryption), error.diagnostics(), good=False))
    return checks


def scheme_checks() -> list[MachineCheck]:
    """Which schemes this machine can run. One that it cannot is told as a warning: nobody has chosen it yet."""
    parameters, ring = parameter_set(DEFAULT_PARAMETERS), Ring(USUAL_FIELD_BITS)
    checks, failed = [], {}
    for make in (exact_form, approximate_form):
        terms = terms_of(make(parameters, ring, _LENGTH, _MEMBERS))
        try:
            checks.append(_encryption(terms, USUAL_FIELD_BITS))
        except InputError as error:
            failed[terms.spec.encryption] = Caution(error.reason, error.message, error.remedy or "")
    checks.append(_scheme("scheme mask", "runs here", ()))
    for scheme, encryption in _ENCRYPTED.items():
        told = (shared_key(scheme),) if scheme in SHARED_KEY_SCHEMES else ()
        if encryption in failed:
            checks.append(_scheme(f"scheme {scheme}", "does not run here", (failed[encryption],)))
        else:
            checks.append(_scheme(f"scheme {scheme}", "runs here", told))
    return checks


def _scheme(what: str, found: str, told: tuple[Caution, ...]) -> MachineCheck:
    return MachineCheck(what, ". ".join((found, *(caution.told() for caution in told))), good=True, warnings=told)


def _encryption(terms: EncryptionTerms, field_bits: int) -> MachineCheck:
    """Try it.

    Raises:
        InputError: if it does not work here.
    """
    rate = numbers_a_second(terms) / _MILLION
    found = f"{rate:.1f} M parameters/s of {field_bits} bits, one core; sums decrypt correctly"
    return MachineCheck(_name(terms.spec.encryption), found, good=True)


def _name(encryption: Encryption) -> str:
    return f"{encryption.upper()} encryption"

"""The terms of a charter as a table: what somebody reads before signing it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Column, Table

from cli.output import unmarked
from dp.stated import exact
from secagg.charter import Charter
from secagg.charter.cautions import SHARED_KEY_SCHEMES
from secagg.charter.encryption import EncryptionTerms, encryption_terms
from secagg.charter.sections import ENCRYPTED_SCHEMES
from secagg.errors import InputError
from secagg.homomorphic.parameters import FAILURE_BITS, SECURE_MODULUS_BITS, Encryption
from training.noise import knowing_noise
from training.patient_unit import patient_unit
from training.tasks.spec import TaskSpec

Rows = Iterator[tuple[str, str]]

_HOW = {
    "mask": "mask: updates are masked",
    "double-lock": "double-lock: updates are masked, and encrypted besides",
    "bfv": "bfv: updates are encrypted, all with one key",
    "ckks": "ckks: updates are encrypted, all with one key",
}


def terms_table(content: Charter) -> Table:
    """What the charter says, a row for each term."""
    # A hash is of use only if it is whole.
    table = Table("", Column(overflow="fold"), title=content.name, title_justify="left", show_header=False)
    for rows in (_training(content), _protection(content), _encryption(content), _beside(content)):
        for term, value in rows:
            table.add_row(term, value)
    return table


def described_parameters(name: str, terms: EncryptionTerms) -> str:
    """The parameter set called ``name``, and how far it is from being insecure."""
    parameters = terms.spec.parameters
    return (
        f"{terms.spec.encryption.upper()}, {name}: ring degree {parameters.degree}, modulus of "
        f"{parameters.modulus_bits} bits (128 bits of security: {SECURE_MODULUS_BITS[parameters.degree]} at most)"
    )


def described_margin(terms: EncryptionTerms) -> str:
    """How far the noise of a sum over all members is from doing harm."""
    but = f"(except with probability 2^-{FAILURE_BITS})"
    return f"yes: noise of at most {terms.deviation:,.0f} {but}, where {terms.room:,.0f} would do harm"


def _training(content: Charter) -> Rows:
    privacy = content.privacy
    guarantee = "none: the model may reveal individual patients"
    if privacy.mode != "none":
        guarantee = (
            f"{privacy.mode}: epsilon {exact(privacy.budget)} at delta {privacy.delta:g}, "
            f"noise {privacy.noise_multiplier:g}, clip {privacy.clip_norm:g}, sampling {privacy.sampling_rate:g}"
        )
    yield "task", f"{unmarked(content.task.kind)}, {content.model.parameters} parameters"
    yield "a patient is", unmarked(patient_unit(content).told)
    yield from _trained_part(content)
    yield "training", _steps(content)
    yield "differential privacy", guarantee
    if privacy.mode == "distributed":
        yield "noise", _shared_noise(content)


def _steps(content: Charter) -> str:
    training = content.training
    if content.privacy.mode == "distributed":
        return (
            f"{training.rounds} sums, each a step on a batch of about {training.batch_size} patients of all hospitals"
        )
    return f"{training.rounds} sums, with {training.local_steps} local steps before each"


def _shared_noise(content: Charter) -> str:
    privacy, honest = content.privacy, content.surely_summed - knowing_noise(content.max_colluding)
    levels = " and ".join(map(str, privacy.noise_levels))
    removed = f"the surplus is removed where {levels} answer" if levels else "none of it is removed again"
    return f"{privacy.noise}, a share from each hospital; enough if {honest} honest ones answer; {removed}"


def _trained_part(content: Charter) -> Rows:
    try:
        model = TaskSpec.from_settings(content.task.kind, content.task.settings_json()).model
    except InputError:
        # What is no task is told by whoever would train it.
        return
    match model.train:
        case "last-layer":
            yield "trained part", "the last layer; all other parameters are frozen"
        case "lora":
            yield "trained part", f"the last layer, and LoRA pairs of rank {model.lora_rank} beside frozen layers"
    if model.backbone:
        yield "backbone", f"{model.backbone}, SHA-256 {model.backbone_sha256}"


def _protection(content: Charter) -> Rows:
    shared = content.scheme in SHARED_KEY_SCHEMES
    yield "scheme", _HOW[content.scheme]
    yield "a sum is taken over", f"at least {content.surely_summed} of {len(content.members)} hospitals"
    yield "the coordinator sees", "neither an update nor the sum" if content.scheme in ENCRYPTED_SCHEMES else "the sum"
    yield "with one hospital it sees", _seen_with_one(content)
    yield "may collude with the coordinator", _colluders(content)
    yield "shares its key with" if shared else "masks with", _neighbours(content)


def _seen_with_one(content: Charter) -> str:
    if content.scheme in SHARED_KEY_SCHEMES:
        return "[bold red]every hospital's update[/bold red]"
    if content.max_colluding == 0:
        return "not promised: max_colluding is 0"
    return "the sum of each round; over several, an update too if the hospital helps it to forge a sum"


def _colluders(content: Charter) -> str:
    if content.scheme in SHARED_KEY_SCHEMES:
        return f"[bold red]none of them[/bold red]: max_colluding = {content.max_colluding} sets the threshold alone"
    return f"{content.max_colluding} of them"


def _neighbours(content: Charter) -> str:
    graph = content.graph
    if graph.degree == 0:
        return "all others"
    return f"{graph.degree} hospitals that each draws, and those that drew it; {graph.threshold} rebuild its secrets"


def _encryption(content: Charter) -> Rows:
    terms = encryption_terms(content)
    if terms:
        yield "encryption", described_parameters(content.homomorphic.parameters, terms)
        yield "numbers", _packing(content.encoding.field_bits, terms)
        yield "sums are exact", described_margin(terms)


def _packing(field_bits: int, terms: EncryptionTerms) -> str:
    count, spec = terms.numbers_per_value, terms.spec
    packed = f"{count:g} per coefficient" if count >= 1 else f"{1 / count:g} coefficients each"
    factor = "plain modulus" if spec.encryption is Encryption.BFV else "scale"
    return f"{field_bits} bits, {packed}; {factor} 2^{spec.factor_bits}"


def _beside(content: Charter) -> Rows:
    yield "validation counts", content.metrics.release
    yield "initial model, digest", content.model.digest.hex()[:16]

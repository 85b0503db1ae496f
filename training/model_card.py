"""A model card in Hugging Face's format, filled from a verified release: what the records say, and blanks for the rest.

Knows markdown and what must be told of a model. Invents nothing: what only its owners can say is left open and marked.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from dp.stated import no_less
from secagg.charter import Charter
from secagg.charter.cautions import SHARED_KEY_SCHEMES, shared_key
from secagg.identity import fingerprint
from secagg.release import VerifiedRelease
from training.draft import task_spec
from training.export_format import ExportFormat
from training.exporting.attachment import interface_of
from training.markdown import code, text
from training.model_card_input import BLANK, input_and_output
from training.patient_unit import patient_unit
from training.privacy_plan import privacy_plan, rounds_stated
from training.reporting.assumptions import counts_in_sums
from training.tasks.spec import IMAGES


def model_card(
    release: VerifiedRelease, kind: ExportFormat, file_name: str, sha256: str, constant: Sequence[str] = ()
) -> str:
    """The card of one exported file.

    Args:
        file_name: of the exported file, without its folder.
        sha256: of its bytes, hexadecimal.
        constant: the columns that the model makes no use of; see `training.whole_model.constant_columns`.
    """
    charter = release.charter.charter
    sections = (
        _front_matter(charter, kind),
        f"# {charter.name}\n\nTrained by {len(release.statement.predicate.contributors)} hospitals with secagg. "
        "No hospital sent its records to another, and each hid its updates from the coordinator. The model belongs to "
        "all of them.",
        _owners(release),
        _uses(),
        input_and_output(charter, kind, constant),
        _training(release),
        _privacy(release),
        f"## Evaluation\n\n{BLANK}: on which patients, with which result, by whom. The records of the training hold "
        "no result that its hospitals have all signed.",
        _limits(release),
        _integrity(release, file_name, sha256),
    )
    return "\n\n".join(sections) + "\n"


def _front_matter(charter: Charter, kind: ExportFormat) -> str:
    lines = [
        "---",
        "# license: to be filled in by the owners; see https://huggingface.co/docs/hub/repositories-licenses",
        f"library_name: {'onnx' if kind is ExportFormat.ONNX else 'pytorch'}",
        *_pipeline(charter),
        f"model_name: {_quoted(charter.name)}",
        "tags:",
        *(f"  - {tag}" for tag in ("medical", "federated-learning", "secure-aggregation", "secagg")),
        *(["  - differential-privacy"] if charter.privacy.mode != "none" else []),
        "---",
    ]
    return "\n".join(lines)


def _pipeline(charter: Charter) -> list[str]:
    if charter.task.kind == IMAGES:
        return ["pipeline_tag: image-classification"]
    return ["pipeline_tag: tabular-classification"] if interface_of(charter, "").features else []


def _owners(release: VerifiedRelease) -> str:
    keys = {member.name: member.public_key for member in release.charter.charter.members}
    lines = ["## Owners", "", "Each has signed the statement that is inside the file.", ""]
    lines += ["| hospital | sums it is in | fingerprint of its key |", "|---|---|---|"]
    for entry in release.statement.predicate.contributors:
        lines.append(f"| {text(entry.name)} | {entry.sums} | {fingerprint(keys[entry.name])} |")
    return "\n".join([*lines, "", f"Contact: {BLANK}"])


def _uses() -> str:
    return (
        "## Uses\n\n"
        f"### Intended use\n\n{BLANK}: for which patients, decisions and users.\n\n"
        f"### Out of scope\n\n{BLANK}: for whom and for what it must not be used.\n\n"
        "It is no medical device unless its owners have made it one."
    )


def _training(release: VerifiedRelease) -> str:
    charter, predicate = release.charter.charter, release.statement.predicate
    facts = (
        ("rounds", f"{predicate.rounds}, which gave {predicate.sums} sums"),
        ("scheme of aggregation", charter.scheme),
        ("fewest hospitals in a sum", str(charter.surely_summed)),
        ("hospitals that may collude without seeing another's update in a round", _colluders(charter)),
        ("parameters that were trained", str(charter.model.parameters)),
        *_start(charter),
        (
            "step at every hospital",
            f"{charter.training.server.optimizer}, rate {charter.training.server.learning_rate:g}",
        ),
    )
    table = "\n".join(f"| {term} | {value} |" for term, value in facts)
    shown = counts_in_sums(charter)
    counts = f" Whoever saw a sum saw, over all hospitals in it: {'; '.join(shown)}." if shown else ""
    records = f"Records: {BLANK}: which patients, from when to when. No hospital sent a count in clear.{counts}"
    return f"## Training\n\n{records}\n\n| | |\n|---|---|\n{table}"


def _start(charter: Charter) -> list[tuple[str, str]]:
    model = task_spec(charter).model
    if not model.backbone:
        return []
    return [("starts from", f"{_in_a_table(model.backbone)}, SHA-256 {model.backbone_sha256}")]


def _colluders(charter: Charter) -> str:
    return "none: all have one key" if charter.scheme in SHARED_KEY_SCHEMES else str(charter.max_colluding)


def _privacy(release: VerifiedRelease) -> str:
    backbone = task_spec(release.charter.charter).model.backbone
    told = _own_privacy(release)
    if backbone:
        told += (
            f"\n\nThis file holds {code(backbone)} too, as it was or trained further, but for a last layer that "
            "was made new. Nothing here says what that file reveals of the patients it was made from."
        )
    return told


def _own_privacy(release: VerifiedRelease) -> str:
    predicate, charter = release.statement.predicate, release.charter.charter
    claim, privacy = predicate.privacy, charter.privacy
    if claim.epsilon is None:
        return (
            "## Privacy\n\n**No differential privacy.** Updates were not seen one by one, but the model itself may "
            "reveal that a patient was in the records, or more."
        )
    who, neighbours, exchanged = (
        (
            "each hospital by itself",
            "one patient's records replaced by nothing, the number of patients as it is",
            " (both trained on, or both held back for validation)",
        )
        if claim.mode == "local"
        else (
            "all hospitals together, each a share",
            "one patient added or removed, the batch size, which is public, as it is",
            "",
        )
    )
    unit = patient_unit(charter)
    stated = rounds_stated(charter, predicate.rounds, predicate.sums)
    exchange = privacy_plan(charter).epsilon_of_exchange(*stated)
    rows = (
        ("epsilon", no_less(claim.epsilon, 4)),
        ("delta", f"{claim.delta:g}"),
        ("unit of privacy", unit.whole),
        ("a patient is", text(unit.told)),
        ("neighbouring data sets", neighbours),
        (f"epsilon if one patient is exchanged for another{exchanged}", f"{no_less(exchange, 4)} at most"),
        ("noise is added by", f"{who} (`{claim.mode}`)"),
        ("gradients are clipped to", f"{privacy.clip_norm:g}, L2, for each patient"),
        ("sampling rate", f"{privacy.sampling_rate:g} in each step"),
    )
    table = "\n".join(f"| {term} | {value} |" for term, value in rows)
    return (
        f"## Privacy\n\n| | |\n|---|---|\n{table}\n\nThis is what this training cost a patient; what other trainings "
        "on the same patients cost is in each hospital's own ledger."
    )


def _limits(release: VerifiedRelease) -> str:
    lines = [
        "## Limitations",
        "",
        f"- Bias and groups for whom it is worse: {BLANK}.",
        "- A hospital that trained on false records, within the clipping bound, cannot be distinguished from an "
        "honest one.",
        f"- {_seen(release.charter.charter)}",
        "- It was trained on the patients of the hospitals above, and may be worse for others.",
    ]
    if release.statement.predicate.privacy.epsilon is None:
        lines.append("- It may reveal patients: see Privacy.")
    return "\n".join(lines)


def _seen(charter: Charter) -> str:
    """By whom updates may have been seen."""
    if charter.scheme in SHARED_KEY_SCHEMES:
        return shared_key(charter.scheme).message
    many = charter.max_colluding
    beyond = f"More than {many} hospital{'' if many == 1 else 's'} colluding with the coordinator may have seen updates"
    return f"{beyond}, and over several rounds a single one that helped it to forge a sum." if many else f"{beyond}."


def _integrity(release: VerifiedRelease, file_name: str, sha256: str) -> str:
    predicate = release.statement.predicate
    rows = (
        (f"this file, {_in_a_table(file_name)}, SHA-256", sha256),
        ("the release's model file, SHA-256, signed by all owners", release.statement.model_sha256),
        ("model digest", predicate.model_digest),
        ("charter", predicate.charter),
    )
    table = "\n".join(f"| {term} | `{value}` |" for term, value in rows)
    spec = task_spec(release.charter.charter)
    besides = [f"the backbone {code(spec.model.backbone)}"] if spec.model.backbone else []
    besides += [f"the code of {code(spec.kind)}"] if spec.is_custom else []
    needed = ", and with ".join(["With the charter, which every hospital has", *besides])
    return (
        f"## Integrity\n\n| | |\n|---|---|\n{table}\n\n{needed}, anybody can check "
        f"who made it:\n\n    secagg model verify {shlex.quote(file_name)} --charter charter"
    )


def _in_a_table(value: str) -> str:
    """A value as code in a cell, which one character ends even there."""
    return code(value).replace("|", r"\|")


def _quoted(value: str) -> str:
    """JSON's strings are YAML's too."""
    return json.dumps(value)

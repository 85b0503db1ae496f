"""The documents hold together: links lead somewhere, named tests exist, commands parse, keys and examples are real."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from msgspec.structs import asdict

from cli.main import InterruptedRunError, cli, run
from dp.ledger.entries import LEDGER
from secagg import errors
from secagg.egress import EGRESS
from secagg.errors import InputError, ProtocolError, RefusedError, TamperingError
from secagg.policy import load_policy
from training.engines.nvflare import farewell
from training.task import build_task, load_custom_task, load_task_file
from training.tasks.spec import DataSpec, EvaluationSpec, ModelSpec

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
EXAMPLES = DOCS / "examples"
DOCUMENTS = [
    *sorted(DOCS.rglob("*.md")),
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    REPOSITORY / "benchmarks" / "README.md",
]
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)

documents = pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if path.exists()], ids=lambda path: str(path.relative_to(REPOSITORY))
)


# --- Links ---------------------------------------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    """The headings of a document as GitHub names them."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> list[str]:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    return broken


@documents
def test_every_relative_link_leads_somewhere(document):
    assert broken_links(document) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# A heading, `with` code\n")
    document = tmp_path / "here.md"
    right = "[a](there.md#a-heading-with-code) [d](https://example.org)"
    document.write_text(f"{right} [b](there.md#b) [c](gone.md) [e](#e)")
    assert broken_links(document) == ["there.md#b", "gone.md", "#e"]


# --- Tests that are named ------------------------------------------------------------------------------------


# What documents about tasks call the arrays of an archive.
ARRAYS = {"test_images", "test_labels", "test_patients"}
DEFINED = {
    name
    for file in (REPOSITORY / "tests").rglob("test_*.py")
    for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))
}


def named_tests(document: Path) -> set[str]:
    return set(re.findall(r"`(test_\w+)`", document.read_text(encoding="utf-8"))) - ARRAYS


@documents
def test_every_test_that_a_document_names_exists(document):
    assert named_tests(document) - DEFINED == set()


def test_documents_that_make_claims_name_the_tests_of_them():
    least = {"threat-model.md": 60, "ledger.md": 30, "policy.md": 9, "auditing.md": 8, "running-a-site.md": 5}
    assert all(len(named_tests(DOCS / name)) >= number for name, number in least.items())


# --- Commands ------------------------------------------------------------------------------------------------


def commands(text: str) -> list[list[str]]:
    """The arguments of every `secagg ...` in a code block, fenced or indented."""
    code = [line for block in FENCE.findall(text) for line in block.splitlines()[1:-1]]
    code += [line for line in FENCE.sub("", text).splitlines() if line.startswith("    ")]
    lines = re.sub(r"\\\n\s*", " ", "\n".join(code)).splitlines()
    found = []
    for line in lines:
        start = re.match(r"\s*(?:\$ )?(?:\w+=\S+ )*(?:\.venv/bin/)?secagg (?=\w|-)", line)
        if start:
            words = shlex.split(line[start.end() :], comments=True)
            ends = [index for index, word in enumerate(words) if word in {"&&", "|", ">", ";"} or word[0] == "("]
            found.append(words[: ends[0]] if ends else words)
    return found


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Lets click parse a command line, without running it; raises click.UsageError where it does not parse."""
    # Where no file of the document's exists, none has the wrong kind.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(click.Command, "invoke", lambda command, context: None)
    return lambda arguments: cli.main(arguments, prog_name="secagg", standalone_mode=False)


@documents
def test_every_command_in_a_document_parses(document, parse):
    wrong = []
    for arguments in commands(document.read_text(encoding="utf-8")):
        try:
            parse(arguments)
        except click.UsageError as error:
            if not error.message.endswith("does not exist."):
                wrong.append(f"secagg {' '.join(arguments)}: {error.format_message()}")
    assert wrong == []


def test_commands_are_found_where_they_are_written_and_wrong_ones_do_not_parse(parse):
    fenced = "```text\n$ A=b secagg budget \\\n    show x --json\nsecagg: no\n```\n"
    text = f"secagg no\n\n    secagg demo (that is all)\n\n{fenced}"
    assert commands(text) == [["budget", "show", "x", "--json"], ["demo"]]
    for right in commands(text):
        parse(right)
    for wrong in (["budget", "shown"], ["simulate", "--epsilons", "8"], ["simulate", "--dp", "some"], ["audits"]):
        with pytest.raises(click.UsageError):
            parse(wrong)


# --- Tasks ---------------------------------------------------------------------------------------------------

TASKS = (DOCS / "tasks.md").read_text(encoding="utf-8")
TASK_REFERENCE = (DOCS / "task-reference.md").read_text(encoding="utf-8")
SECTIONS = {"model": ModelSpec, "data": DataSpec, "evaluation": EvaluationSpec}


def documented_defaults() -> dict[str, str]:
    table = TASK_REFERENCE.split("## Every key")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([a-z0-9_.]+)` \| ([^|]+?) \|", table, re.MULTILINE))


def actual_defaults() -> dict[str, object]:
    defaults = {f"{name}.{key}": value for name, spec in SECTIONS.items() for key, value in asdict(spec()).items()}
    return {"kind": None} | defaults


def test_the_table_of_keys_has_every_field_of_a_task_and_no_other():
    assert set(documented_defaults()) == set(actual_defaults())


@pytest.mark.parametrize("key", sorted(documented_defaults()))
def test_a_key_has_the_default_that_the_table_gives(key):
    shown, actual = documented_defaults()[key], actual_defaults()[key]
    if key == "data.standardise":
        # The one key whose default depends on the kind.
        assert shown == '`"secure-sum"`'
    elif shown == "—":
        assert actual in (None, "")
    else:
        value = tomllib.loads(f"value = {shown.strip('`')}")["value"]
        assert value == (list(actual) if isinstance(actual, tuple) else actual)


def test_tables_and_images_have_the_scaling_by_default_that_the_table_gives(tmp_path):
    for kind, expected in (("tabular-classification", "secure-sum"), ("image-classification", "none"), ("a:b", "none")):
        path = tmp_path / "task.toml"
        path.write_text(f'kind = "{kind}"\n[data]\nlabel = "y"\n')
        assert load_task_file(path).data.standardise == expected


# --- Examples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["heart.toml", "recall.toml", "recall_task.py"])
def test_an_example_that_is_shown_is_the_one_that_is_shipped(name):
    assert (EXAMPLES / name).read_text(encoding="utf-8").rstrip("\n") in TASKS


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_every_example_task_builds_its_model(path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = load_task_file(path)
    task = load_custom_task(spec) if ":" in spec.kind else build_task(spec)
    assert sum(parameter.numel() for parameter in task.build_model().parameters()) > 1


def test_the_example_of_a_masked_sum_prints_what_the_document_shows():
    ended = subprocess.run([sys.executable, EXAMPLES / "masked_sum.py"], capture_output=True, text=True, check=True)
    assert ended.stdout in (DOCS / "python.md").read_text(encoding="utf-8")


def test_the_example_of_a_sweep_makes_a_run_an_epsilon(tmp_path, real_data):
    data = sorted(real_data.glob("uci-heart/processed.*.data"))
    if not data:
        pytest.skip(f"no UCI Heart Disease in {real_data}: set SECAGG_DATA")
    program = [sys.executable, EXAMPLES / "epsilon_sweep.py", tmp_path / "sweep", *data]
    ended = subprocess.run(program, capture_output=True, text=True, check=True)
    heading, *lines = ended.stdout.splitlines()
    assert heading in (DOCS / "python.md").read_text(encoding="utf-8")
    assert [line.split()[0] for line in lines] == ["1", "3", "8"]
    assert all((tmp_path / "sweep" / f"epsilon-{epsilon}" / "release").is_dir() for epsilon in (1, 3, 8))


@pytest.fixture
def recall_task(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return load_custom_task(load_task_file(EXAMPLES / "recall.toml"))


def test_the_example_of_a_custom_task_builds_the_same_model_every_time_and_scores_probabilities(recall_task):
    first, second = recall_task.build_model(), recall_task.build_model()
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))
    scores = recall_task.scores(first(torch.zeros(3, 1, 28, 28)))
    assert scores.shape == (3, 2)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(3))


def test_the_loss_of_the_example_is_the_mean_of_the_losses_of_its_rows(recall_task):
    outputs, labels = torch.randn(6, 1, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 1, 0, 0, 1])
    apart = [recall_task.loss(outputs[row : row + 1], labels[row : row + 1]) for row in range(6)]
    torch.testing.assert_close(recall_task.loss(outputs, labels), torch.stack(apart).mean())


def test_control_the_weighted_loss_that_sharp_edges_warns_of_is_not():
    outputs, labels = torch.randn(6, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 1, 0, 0, 1])
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0]))
    apart = torch.stack([loss(outputs[row : row + 1], labels[row : row + 1]) for row in range(6)])
    assert abs(loss(outputs, labels) - apart.mean()) > 0.01


@pytest.mark.parametrize("privacy", ["none", "local"])
def test_the_example_of_a_custom_task_trains_from_the_command_line(tmp_path, monkeypatch, privacy):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    generator = np.random.default_rng(1)
    labels = np.arange(72) % 2
    images = np.clip(generator.normal(90 + 70 * labels[:, None, None], 30, (72, 28, 28)), 0, 255).astype(np.uint8)
    train = {"train_images": images[:48], "train_labels": labels[:48]}
    np.savez(tmp_path / "ward.npz", **train, test_images=images[48:], test_labels=labels[48:])
    archive, out = tmp_path / "ward.npz", tmp_path / "out"
    arguments = ["simulate", "--task", str(EXAMPLES / "recall.toml"), "--data", f"{archive}::train", "--test"]
    arguments += [f"{archive}::test", "--split", "iid", "--hospitals", "3", "--rounds", "1", "--local-steps", "2"]
    arguments += ["--dp", privacy, "--no-compare", "--device", "cpu", "--out", str(out)]
    assert run(arguments) == 0
    assert load_policy(out / "hospitals/hospital-1/policy.toml").allowed_tasks == {"recall_task:build"}


# --- Reason codes --------------------------------------------------------------------------------------------

# What keeps and reads the ledger, and the commands that do. The errors of any signed log are called after its kind.
LEDGER_SOURCES = [
    *sorted((REPOSITORY / "dp/ledger").glob("*.py")),
    *sorted((REPOSITORY / "cli").glob("budget*.py")),
    REPOSITORY / "training/hospital_logs.py",
]


def reasons(source: str) -> set[str]:
    """The reason codes that a module raises, and those that its docstrings say it lets through."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    raised = [call.args[0] for call in calls if hasattr(errors, call.func.id) and call.args]
    texts = [node.value for first in raised for node in ast.walk(first) if isinstance(node, ast.Constant)]
    codes = {text for text in texts if isinstance(text, str) and re.fullmatch(r"[a-z]+(-[a-z]+)+", text)}
    return codes | set(
        re.findall(r"``([a-z]+(?:-[a-z]+)*)``", "".join(re.findall(r"Error: (``.*?)[.:]\n", source, re.DOTALL)))
    )


def test_the_table_of_reason_codes_has_every_code_of_the_ledger_and_its_commands():
    table = (DOCS / "ledger.md").read_text(encoding="utf-8").split("## Reason codes")[1].split("\n## ")[0]
    documented = {code for row in table.splitlines() for code in re.findall(r"`([a-z-]+)`", row.split(" | ")[0])}
    raised = {code for path in LEDGER_SOURCES for code in reasons(path.read_text(encoding="utf-8"))}
    raised |= {f"{kind.reason}-{what}" for kind in (LEDGER, EGRESS) for what in ("damaged", "altered", "restored")}
    assert raised - documented == set()
    # Said of a charter by `budget plan`, of an option by all commands that take a key, and warned of.
    assert documented - raised == {"budget-understated", "bad-public-key", "no-latch"}
    assert {"budget-exceeded", "run-released", "no-such-data-set", "part-of-a-ledger", "unreadable"} <= raised


def test_a_reason_is_found_where_it_is_raised_and_where_a_docstring_names_it():
    raised = 'raise InputError("no-a" if one else "no-b", "a text")'
    assert reasons(f"def a():\n    {raised}\n") == {"no-a", "no-b"}
    assert reasons('"""Raises:\n    InputError: ``unreadable``, ``not-c``.\n"""\nother("no-d")\n') == {
        "unreadable",
        "not-c",
    }


# --- The service ---------------------------------------------------------------------------------------------

OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")


def unit(description: str) -> dict[str, str]:
    """The settings of the systemd unit with this description."""
    (found,) = [block for block in FENCE.findall(OPERATIONS) if f"\nDescription={description}\n" in block]
    return dict(re.findall(r"^(\w+)=(.*)$", found, re.MULTILINE))


@pytest.mark.parametrize("description", ["secagg hospital site", "secagg coordinator"])
def test_a_unit_knows_how_a_site_ends_that_is_stopped_and_one_that_people_must_look_at(description):
    settings = unit(description)
    assert settings["SuccessExitStatus"] == str(InterruptedRunError.exit_code)
    assert settings["Restart"] == "on-failure"
    not_again = settings["RestartPreventExitStatus"].split()
    assert {str(kind.exit_code) for kind in (RefusedError, TamperingError)} <= set(not_again)
    assert str(InputError.exit_code) not in not_again


def test_a_coordinator_that_gave_up_is_not_started_again_and_a_hospital_that_failed_is():
    """Each start of a coordinator begins with all of its patience, and with rounds that every hospital pays for."""
    gave_up = str(ProtocolError.exit_code)
    assert gave_up in unit("secagg coordinator")["RestartPreventExitStatus"].split()
    assert gave_up not in unit("secagg hospital site")["RestartPreventExitStatus"].split()


def test_a_coordinator_that_is_started_again_is_back_before_the_hospitals_leave():
    """Else nobody is left to sign for the logs and the transcript, which is done at the end of a run only."""
    starting = 60
    stay = min(farewell.LINGERING, farewell._ABSENCE_SECONDS)
    assert int(unit("secagg coordinator")["RestartSec"]) + starting <= stay

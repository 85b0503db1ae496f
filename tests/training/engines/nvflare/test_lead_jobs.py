"""A job is looked at before it is unpacked. What else is refused is tried in `test_hardening_check`."""

from __future__ import annotations

import io
import logging
import zipfile
from types import SimpleNamespace

import pytest
from nvflare.apis.job_def import new_job_id
from nvflare.private.admin_defs import Message, MsgHeader, ReturnCode
from nvflare.private.defs import RequestHeader

from training.engines.nvflare import lead_jobs
from training.engines.nvflare.job_folders import KEPT, MOST_RUNNING
from training.engines.nvflare.lead_jobs import LeadDeployProcessor
from training.engines.nvflare.trial_jobs import make_signer, packed, right_app


def zipped(**sizes: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in sizes.items():
            archive.writestr(name, bytes(size))
    return file.getvalue()


BOMB = zipped(config=64 * 1024 * 1024)
NUMBER = "6b1f1f0c-6a52-4d0b-9a0e-2f6a4e4b8c11"


@pytest.fixture
def site(tmp_path):
    """What the command asks NVFlare's engine for: where the kit is, and which jobs run."""
    running: list[str] = []
    return SimpleNamespace(
        args=SimpleNamespace(workspace=str(tmp_path)), running=running, get_all_job_ids=lambda: running
    )


@pytest.fixture
def signed(tmp_path) -> bytes:
    """A job of the lead, at a site that trusts its root."""
    signer = make_signer()
    (tmp_path / "startup").mkdir()
    (tmp_path / "startup" / "rootCA.pem").write_bytes(signer.root)
    return packed(right_app(), signer)


def deploy(site, body: object, number: object) -> Message:
    message = Message("deploy", body)
    message.set_header(RequestHeader.JOB_ID, number)
    return LeadDeployProcessor().process(message, site)


def refusal(site, body: object, number: object) -> str:
    reply = deploy(site, body, number)
    assert reply.get_header(MsgHeader.RETURN_CODE) == ReturnCode.ERROR
    return reply.body


def goes_on_to_nvflare(site, body: object, number: object) -> bool:
    """Whether NVFlare's own command, which wants its own engine, is asked."""
    with pytest.raises(TypeError, match="engine must be"):
        deploy(site, body, number)
    return True


@pytest.mark.parametrize(
    "body",
    [BOMB, zipped(**{f"f{number}": 1 for number in range(101)}), b"", b"no zip", BOMB[:-40], "text", None, 5],
    ids=["bomb", "many files", "nothing", "no zip", "cut off", "text", "none", "number"],
)
def test_what_is_no_small_zip_file_is_refused_and_not_unpacked(site, body, monkeypatch):
    monkeypatch.delattr(lead_jobs, "unzip_all_from_bytes")
    assert "not a zip file of at most" in refusal(site, body, new_job_id())
    assert len(BOMB) < 100_000


def test_control_a_small_one_is_looked_into(site, monkeypatch):
    monkeypatch.delattr(lead_jobs, "unzip_all_from_bytes")
    with pytest.raises(NameError):
        deploy(site, zipped(config=10), new_job_id())


# The job's number


@pytest.mark.parametrize(
    "number",
    [
        "startup",
        "local",
        "heard",
        "",
        ".",
        "../site",
        None,
        5,
        [NUMBER],
        NUMBER.upper(),
        NUMBER.replace("-", ""),
        f"{NUMBER}\n",
        f"{NUMBER}/app",
        f"{{{NUMBER}}}",
        "00000000-0000-1000-8000-000000000000",
    ],
)
def test_a_job_whose_number_could_be_the_name_of_another_folder_is_refused(site, signed, number):
    assert "not a UUID" in refusal(site, signed, number)


def test_control_the_same_job_with_a_number_such_as_nvflare_gives_it_is_not(site, signed):
    assert goes_on_to_nvflare(site, signed, new_job_id())


def test_a_job_that_runs_keeps_its_folder(site, signed, tmp_path):
    number = new_job_id()
    (tmp_path / number).mkdir()
    site.running.append(number)
    assert "runs here" in refusal(site, signed, number)
    assert (tmp_path / number).exists()


def test_one_that_does_not_run_may_be_sent_again(site, signed, tmp_path):
    """A server that was killed before it noted that it has sent the job sends it once more."""
    number = new_job_id()
    (tmp_path / number).mkdir()
    assert goes_on_to_nvflare(site, signed, number)


def test_a_refusal_is_in_the_log_by_its_code_alone(site, signed, caplog):
    with caplog.at_level(logging.WARNING):
        refusal(site, signed, "startup")
        refusal(site, b"no zip", new_job_id())
        refusal(site, packed(right_app(), None), new_job_id())
    assert caplog.messages == [
        f"a job was refused: {reason}" for reason in ("job-number", "not-a-job", "job-not-signed")
    ]


# Many jobs


def test_jobs_without_end_leave_the_folders_of_a_few(site, signed, tmp_path):
    for _ in range(3 * KEPT):
        number = new_job_id()
        assert goes_on_to_nvflare(site, signed, number)
        # As NVFlare's own command would, had it been given its own engine.
        (tmp_path / number).mkdir()
    assert len(list(tmp_path.iterdir())) == len(["startup"]) + KEPT + len([number])


def test_control_nvflare_keeps_the_folder_of_every_job(site, signed, tmp_path, monkeypatch):
    monkeypatch.setattr(lead_jobs, "remove_ended", lambda _kit, _running: None)
    for _ in range(3 * KEPT):
        number = new_job_id()
        assert goes_on_to_nvflare(site, signed, number)
        (tmp_path / number).mkdir()
    assert len(list(tmp_path.iterdir())) == len(["startup"]) + 3 * KEPT


def test_a_job_that_is_refused_costs_no_other_its_folder(site, tmp_path):
    for _ in range(3 * KEPT):
        (tmp_path / new_job_id()).mkdir()
    refusal(site, b"no zip", new_job_id())
    assert len(list(tmp_path.iterdir())) == 3 * KEPT


def test_more_jobs_at_once_than_any_coordinator_needs_are_refused(site, signed):
    for _ in range(MOST_RUNNING):
        assert goes_on_to_nvflare(site, signed, new_job_id())
        site.running.append(new_job_id())
    assert "run here already" in refusal(site, signed, new_job_id())
    site.running.pop()
    assert goes_on_to_nvflare(site, signed, new_job_id())

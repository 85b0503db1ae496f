"""A job is looked at before it is unpacked. What else is refused is tried in `test_hardening_check`."""

from __future__ import annotations

import io
import zipfile

import pytest
from nvflare.private.admin_defs import Message, MsgHeader, ReturnCode

from training.engines.nvflare.lead_jobs import LeadDeployProcessor


def zipped(**sizes: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in sizes.items():
            archive.writestr(name, bytes(size))
    return file.getvalue()


BOMB = zipped(config=64 * 1024 * 1024)


@pytest.mark.parametrize(
    "body",
    [BOMB, zipped(**{f"f{number}": 1 for number in range(101)}), b"", b"no zip", BOMB[:-40], "text", None, 5],
    ids=["bomb", "many files", "nothing", "no zip", "cut off", "text", "none", "number"],
)
def test_what_is_no_small_zip_file_is_refused_and_not_unpacked(body):
    # Without a site: whoever looked further than at the size would need one.
    reply = LeadDeployProcessor().process(Message("deploy", body), app_ctx=None)
    assert reply.get_header(MsgHeader.RETURN_CODE) == ReturnCode.ERROR
    assert "not a zip file of at most" in reply.body
    assert len(BOMB) < 100_000


def test_control_a_small_one_is_looked_into():
    with pytest.raises(AttributeError):
        LeadDeployProcessor().process(Message("deploy", zipped(config=10)), app_ctx=None)

"""Jobs to try a site with: the right one, and those that a hostile coordinator would send. Knows NVFlare's formats.

They are signed by an authority that is made for the trial, so that a job can be wrong in one thing alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from nvflare.fuel.utils.zip_utils import zip_directory_to_bytes
from nvflare.lighter.utils import Identity, generate_cert, generate_keys, sign_folders

from training.engines.nvflare.hardening import EXECUTOR
from training.engines.nvflare.sites import ADMIN, COORDINATOR_ORGANISATION, LEAD

# Classes of NVFlare's own that its default list allows.
FOREIGN_EXECUTOR: Final = "nvflare.app_common.executors.statistics.statistics_executor.StatisticsExecutor"
FOREIGN_FILTER: Final = "nvflare.app_common.filters.exclude_vars.ExcludeVars"


@dataclass(frozen=True)
class Signer:
    """Who signs jobs: a certificate, the root certificate that it comes from, and its key."""

    root: bytes
    certificate: bytes
    key: Any


def make_signer(name: str = ADMIN, organisation: str = COORDINATOR_ORGANISATION, role: str = LEAD) -> Signer:
    """A lead, or somebody else, of an authority of its own."""
    # Quick to make; what signs jobs must be RSA, as NVFlare's keys are.
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = Identity("trial")
    root = generate_cert(root_name, root_name, root_key, root_key.public_key(), ca=True)
    key, public = generate_keys()
    certificate = generate_cert(Identity(name, organisation, role), root_name, root_key, public)
    return Signer(root.public_bytes(Encoding.PEM), certificate.public_bytes(Encoding.PEM), key)


@dataclass(frozen=True)
class App:
    """What a job does at a hospital: its configuration, and the files that come with it."""

    config: dict[str, Any]
    files: tuple[tuple[str, str], ...] = ()


def right_app() -> App:
    """What a round needs."""
    return App(_config(EXECUTOR))


def with_custom_code() -> App:
    """The same with a module beside it, which NVFlare would put on Python's path."""
    return App(_config(EXECUTOR), (("custom/intruder.py", "print('I am in')\n"),))


def with_other_format() -> App:
    """A configuration in another format beside it, which takes in a file of the site's."""
    return App(_config(EXECUTOR), (("config/config_fed_client.conf", 'include file("/etc/hostname")\n'),))


def with_foreign_executor() -> App:
    """Another class in the executor's place."""
    return App(_config(FOREIGN_EXECUTOR, generator_id="intruder"))


def with_foreign_argument() -> App:
    """Another class where the right one takes an argument."""
    return App(_config(EXECUTOR, intruder={"path": FOREIGN_FILTER, "args": {}}))


def with_foreign_component() -> App:
    """Another class beside the right one."""
    return App(_config(EXECUTOR) | {"components": [{"id": "intruder", "path": FOREIGN_FILTER, "args": {}}]})


def with_foreign_filter() -> App:
    """Another class between the right one and the coordinator."""
    chain = {"tasks": ["*"], "filters": [{"path": FOREIGN_FILTER, "args": {}}]}
    return App(_config(EXECUTOR) | {"task_result_filters": [chain]})


def _config(executor: str, **args: Any) -> dict[str, Any]:
    # NVFlare builds in this order: what is foreign comes before what may not be built to its end.
    return {
        "format_version": 2,
        "components": [],
        "task_result_filters": [],
        "task_data_filters": [],
        "executors": [{"tasks": ["*"], "executor": {"path": executor, "args": args}}],
    }


def packed(app: App, signer: Signer | None, afterwards: Iterable[tuple[str, str]] = ()) -> bytes:
    """A job as a site gets it: a zip file, signed unless ``signer`` is None, with files written ``afterwards``."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, chain = Path(temporary) / "app", Path(temporary) / "chain.pem"
        _write(folder, (("config/config_fed_client.json", json.dumps(app.config)), *app.files))
        if signer is not None:
            chain.write_bytes(signer.certificate)
            sign_folders(str(folder), signer.key, str(chain))
        _write(folder, afterwards)
        return bytes(zip_directory_to_bytes(str(folder), ""))


def _write(folder: Path, files: Iterable[tuple[str, str]]) -> None:
    for name, text in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

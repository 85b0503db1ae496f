"""Kits that were provisioned once, and copies of them to do anything to."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provision import prepare_project
from nvflare.lighter.provisioner import Provisioner

from secagg.charter import VerifiedCharter
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training.engines.nvflare.provisioning import Address, provision

HOST = "sum.example.org"


@pytest.fixture(scope="session")
def verified() -> VerifiedCharter:
    """A charter of three."""
    identities = make_identities(3)
    return sign_by_all(make_charter(identities), identities)


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory, verified: VerifiedCharter) -> Path:
    """What one provisioning made; read only."""
    out = tmp_path_factory.mktemp("provisioned")
    provision(verified, Address(HOST, 8443), out)
    return out


@pytest.fixture
def hospital_kit(provisioned: Path, tmp_path: Path) -> Path:
    """A copy of the first hospital's kit."""
    return Path(shutil.copytree(provisioned / "kits" / "hospital-01", tmp_path / "kit"))


@pytest.fixture(scope="session")
def open_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's kit as NVFlare makes it, opened as its documentation says: unsigned jobs, and every class."""
    project = {
        "api_version": 4,
        "name": "open",
        "participants": [
            {"name": HOST, "type": "server", "org": "coordinator", "fed_learn_port": 8443},
            {"name": "hospital-01", "type": "client", "org": "hospital_01"},
        ],
    }
    builders = [
        WorkspaceBuilder(["master_template.yml"]),
        StaticFileBuilder(config_folder="config", scheme="grpc", require_signed_jobs=False),
        CertBuilder(),
    ]
    context = Provisioner(str(tmp_path_factory.mktemp("open")), builders).provision(
        prepare_project(project), logger=logging.getLogger(__name__)
    )
    kit = Path(context.get_result_location()) / "hospital-01"
    resources = kit / "local" / "resources.json.default"
    content = json.loads(resources.read_text()) | {"class_allow_list": ["*"]}
    (kit / "local" / "resources.json").write_text(json.dumps(content))
    startup = kit / "startup" / "fed_client.json"
    startup.write_text(startup.read_text().replace('"mtls"', '"tls"'))
    return kit

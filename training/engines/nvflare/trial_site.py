"""A hospital's site as NVFlare sets it up from a kit, without a server: its settings, policy, commands and jobs.

Everything is NVFlare's own code, on links to the kit's own files, in a folder that is thrown away. NVFlare keeps such
things once for a process, so there is one of these in a process (`trial`).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nvflare.apis.fl_constant import FLContextKey, JobConstants, SiteType, WorkspaceConstants
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.workspace import Workspace
from nvflare.app_common.logging.constants import is_log_streaming_allowed
from nvflare.app_common.widgets.component_path_authorizer import ComponentPathAuthorizer
from nvflare.fuel.common.excepts import ComponentNotAuthorized
from nvflare.fuel.sec.authz import AuthorizationService, AuthzContext, Person
from nvflare.private.admin_defs import Message, MsgHeader, ReturnCode
from nvflare.private.defs import RequestHeader, SysCommandTopic, TrainingTopic, new_cell_message
from nvflare.private.fed.app.fl_conf import FLClientStarterConfiger, create_privacy_manager
from nvflare.private.fed.client.admin import FedAdminAgent
from nvflare.private.fed.client.client_engine import ClientEngine
from nvflare.private.fed.client.client_json_config import ClientJsonConfigurator
from nvflare.private.fed.utils.fed_utils import authorize_build_component, require_signed_jobs, security_init
from nvflare.private.privacy_manager import PrivacyService

from training.engines.nvflare.kit import LOCAL, ROOT_CERTIFICATE, STARTUP, Kit

CONFIG: Final = "config"
_APP: Final = "app"


@dataclass(frozen=True)
class Answer:
    """What a site did with a command or a job, and what it said."""

    accepted: bool
    text: str


class _Wire:
    """Stands for the connection, which a trial has not: what NVFlare would answer the server, it is asked directly."""

    def register_request_cb(self, **_where: object) -> None:
        """Nobody calls."""


class TrialSite:
    """The site of ``kit``, set up below the empty folder ``place``."""

    def __init__(self, kit: Kit, place: Path) -> None:
        self._kit = kit
        self._place = place
        own = _linked(kit, place / "own")
        self._arguments = _arguments(kit, own)
        os.chdir(own)
        workspace = self._workspace = Workspace(root_dir=str(own), site_name=kit.name, config_folder=CONFIG)
        started = FLClientStarterConfiger(workspace, self._arguments, self._arguments.set)
        started.configure()
        security_init(True, started.site_org, workspace, started.app_validator, SiteType.CLIENT)
        PrivacyService.initialize(create_privacy_manager(workspace, names_only=True))
        self._own = own
        self.settings: dict[str, Any] = started.config_data
        self.components: dict[str, Any] = started.components
        client = started.base_deployer.create_fed_client(self._arguments)
        self._agent = FedAdminAgent("admin_agent", _Wire(), ClientEngine(client, self._arguments, 0))
        for processor in started.base_deployer.req_processors:
            self._agent.register_processor(processor)

    def commands(self) -> frozenset[str]:
        """The names of the commands that it takes."""
        return frozenset(type(processor).__name__ for processor in self._agent.processors.values())

    def shows(self, path: Path) -> Answer:
        """What it answers to a ``cat`` of a file, in a message that does not ask for its policy."""
        return self._ask(Message(SysCommandTopic.SHELL, f"cat {path}"))

    def buildable(self) -> tuple[list[str], str]:
        """The classes that a job may build, by their names or the packages they are in, and how strictly."""
        classes, mode, _ = ComponentPathAuthorizer()._get_policy(workspace=self._workspace)
        return classes, str(mode.value)

    def requires_signatures(self) -> bool:
        """Whether NVFlare itself refuses a job that nobody has signed."""
        return bool(require_signed_jobs(self._workspace, WorkspaceConstants.CLIENT_STARTUP_CONFIG))

    def streams_logs(self) -> bool:
        """Whether NVFlare's streamers of logs would start."""
        return bool(is_log_streaming_allowed())

    def may(self, role: str, right: str) -> bool:
        """Whether its policy allows this to somebody of the coordinator's in this role."""
        person = Person("somebody", "coordinator", role)
        allowed, _ = AuthorizationService.authorize(AuthzContext(right, person, person))
        return bool(allowed)

    def takes(self, job: bytes, root: bytes | None = None) -> Answer:
        """What becomes of a job: deployed, and what it names about to be built by the process of the job.

        It comes in the name of a user whom NVFlare allows everything, in a message that does not ask for the policy.

        Args:
            root: the root certificate to trust in place of the kit's own.
        """
        place = self._own if root is None else self._trusting(root)
        identifier = str(uuid.uuid4())
        self._arguments.workspace = str(place)
        answer = self._ask(_deployment(identifier, job))
        return self._build(identifier, place) if answer.accepted else answer

    def loses(self, folder: str, job: bytes, root: bytes) -> Answer:
        """What becomes of a folder of the kit when a job has its name for a number; accepted if anything there is gone.

        Args:
            root: the root certificate to trust in place of the kit's own. With a root of its own each time: what is
                removed from the site that trusts it is gone.
        """
        place = self._trusting(root)
        self._arguments.workspace = str(place)
        before = _names(place / folder)
        answer = self._ask(_deployment(folder, job))
        return Answer(True, f"`{folder}` was removed") if before - _names(place / folder) else answer

    def _ask(self, message: Message) -> Answer:
        reply = self._agent._dispatch_request(new_cell_message({}, message)).payload
        refused = reply.get_header(MsgHeader.RETURN_CODE) == ReturnCode.ERROR
        return Answer(not refused, str(reply.body).removeprefix("NVFLARE_ERROR: "))

    def _build(self, job: str, place: Path) -> Answer:
        """As NVFlare's `ClientAppRunner` does before it connects. What fails for another reason was not refused."""
        workspace = Workspace(str(place), self._kit.name, CONFIG)
        folder = Path(workspace.get_app_dir(job))
        arguments = argparse.Namespace(
            **{**vars(self._arguments), "job_id": job, "client_name": self._kit.name, "parent_url": ""},
            sp_scheme="grpc",
            sp_target=f"{self._kit.host}:{self._kit.port}",
        )
        context = FLContext()
        context.set_prop(FLContextKey.WORKSPACE_OBJECT, workspace, private=True)
        context.set_prop(FLContextKey.CURRENT_JOB_ID, job, private=False)
        settings = ClientJsonConfigurator(
            workspace_obj=workspace,
            config_file_name=str(folder / CONFIG / JobConstants.CLIENT_JOB_CONFIG),
            app_root=str(folder),
            args=arguments,
            kv_list=self._arguments.set,
        )
        settings.set_component_build_authorizer(authorize_build_component, fl_ctx=context, event_handlers=[])
        try:
            settings.configure()
        except ComponentNotAuthorized as error:
            return Answer(False, str(error).rpartition("component not authorized: ")[2])
        except Exception as error:
            return Answer(True, f"built, up to a fault that is no refusal ({type(error).__name__})")
        return Answer(True, "built")

    def _trusting(self, root: bytes) -> Path:
        place = self._place / hashlib.sha256(root).hexdigest()
        return place if place.exists() else _linked(self._kit, place, root)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def _linked(kit: Kit, place: Path, root: bytes | None = None) -> Path:
    """A folder whose files are links to the kit's, but for the root certificate if another is given."""
    for folder in (STARTUP, LOCAL):
        (place / folder).mkdir(parents=True)
        for path in (kit.folder / folder).iterdir():
            (place / folder / path.name).symlink_to(path.resolve())
    # NVFlare does not follow a link to the file that says whether jobs must be signed.
    startup = kit.startup / kit.role.startup_file
    linked = place / STARTUP / startup.name
    linked.unlink()
    linked.write_bytes(startup.read_bytes())
    linked.chmod(0o600)
    if root is not None:
        (place / STARTUP / ROOT_CERTIFICATE).unlink()
        (place / STARTUP / ROOT_CERTIFICATE).write_bytes(root)
    return place


def _arguments(kit: Kit, place: Path) -> argparse.Namespace:
    return argparse.Namespace(
        workspace=str(place),
        fed_client=kit.role.startup_file,
        set=[f"uid={kit.name}", f"org={kit.organisation}", "secure_train=true", f"config_folder={CONFIG}"],
        local_rank=0,
        client_config=f"{CONFIG}/{JobConstants.CLIENT_JOB_CONFIG}",
        env=f"{CONFIG}/environment.json",
        train_config=f"{CONFIG}/config_train.json",
        log_config=None,
        job_id=None,
    )


def _deployment(identifier: str, job: bytes) -> Message:
    message = Message(TrainingTopic.DEPLOY, job)
    message.set_header(RequestHeader.JOB_ID, identifier)
    message.set_header(RequestHeader.APP_NAME, _APP)
    message.set_header(
        RequestHeader.JOB_META,
        {
            JobMetaKey.SUBMITTER_NAME.value: "somebody",
            JobMetaKey.SUBMITTER_ORG.value: "coordinator",
            # NVFlare's own back door for tests: this role may do anything.
            JobMetaKey.SUBMITTER_ROLE.value: "super",
        },
    )
    return message

"""A coordinator starts on a port of its own, also where another server would let it listen beside itself."""

from __future__ import annotations

import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from secagg.errors import InputError
from tests.support.ports import free_port
from tests.training.field.conftest import lay_out
from training.engines.nvflare import coordinator_service, listening
from training.engines.nvflare.coordinator_service import serve_coordinator
from training.engines.nvflare.listening import require_free
from training.engines.nvflare.provisioning import Address, provision
from training.field.supervisor import StopRequestedError
from training.field.watcher import SiteWatcher


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def at_once(monkeypatch):
    """No server is given time to end."""
    monkeypatch.setattr(listening, "_ENDING_SECONDS", 0.0)


def grpc_server(address: str) -> grpc.Server:
    """As NVFlare's driver starts one."""
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port(address)
    server.start()
    return server


@pytest.fixture
def other(port):
    """Another coordinator's server."""
    server = grpc_server(f"127.0.0.1:{port}")
    yield server
    server.stop(0).wait()


def go_on() -> None:
    pass


@pytest.mark.usefixtures("at_once", "other")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_on_which_a_server_listens_is_not_free(host, port):
    with pytest.raises(InputError) as refused:
        require_free(host, port, go_on)
    assert (refused.value.reason, refused.value.culprit) == ("port-in-use", f"{host}:{port}")


@pytest.mark.usefixtures("other")
def test_control_grpc_would_listen_there_too(port):
    grpc_server(f"127.0.0.1:{port}").stop(0).wait()


@pytest.mark.usefixtures("at_once", "other")
def test_a_coordinator_starts_no_second_server_there(tmp_path, port, monkeypatch):
    sites = lay_out(tmp_path)
    provision(sites.charter, Address("127.0.0.1", port), tmp_path / "provisioned")
    shutil.rmtree(sites.coordinator.kit)
    shutil.copytree(tmp_path / "provisioned" / "kits" / "coordinator", sites.coordinator.kit)
    monkeypatch.setattr(coordinator_service, "running", lambda *_: pytest.fail("it was started"))
    with pytest.raises(InputError) as refused:
        serve_coordinator(sites.coordinator, go_on, SiteWatcher())
    assert (refused.value.reason, refused.value.exit_code) == ("port-in-use", 2)


def test_a_server_that_is_about_to_end_is_waited_for(other, port):
    require_free("127.0.0.1", port, lambda: other.stop(0).wait())


def test_and_who_waits_can_be_stopped(other, port):
    def stop():
        raise StopRequestedError

    with pytest.raises(StopRequestedError):
        require_free("127.0.0.1", port, stop)


@pytest.mark.usefixtures("at_once")
def test_connections_of_a_server_that_has_ended_do_not_take_its_port(port):
    """The server closes first, and Linux keeps its end for a minute."""
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
    accepted.close()
    client.close()
    with socket.socket() as strict, pytest.raises(OSError, match="in use"):
        strict.bind(("127.0.0.1", port))
    require_free("127.0.0.1", port, go_on)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_what_else_is_wrong_with_an_address_is_the_server_s_to_say(host, port):
    require_free(host, port, go_on)

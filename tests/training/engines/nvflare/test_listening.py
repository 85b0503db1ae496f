"""A coordinator starts on a port of its own, also where another server would let it listen beside itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from secagg.errors import InputError
from tests.support.ports import free_port
from tests.training.field.conftest import lay_out
from training.engines.nvflare import coordinator_service, listening, site_run
from training.engines.nvflare.coordinator_service import serve_coordinator
from training.engines.nvflare.listening import require_free
from training.engines.nvflare.process import PORT_TAKEN, Launch
from training.engines.nvflare.provisioning import Address, provision
from training.field.supervisor import StopRequestedError
from training.field.watcher import SiteWatcher

ROOT = Path(__file__).parents[4]
# NVFlare's driver as the coordinator's server process has it.
SERVER = """
import sys, threading
from types import SimpleNamespace
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver
from training.engines.nvflare.server_rules import go_on_without_who_failed
go_on_without_who_failed()
host, port = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
GrpcDriver().listen(SimpleNamespace(params={"scheme": "grpc", "host": host, "port": int(port)}))
"""


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


@pytest.fixture
def changed_servers(port):
    """Two servers as two coordinators start them, each about to listen on the port; ended with the test."""
    command = (sys.executable, "-c", SERVER, "localhost", str(port))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    servers = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    yield servers
    for server in servers:
        server.kill()
        server.communicate()


def test_of_two_servers_that_start_together_one_listens_and_the_other_ends(changed_servers, port):
    """As after a reboot: each coordinator has found the port free."""
    first, second = changed_servers
    for server in changed_servers:
        assert server.stdout.readline() == "ready\n"
    first.stdin.write("\n")
    first.stdin.flush()
    while not listening.is_taken("localhost", port):
        assert first.poll() is None
    second.communicate("\n", timeout=60)
    assert (first.poll(), second.returncode) == (None, PORT_TAKEN)


def coordinator_at(tmp_path, port):
    """A coordinator's site with real kits."""
    sites = lay_out(tmp_path)
    provision(sites.charter, Address("127.0.0.1", port), tmp_path / "provisioned")
    shutil.rmtree(sites.coordinator.kit)
    shutil.copytree(tmp_path / "provisioned" / "kits" / "coordinator", sites.coordinator.kit)
    return sites.coordinator


def test_a_coordinator_whose_server_found_its_port_taken_ends_and_says_so(tmp_path, port, monkeypatch):
    ended = Launch((sys.executable, "-c", f"raise SystemExit({PORT_TAKEN})"), os.environ)
    monkeypatch.setattr(site_run, "launch", lambda _: ended)

    def keep_asking(_folder, tick):
        while True:
            tick()
            time.sleep(0.1)

    monkeypatch.setattr(coordinator_service, "open_jobs", keep_asking)
    with pytest.raises(InputError) as refused:
        serve_coordinator(coordinator_at(tmp_path, port), go_on, SiteWatcher())
    assert (refused.value.reason, refused.value.culprit) == ("port-in-use", f"127.0.0.1:{port}")


@pytest.mark.usefixtures("at_once", "other")
def test_a_coordinator_starts_no_second_server_there(tmp_path, port, monkeypatch):
    monkeypatch.setattr(coordinator_service, "running", lambda *_: pytest.fail("it was started"))
    with pytest.raises(InputError) as refused:
        serve_coordinator(coordinator_at(tmp_path, port), go_on, SiteWatcher())
    assert (refused.value.reason, refused.value.exit_code) == ("port-in-use", 2)


@pytest.mark.usefixtures("at_once")
def test_every_address_that_a_name_stands_for_has_to_be_free(monkeypatch):
    with socket.create_server(("127.0.0.2", 0)) as second:
        port = second.getsockname()[1]
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: addresses)
        with pytest.raises(InputError, match="listens on port"):
            require_free("coordinator.example.org", port, go_on)


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

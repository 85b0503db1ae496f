"""The page of a training is for who was given its address, on this machine, and for no page of somebody else's."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from importlib.resources import files

import msgspec
import pytest

from training.watching.server import LOOPBACK, WatchHandler, WatchServer
from training.watching.watched import WatchedTraining

NOW = WatchedTraining(
    kind="simulation",
    name="<img src=x>",
    charter="ab" * 32,
    running=True,
    state="training",
    members=4,
    threshold=3,
    steps=1,
    steps_due=3,
    epsilon=1.0,
    budget=8.0,
    delta=1e-5,
)


@pytest.fixture
def serve():
    """Starts a server; all are ended afterwards."""
    started = []

    def start(handler=WatchHandler):
        server = WatchServer(lambda: NOW)
        server.RequestHandlerClass = handler
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(server, path=None, method="GET", **headers):
    """What a client gets that connects to this machine: the code, the headers, the content."""
    connection = http.client.HTTPConnection(LOOPBACK, server.server_port, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/{server.token}/" if path is None else path, headers=named)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_the_page_and_its_parts_come_from_the_address_that_was_printed(serve):
    server = serve()
    assert server.url == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    assert len(server.token) >= 40
    for part, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        code, headers, content = ask(server, f"/{server.token}/{part}")
        assert (code, headers["Content-Type"].split(";")[0]) == (200, kind)
        assert content
    code, _, content = ask(server, f"/{server.token}/state.json")
    assert (code, msgspec.json.decode(content, type=WatchedTraining)) == (200, NOW)


def test_it_listens_on_the_loopback_interface_only(serve):
    assert serve().server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "path", ["/", "//", "/state.json", "/x/state.json", "/{token}", "/{token}x/", "/{token}/../etc"]
)
def test_without_the_whole_token_there_is_nothing(serve, path):
    server = serve()
    code, _, content = ask(server, path.replace("{token}", server.token[:-1]))
    assert code == 404
    assert b"steps" not in content


@pytest.mark.parametrize("part", ["../page.js", "server.py", "page.html", "%2e%2e/page.js", "state.json?x"])
def test_with_it_there_are_four_things_and_no_files(serve, part):
    server = serve()
    assert ask(server, f"/{server.token}/{part}")[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""]
)
def test_a_name_that_was_bound_to_this_machine_by_somebody_else_is_refused(serve, host):
    """DNS rebinding: the browser sends the attacker's name, and lets the attacker's page read what comes back."""
    server = serve()
    code, _, content = ask(server, f"/{server.token}/state.json", Host=host.replace("{port}", str(server.server_port)))
    assert code == 403
    assert b"epsilon" not in content


def test_control_a_server_that_does_not_look_at_the_name_answers(serve):
    class Trusting(WatchHandler):
        def is_from_here(self):
            return True

    server = serve(Trusting)
    code, _, content = ask(server, f"/{server.token}/state.json", Host="evil.example")
    assert code == 200
    assert b"epsilon" in content


@pytest.mark.parametrize(
    ("site", "code"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_what_another_page_asks_for_is_refused(serve, site, code):
    server = serve()
    assert ask(server, f"/{server.token}/state.json", Sec_Fetch_Site=site)[0] == code


def test_nothing_is_said_of_a_browser_that_hangs_up(serve, capsys):
    server = serve()
    for sent in (b"", b"GET / HTT"):
        with socket.create_connection((LOOPBACK, server.server_port)) as connection:
            # Without a farewell, as where the page is closed in the middle.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(sent)
    # Accepted after those two.
    assert ask(server)[0] == 200
    while any("process_request_thread" in thread.name for thread in threading.enumerate()):
        time.sleep(0.02)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent_to_it(serve, method):
    assert ask(serve(), method=method)[0] in (405, 501)


def test_the_browser_is_told_to_load_nothing_from_elsewhere_and_to_keep_nothing(serve):
    _, headers, _ = ask(serve())
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers


def test_the_page_refers_to_nothing_outside_and_writes_text_as_text():
    for name in ("page.html", "page.js", "page.css"):
        content = files("training.watching").joinpath(name).read_text(encoding="utf-8")
        # A name and no address: what an SVG is called.
        content = content.replace('"http://www.w3.org/2000/svg"', "")
        assert re.findall(r"(?:https?:)?//[\w.]+", content) == []
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|style=|onload=|url\(", content)


def test_epsilon_stands_where_a_telephone_shows_it():
    page = files("training.watching").joinpath("page.html").read_text(encoding="utf-8")
    assert re.findall(r'<th scope="col">([^<]*)<', page)[:3] == ["round", "in the sum", "epsilon"]


def test_the_token_is_not_logged(serve, capfd):
    server = serve()
    ask(server)
    assert server.token not in "".join(capfd.readouterr())

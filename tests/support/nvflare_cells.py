"""A coordinator's cell in this process, hospitals' cells in processes of their own: real NVFlare cells, mTLS, TCP."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.lighter.utils import Identity, generate_cert, generate_keys, serialize_cert, serialize_pri_key

from tests.support.nvflare_site import SERVER
from tests.support.ports import free_port

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 120.0


# A thread that reads a stream without end keeps this process from ending for as long.
os.environ.setdefault("NVFLARE_STREAMING_READ_TIMEOUT", "5")


class Cells:
    """One consortium of cells, with throw-away certificates in ``folder``."""

    def __init__(self, folder: Path, members: Iterable[int]) -> None:
        # NVFlare waits by select(2), for descriptors below 1,024 only: files that earlier tests left open use them up.
        gc.collect()
        self._folder = folder
        self._sites: dict[int, subprocess.Popen[bytes]] = {}
        self.names = {member: f"site-{member}" for member in members}
        _write_certificates(folder, [SERVER, *self.names.values()])
        # "localhost" is in the server's certificate.
        self._url = f"tcp://localhost:{free_port()}"
        credentials = dict(zip(("ca_cert", "server_cert", "server_key"), self._files(SERVER), strict=True))
        self.cell = Cell(fqcn=SERVER, root_url=self._url, secure=True, credentials=credentials)
        self.cell.start()
        self.start_missing()

    def start_missing(self) -> None:
        """Start every site that is not there, and wait for its connection."""
        for member, name in self.names.items():
            if member not in self._sites or self._sites[member].poll() is not None:
                command = [sys.executable, "-m", "tests.support.nvflare_site", name, self._url, *self._files(name)]
                self.stop(member)
                self._sites[member] = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE)
        deadline = time.monotonic() + _START_SECONDS
        while not all(self.cell.core_cell.is_cell_connected(name) for name in self.names.values()):
            assert time.monotonic() < deadline, "the sites did not connect"
            time.sleep(0.02)

    def stop(self, member: int) -> None:
        """Kill a site, and wait until its connection is gone."""
        site = self._sites.pop(member, None)
        if site is None:
            return
        site.send_signal(signal.SIGKILL)
        site.communicate()
        while self.cell.core_cell.is_cell_connected(self.names[member]):
            time.sleep(0.02)

    def close(self) -> None:
        for member in self.names:
            self.stop(member)
        self.cell.stop()
        # NVFlare remembers a stopped cell by its name, and a process has one server: the next one is another test's.
        CoreCell.ALL_CELLS.pop(SERVER)

    def _files(self, name: str) -> tuple[str, str, str]:
        return str(self._folder / "root.crt"), str(self._folder / f"{name}.crt"), str(self._folder / f"{name}.key")


def _write_certificates(folder: Path, names: Iterable[str]) -> None:
    """As NVFlare's provisioning makes them."""
    root = Identity("root")
    root_key, root_public = generate_keys()
    root_certificate = generate_cert(root, root, root_key, root_public, valid_days=1, ca=True)
    (folder / "root.crt").write_bytes(serialize_cert(root_certificate))
    for name in names:
        key, public = generate_keys()
        host = "localhost" if name == SERVER else None
        certificate = generate_cert(Identity(name), root, root_key, public, valid_days=1, server_default_host=host)
        (folder / f"{name}.crt").write_bytes(serialize_cert(certificate))
        (folder / f"{name}.key").write_bytes(serialize_pri_key(key))

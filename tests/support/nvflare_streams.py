"""How many connections that stay open an NVFlare server takes: run as a process, prints the number.

Arguments: ``mended`` or ``plain``, and how many connections are opened.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress

from nvflare.fuel.f3.connection import ConnState
from nvflare.fuel.f3.drivers.connector_info import ConnectorInfo, Mode
from nvflare.fuel.f3.drivers.driver import ConnMonitor
from nvflare.fuel.f3.drivers.driver_params import DriverParams
from nvflare.fuel.f3.drivers.grpc_driver import GrpcDriver

from tests.support.ports import free_port
from training.engines.nvflare.server_rules import go_on_without_who_failed

_QUIET_SECONDS = 3.0


class Counter(ConnMonitor):
    """Counts connections, and remembers when the last one came."""

    def __init__(self) -> None:
        self.opened = 0
        self.last = time.monotonic()

    def state_change(self, connection: object) -> None:
        if connection.state == ConnState.CONNECTED:
            self.opened += 1
            self.last = time.monotonic()


def start(mode: Mode, monitor: Counter, port: int) -> None:
    """Listen, or connect, in a thread of its own."""
    driver = GrpcDriver()
    driver.register_conn_monitor(monitor)
    where = {DriverParams.SCHEME.value: "grpc", DriverParams.HOST.value: "127.0.0.1", DriverParams.PORT.value: port}
    info = ConnectorInfo("test", driver, where, mode, 0, 0, False, False)

    def go() -> None:
        with suppress(Exception):
            driver.listen(info) if mode is Mode.PASSIVE else driver.connect(info)

    threading.Thread(target=go, daemon=True).start()


def main() -> None:
    """Open connections until no more are taken."""
    if sys.argv[1] == "mended":
        go_on_without_who_failed()
    server, port, wanted = Counter(), free_port(), int(sys.argv[2])
    start(Mode.PASSIVE, server, port)
    time.sleep(1)
    for _ in range(wanted):
        start(Mode.ACTIVE, Counter(), port)
    while server.opened < wanted and time.monotonic() - server.last < _QUIET_SECONDS:
        time.sleep(0.1)
    print(server.opened, flush=True)
    # gRPC's threads would keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()

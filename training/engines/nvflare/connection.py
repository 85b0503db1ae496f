"""Whether a hospital's site is connected: its process notes each heartbeat that the coordinator's server has answered.

NVFlare tries for ever to connect, and says why it cannot in its own log alone. One process notes, and another, which
watches over the site, sees how long ago that was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from secagg.errors import SecaggError
from secagg.files import PRIVATE
from training.engines.nvflare.extra import other_nvflare
from training.engines.nvflare.kit import Kit
from training.field.status import NOT_CONNECTED

VARIABLE: Final = "SECAGG_HEARD"
HEARD: Final = "heard"

# NVFlare sends a heartbeat every ten seconds, and waits half a minute for its answer.
_LONGEST_SILENCE: Final = 120.0


def note_heartbeats(environment: Mapping[str, str]) -> None:
    """Have this process touch the file that `VARIABLE` names whenever the server has answered a heartbeat.

    Raises:
        SecaggError: ``other-nvflare`` if what is changed is not there: this was written for another NVFlare.
    """
    from nvflare.fuel.f3.cellnet.cell import Cell
    from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
    from nvflare.private.defs import CellChannelTopic

    heard = Path(environment[VARIABLE])
    if hasattr(Cell, "send_request") or not hasattr(Cell, "__getattr__"):
        raise other_nvflare(["Cell.__getattr__"])

    def send_request(cell: Cell, *args: Any, **kwargs: Any) -> Any:
        reply = cell.__getattr__("send_request")(*args, **kwargs)
        is_heartbeat = kwargs.get("topic") == CellChannelTopic.HEART_BEAT
        if is_heartbeat and reply.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.OK:
            # On a full disk the site still takes part.
            with suppress(OSError):
                heard.touch(PRIVATE)
        return reply

    Cell.send_request = send_request


class Connection:
    """Tells for how long nothing has been heard of the coordinator's server.

    Args:
        log: where NVFlare says what it did.
    """

    def __init__(self, kit: Kit, log: Path) -> None:
        self._kit = kit
        self._log = log
        self._last = self._noted()
        self._since = time.monotonic()

    def lost(self) -> SecaggError | None:
        """What to tell once there has been no connection for two minutes; to be asked again and again."""
        noted = self._noted()
        # The clock of the file may be set; this one is not.
        if noted != self._last:
            self._last, self._since = noted, time.monotonic()
        if time.monotonic() - self._since < _LONGEST_SILENCE:
            return None
        return SecaggError(
            NOT_CONNECTED,
            f"This site has no connection to the coordinator's server at {self._kit.host}:{self._kit.port}, and goes "
            "on trying.",
            culprit=str(self._kit.folder),
            remedy="Ask the coordinator whether its site runs. If it does: is that its host and port, does a firewall "
            "or a proxy stand in between, and are both kits of the same authority (`secagg hospital check` shows its "
            f"fingerprint)? {self._log} has what NVFlare says.",
        )

    def _noted(self) -> int:
        with suppress(OSError):
            return (self._kit.folder / HEARD).stat().st_mtime_ns
        return 0

"""Rewrites the generated parts of the documents in place: ``python -m docs.generate``.

A generated part is a Mermaid block below a comment with its name; the rest of a document is left as it is.
"""

from __future__ import annotations

import re
from pathlib import Path

from secagg.masking.states import CLIENT_TRANSITIONS, SERVER_TRANSITIONS, diagram

PROTOCOL = Path(__file__).parent / "protocol.md"


def diagrams() -> dict[str, str]:
    """The state diagrams of the protocol, by the name in the comment above each."""
    return {"client": diagram(CLIENT_TRANSITIONS), "server": diagram(SERVER_TRANSITIONS)}


def refreshed(document: str) -> str:
    """The document with every generated part made anew.

    Raises:
        ValueError: if the place of one is missing.
    """
    for name, lines in diagrams().items():
        place = re.compile(rf"(<!-- {name} -->\n```mermaid\n).*?(\n```\n)", re.DOTALL)
        document, found = place.subn(lambda match, lines=lines: match[1] + lines + match[2], document)
        if found != 1:
            raise ValueError(f"the place of the diagram {name!r} is there {found} times")
    return document


if __name__ == "__main__":
    PROTOCOL.write_text(refreshed(PROTOCOL.read_text(encoding="utf-8")), encoding="utf-8")

"""Every number of a report once more, from its JSON file alone, by means that share nothing with its own code.

Only the standard library: the records are read as plain JSON, trees are hashed by the definition, and epsilon is that
of Gaussian noise on all patients, for which Renyi divergences are a formula.
"""

from __future__ import annotations

import hashlib
import json
import math
from base64 import b64decode
from collections import Counter
from typing import Any


class Written(str):
    """A number with a fraction, as the file spells it."""


def as_written(text: str) -> Any:
    """The document, for hashing."""
    return json.loads(text, parse_float=Written)


def body(value: Any) -> bytes:
    """JSON with sorted keys and no white space."""
    match value:
        case Written():
            return value.encode()
        case dict():
            return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), body(value[key])) for key in sorted(value))
        case list():
            return b"[%b]" % b",".join(map(body, value))
        case _:
            return json.dumps(value).encode()


def tree(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree(leaves[:split]) + tree(leaves[split:])).digest()


def root(log: dict[str, Any], entries: int | None = None) -> str:
    hidden = iter(log["hidden"])
    shown = {item["entry"]["sequence"]: item["entry"] for item in log["shown"]}
    leaves = [
        hashlib.sha256(b"\x00" + body(shown[number])).digest() if number in shown else bytes.fromhex(next(hidden))
        for number in range(1, log["checkpoint"]["entries"] + 1)
    ]
    return tree(leaves[:entries]).hex()


def egress(log: dict[str, Any]) -> dict[str, Any]:
    entries = [item["entry"] for item in log["shown"]]
    sent = [entry for entry in entries if entry["direction"] == "sent"]
    took: dict[tuple[str, int], list[str]] = {}
    for entry in entries:
        if entry["direction"] == "took" and entry["stage"] != "SNAPSHOT":
            took.setdefault((entry["charter"], entry["round"]), []).append(entry["sha256"])
    counts = Counter((entry["charter"], entry["round"]) for entry in sent)
    sizes: Counter[tuple[str, int]] = Counter()
    for entry in sent:
        sizes[entry["charter"], entry["round"]] += entry["bytes"]
    return {
        "messages": len(sent),
        "bytes": sum(entry["bytes"] for entry in sent),
        "stages": {
            stage: (count, sum(entry["bytes"] for entry in sent if entry["stage"] == stage))
            for stage, count in Counter(entry["stage"] for entry in sent).items()
        },
        "rounds": {place: (counts[place], sizes[place], took.get(place, [])) for place in {*counts, *took}},
        "days": {
            day: (count, sum(entry["bytes"] for entry in sent if entry["time"][:10] == day))
            for day, count in Counter(entry["time"][:10] for entry in sent).items()
        },
        "sums": sum(map(len, took.values())),
    }


def epsilon(steps: int, noise_multiplier: float, delta: float, orders: list[float]) -> float:
    """Mironov 2017 and Balle et al. 2020, theorem 21."""
    return max(
        0.0,
        min(
            alpha * steps / (2 * noise_multiplier**2)
            + math.log((alpha - 1) / alpha)
            - (math.log(delta) + math.log(alpha)) / (alpha - 1)
            for alpha in orders
        ),
    )


def charged(log: dict[str, Any], run: str) -> list[tuple[int, float]]:
    """Steps and noise of each charge of a run, in order."""
    return [
        (event["steps"], event["noise_multiplier"])
        for item in log["shown"]
        if item["entry"]["kind"] == "charge" and item["entry"]["run"] == run
        for event in item["entry"]["cost"]["training"]
    ]


def statement(records: dict[str, Any], name: str) -> dict[str, Any]:
    return json.loads(b64decode(json.loads(b64decode(records[name]))["payload"]))

"""`make fuzz`: every harness, or those that are named, for FUZZ_SECONDS each; inputs that broke one are kept.

FUZZ_SECONDS=30 python -m tests.fuzz hospital csv
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.catalogue import HARNESSES, MODULES
from tests.fuzz.harness import Harness

SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
FOLDER = Path("runs") / "fuzz"
_MOST_MEGABYTES = 2048
_LONGEST_SECONDS = 20


def fuzz(harness: Harness, seconds: int) -> tuple[int, list[Path]]:
    """How many inputs were tried, and the files with those that broke it."""
    folder = FOLDER / harness.name
    corpus, broken = folder / "corpus", folder / "broken"
    for place in (corpus, broken):
        place.mkdir(parents=True, exist_ok=True)
    seeds = harness.seeds()
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    before = set(broken.iterdir())
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={2 * max(map(len, seeds))}",
        f"-rss_limit_mb={_MOST_MEGABYTES}",
        f"-timeout={_LONGEST_SECONDS}",
        "-print_final_stats=1",
        f"-artifact_prefix={broken}/",
    ]
    command = [sys.executable, "-m", "tests.fuzz.run", MODULES[harness.name], harness.name, *options, str(corpus)]
    with (folder / "log").open("w+", encoding="utf-8", errors="replace") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        log.seek(0)
        tried = re.findall(r"(?:number_of_executed_units: |^#)(\d+)", log.read(), re.MULTILINE)
    return int(tried[-1]) if tried else 0, sorted(set(broken.iterdir()) - before)


def main() -> int:
    """1 if an input broke a harness, or a harness tried none."""
    found = False
    for name in sys.argv[1:] or sorted(HARNESSES):
        tried, broken = fuzz(HARNESSES[name], SECONDS)
        print(f"{name:16} {tried:9} inputs  {' '.join(map(str, broken)) or 'nothing found'}", flush=True)
        found |= bool(broken) or not tried
    return int(found)


if __name__ == "__main__":
    sys.exit(main())

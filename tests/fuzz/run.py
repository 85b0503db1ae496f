"""Fuzz one harness with atheris, guided by what our own code does with each input: for `make fuzz`.

    python -m tests.fuzz.run protocol hospital -max_total_time=60 CORPUS

Only our packages and Python's TOML and CSV readers are instrumented. Never torch, which is large and
decodes nothing here.
"""

from __future__ import annotations

import importlib
import sys
import warnings

import atheris

INSTRUMENTED = ["secagg", "dp", "training", "tomllib", "csv"]


def main() -> None:
    """Give atheris the harness that the command line names, and the rest of its options."""
    module_name, name, *options = sys.argv[1:]
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=INSTRUMENTED):
        module = importlib.import_module(f"tests.fuzz.{module_name}")
    (harness,) = (one for one in module.HARNESSES if one.name == name)
    atheris.Setup([sys.argv[0], *options], harness.try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

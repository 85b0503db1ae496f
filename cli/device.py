"""The option that chooses what a hospital trains on, for every command that has it.

Loads nothing that trains.
"""

from __future__ import annotations

from typing import get_args

import click

from training.device_name import DeviceName

device_option = click.option(
    "--device", type=click.Choice(get_args(DeviceName)), default="auto", show_default=True, help="Device to train on."
)

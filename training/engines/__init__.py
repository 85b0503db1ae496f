"""What carries the bytes between hospitals and coordinator."""

from training.engines.base import Engine, Exchange

__all__ = ["Engine", "Exchange"]

"""The time to record. Nothing is decided by it."""

from __future__ import annotations

from datetime import UTC, datetime


def write_time() -> str:
    """Now: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")

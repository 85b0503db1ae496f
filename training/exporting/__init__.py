"""A release in the formats that others use, with the statement that every contributor signed inside."""

from training.exporting.export import VerifiedExport, export_release, verify_export

__all__ = ["VerifiedExport", "export_release", "verify_export"]

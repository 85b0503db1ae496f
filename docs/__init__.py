"""The documents, and what rewrites their generated parts: `python -m docs.generate`."""

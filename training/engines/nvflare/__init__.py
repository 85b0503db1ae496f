"""Hospitals in different buildings: NVFlare carries the bytes, over mutual TLS. An extra, ``secagg[nvflare]``."""

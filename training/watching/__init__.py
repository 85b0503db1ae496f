"""A running training, seen from a folder: what is written down there anyway, and no secret."""

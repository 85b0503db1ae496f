"""The same work by Flower's own functions, in an environment of its own. `make bench-flower` makes it."""

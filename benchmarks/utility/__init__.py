"""Utility beside cost: how good a model is at an epsilon, for all together, one curator, and each alone."""

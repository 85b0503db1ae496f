"""Utility beside cost: how good the model is at an epsilon, for everybody together, for one curator, and for each alone."""

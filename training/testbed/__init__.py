"""Consortia of real parties in one process, and builds that lack a defence: for attacks, audits, costs and tests.

Knows how the masking protocol is set up and run. Knows nothing of who lies in it, or of what it should cost.
"""

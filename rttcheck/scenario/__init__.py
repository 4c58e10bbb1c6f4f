"""Scenarios: their keywords and units, their validation, and the named scenarios."""

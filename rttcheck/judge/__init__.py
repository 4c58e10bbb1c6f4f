"""Judge a recording: pure functions over arrays, from samples to findings to a verdict.

Needs no root, no network and no clock, and imports nothing of `rttcheck.collect`.
"""

"""What a recording proves: pure functions over arrays, from samples to findings to a verdict.

Owns every comparison of what was seen with what was injected. Needs no root, no network and no clock, and imports of
what collects nothing but the layout of an event.
"""

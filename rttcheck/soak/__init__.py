"""Measure the false-alarm rate of the checks: run the suite repeatedly, under each clock and load, and count.

Scenarios run through pytest, as for users, and recordings are judged by `rttcheck.judge`.
"""

"""How often the judge cries wolf: the suite again and again, under each clock and load, every check counted.

Owns the repetition, the counting and the bound on what was not seen. It runs scenarios only through pytest, as users
do, and judges only through the judge, so that what it counts is what users get.
"""

"""What a person or a program reads in the end: rows and verdicts as text for a terminal and as JSON.

Owns layout and nothing else: what is in a row was decided by the judge. Nothing here is imported in a guest.
"""

from __future__ import annotations

"""Run ``rttcheck`` as ``python -m rttcheck.cli``: in guests no script is installed."""

from __future__ import annotations

import sys

from rttcheck.cli import main

if __name__ == "__main__":
    sys.exit(main())

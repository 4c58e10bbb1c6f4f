"""``python -m rttcheck.cli`` is ``rttcheck``: what a guest runs, where no script is installed."""

from __future__ import annotations

import sys

from rttcheck.cli import main

if __name__ == "__main__":
    sys.exit(main())

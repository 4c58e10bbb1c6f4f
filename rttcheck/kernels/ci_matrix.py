"""Kernels as the jobs of a CI pipeline: GitHub Actions' matrix, GitLab's ``parallel:matrix``.

Each job names one exact release, so that all jobs of a pipeline use the kernels that its first job listed, and a
cache's key names its contents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from rttcheck.kernels.offer import Offer

GITLAB_TEMPLATE = ".rttcheck-kernels"
"""The hidden job that a GitLab job extends."""


def github(kernels: Iterable[Offer]) -> str:
    """Return a line of JSON for ``$GITHUB_OUTPUT``: ``{"include": [{"kernel": …, "series": …, "release": …}, …]}``."""
    rows = [{"kernel": offer.spec, "series": offer.series, "release": offer.release} for offer in kernels]
    return json.dumps({"include": rows})


def gitlab(kernels: Iterable[Offer]) -> str:
    """Return YAML with one hidden job to extend; KERNEL and RELEASE are variables of each of its instances."""
    # A JSON string is a YAML string.
    rows = [
        f"      - KERNEL: {json.dumps(offer.spec)}\n        RELEASE: {json.dumps(offer.release)}" for offer in kernels
    ]
    return "\n".join([f"{GITLAB_TEMPLATE}:", "  parallel:", "    matrix:", *rows])

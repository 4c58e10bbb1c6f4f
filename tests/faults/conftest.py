"""Recordings of links that do other than they were told: made once a session, in a guest."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rttcheck.doctor.capability import GUEST, missing
from rttcheck.doctor.equipment import equipment
from rttcheck.record.recording import SUFFIX, Recording
from tests.faults import link_faults
from tests.faults.guest import record_in_guest


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Recording]:
    """What was done by each fault of the link, by the fault's name; skips where no guest can be booted."""
    lacking = [f"{thing.name}: {thing.remedy}" for thing in missing(equipment(), GUEST)]
    if lacking:
        pytest.skip(f"no guest can be booted here ({'; '.join(lacking)})")
    directory = tmp_path_factory.mktemp("links")
    record_in_guest({fault.name: fault.recorded.keywords() for fault in link_faults.FAULTS}, directory)
    return {fault.name: Recording.load(directory / f"{fault.name}{SUFFIX}") for fault in link_faults.FAULTS}

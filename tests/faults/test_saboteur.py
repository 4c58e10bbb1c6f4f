"""A running kernel made faulty by a module: each fault fails, its layer first; with the module and no fault all passes.

Each fault is tried in a scenario or two that use its path; `make faults` tries all in all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from rttcheck.doctor.capability import GUEST, missing
from rttcheck.doctor.equipment import equipment
from rttcheck.errors import KernelError
from rttcheck.judge.findings import Outcome
from tests.faults.guest import KERNEL
from tests.saboteur.build import module_for
from tests.saboteur.catalogue import FAULTS, SOUND
from tests.saboteur.fault import RealFault
from tests.saboteur.ledger import Entry
from tests.saboteur.session import Work, record

TRIED = [(fault, scenario) for fault in FAULTS for scenario in fault.tested_in]


@pytest.fixture(scope="session")
def sabotaged(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], Entry]:
    """What was recorded of each fault, by its name and the scenario's; one guest has them all.

    Traffic that did not get through is sent once more: with 40 % loss the ACK of a FIN may be lost for longer than its
    sender is in TIME-WAIT, which resets the connection (1 of some 300 runs).
    """
    _require_compiler()
    directory = tmp_path_factory.mktemp("saboteur")
    works = [Work(fault=fault, scenarios=fault.tested_in) for fault in (SOUND, *FAULTS) if fault.tested_in]
    entries = {(entry.fault, entry.scenario): entry for entry in _recorded(works, directory)}
    again = [
        Work(fault=work.fault, scenarios=(scenario,))
        for work in works
        for scenario in work.scenarios
        if entries[work.fault.name, scenario].error
    ]
    if again:
        entries.update({(entry.fault, entry.scenario): entry for entry in _recorded(again, directory / "again")})
    return entries


def _recorded(works: Sequence[Work], directory: Path) -> Iterator[Entry]:
    for recorded in record(KERNEL, works, directory):
        yield Entry.of(KERNEL, recorded).judged()


def _require_compiler() -> None:
    """Skip where no guest can be booted or no module be built; in CI that fails, for all is installed there."""
    lacking = [f"{thing.name}: {thing.remedy}" for thing in missing(equipment(), GUEST)]
    lacking += [f"{name}: apt install {name}" for name in ("gcc", "make") if shutil.which(name) is None]
    why = f"no kernel can be made faulty here ({'; '.join(lacking)})" if lacking else ""
    if not why:
        try:
            module_for(KERNEL)
        except KernelError as error:
            # What the archive does not give today; a module that does not compile is no such thing.
            if "cannot be built" in str(error):
                raise
            why = str(error)
    if why and os.environ.get("CI"):
        pytest.fail(why)
    if why:
        pytest.skip(why)


@pytest.mark.parametrize("scenario", SOUND.tested_in)
def test_a_kernel_with_the_module_and_no_fault_passes(
    sabotaged: Mapping[tuple[str, str], Entry], scenario: str
) -> None:
    entry = sabotaged[SOUND.name, scenario]
    assert (entry.error, entry.outcome) == ("", Outcome.PASSED), entry.message
    assert entry.hits == 0


@pytest.mark.parametrize(("fault", "scenario"), TRIED, ids=lambda value: getattr(value, "name", value))
def test_a_fault_of_the_kernel_fails_and_its_layer_comes_first(
    sabotaged: Mapping[tuple[str, str], Entry], fault: RealFault, scenario: str
) -> None:
    entry = sabotaged[fault.name, scenario]
    assert entry.error == ""
    assert entry.hits > 0, "the fault never acted: choose a scenario that uses its path"
    assert (entry.outcome, entry.layer) == (Outcome.FAILED, fault.layer), entry.render(fault.layer)

"""The other machines of a session: opened at its beginning, closed at its end. Errors become pytest's UsageError."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from rttcheck.errors import RemoteError
from rttcheck.plugin.kernel_run import KernelRun
from rttcheck.plugin.options import Options
from rttcheck.plugin.slots import guest_slots
from rttcheck.remote import transfer
from rttcheck.remote.destination import Destination
from rttcheck.remote.machine import RemoteMachine, open_machine


def destinations_of(config: pytest.Config, options: Options, runs: Sequence[KernelRun]) -> tuple[Destination, ...]:
    """Return the requested machines.

    Raises UsageError for invalid names, for kernels without a slot, and for tests that would not be transferred.
    """
    try:
        found = tuple(Destination.parse(text, config=options.ssh_config) for text in options.machines)
    except RemoteError as error:
        raise pytest.UsageError(str(error)) from error
    if options.jobs == 0:
        for run in runs:
            if not run.exact:
                raise pytest.UsageError(
                    f"--rtt-jobs 0 leaves this machine without guests, and {run.asked} is on this machine only: omit "
                    "--rtt-jobs, or name kernels of Debian's archive"
                )
    _require_transferred(config, config.rootpath)
    return found


@contextmanager
def machines(
    config: pytest.Config,
    destinations: Sequence[Destination],
    runs: Sequence[KernelRun],
    *,
    say: Callable[[str], None],
) -> Iterator[list[RemoteMachine]]:
    """Open the requested machines, with this session's code. Raises UsageError for one that cannot be used."""
    root, cwd = config.rootpath, config.invocation_params.dir
    with ExitStack() as stack:
        opened = []
        try:
            for destination in destinations:
                machine = stack.enter_context(open_machine(destination, root=root, cwd=cwd, say=say))
                guests = tuple(run.settings for run in runs if run.settings is not None)
                machine.slots = guest_slots(guests, cores=machine.cores, available_mb=machine.available_mb)
                for note in machine.notes:
                    say(note)
                say(f"{machine.name} has room for {machine.slots} guest{'s' if machine.slots > 1 else ''} at a time")
                opened.append(machine)
        except RemoteError as error:
            raise pytest.UsageError(str(error)) from error
        yield opened


def _require_transferred(config: pytest.Config, root: Path) -> None:
    """Raise UsageError for tests outside of the directories that are transferred."""
    for argument in config.args:
        path = Path(config.invocation_params.dir, argument.partition("::")[0]).absolute()
        if path.exists() and not any(path.is_relative_to(place) for place in (root, *transfer.PACKAGES)):
            raise pytest.UsageError(
                f"{path} is not under the tests' root {root}, which --rtt-on transfers to other machines: name "
                "the root with --rootdir"
            )

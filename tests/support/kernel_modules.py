"""What a kernel's modules directory holds."""

from __future__ import annotations

from rttcheck.kernels.kernel import BootableKernel


def has_netem(kernel: BootableKernel) -> bool:
    """Whether ``sch_netem`` is among its modules or built in."""
    if kernel.modules is None:
        return False
    if (kernel.modules / "kernel/net/sched/sch_netem.ko").exists():
        return True
    builtin = kernel.modules / "modules.builtin"
    return builtin.exists() and "/sch_netem.ko" in builtin.read_text()

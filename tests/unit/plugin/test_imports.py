"""What a guest imports before its first test; imports take seconds on an emulated processor."""

import subprocess
import sys


def test_plugin_and_its_kernel_log_are_imported_without_numpy() -> None:
    script = (
        "import sys, rttcheck.plugin, rttcheck.plugin.splats, rttcheck.suite.named_scenarios\n"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"

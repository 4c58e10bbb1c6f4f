"""/dev/kmsg of the running kernel: what is said from now on, and who said it."""

from __future__ import annotations

import os

import pytest

from rttcheck.kernel_log.reader import KMSG, open_kernel_log

pytestmark = pytest.mark.skipif(not os.access(KMSG, os.R_OK | os.W_OK), reason="/dev/kmsg needs root")


def test_what_was_said_before_is_not_read_and_what_comes_then_is() -> None:
    KMSG.write_text("<4>rttcheck: before\n")
    with open_kernel_log() as log:
        assert not [record for record in log.read() if "rttcheck: before" in record.text]
        KMSG.write_text("<4>rttcheck: WARNING: CPU: 0 PID: 1 at fs/x.c:1 f\n")
        found = [record for record in log.read() if record.text.startswith("rttcheck: ")]
        assert [(record.level, record.text) for record in found] == [
            (4, "rttcheck: WARNING: CPU: 0 PID: 1 at fs/x.c:1 f")
        ]
        assert not found[0].is_from_kernel, "a program said it"
        assert not [record for record in log.read() if record.text.startswith("rttcheck: ")]

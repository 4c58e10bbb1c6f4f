"""Processes that die with their parents, with real processes and SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from rttcheck.remote.agent import wait_for_exit

CHILD = """
import subprocess, sys
from rttcheck.kernels.parent_death import die_with_parent
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], preexec_fn=die_with_parent())
print(child.pid, flush=True)
sys.stdin.read()
"""

HEARER = """
import os, subprocess, sys
program = '''
import os, signal
parent = os.getppid()
from rttcheck.kernels.parent_death import exit_when_parent_dies
exit_when_parent_dies(parent)
print("ready", os.getpid(), flush=True)
signal.pause()
'''
child = subprocess.Popen([sys.executable, "-c", program])
sys.stdin.read()
"""

THREAD = """
import os, subprocess, sys, threading
program = '''
import os, sys
parent = os.getppid()
from rttcheck.kernels.parent_death import exit_when_parent_dies
exit_when_parent_dies(parent)
print("ready", flush=True)
sys.stdin.readline()
print("alive", flush=True)
'''
started = []
def start():
    started.append(subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    assert started[0].stdout.readline() == b"ready\\n"
thread = threading.Thread(target=start)
thread.start()
thread.join()
out, _ = started[0].communicate(b"\\n")
print(out.decode(), flush=True)
"""


def start(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_child_dies_with_a_killed_parent() -> None:
    with start(CHILD) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
        assert wait_for_exit(child, within_s=10.0)


def test_a_process_hears_of_its_parents_death() -> None:
    with start(HEARER) as parent:
        assert parent.stdout is not None
        word, child = parent.stdout.readline().split()
        assert word == "ready"
        parent.send_signal(signal.SIGKILL)
        assert wait_for_exit(int(child), within_s=10.0)


def test_the_end_of_the_thread_that_forked_is_no_death() -> None:
    with start(THREAD) as process:
        out, _ = process.communicate(timeout=20)
    assert out.split() == ["alive"]

"""The separate process in which bcc compiles and attaches, so that a compiler that hangs can be killed.

It compiles one program, passes the descriptors of its maps and functions over the socket, and keeps the program
attached until the other side closes its socket or dies.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import sys
import threading
from typing import Any, Final, NoReturn

from rttcheck.collect.probe.bcc_module import import_bcc
from rttcheck.errors import CapabilityError

MOST_MESSAGE: Final = 1 << 20
"""Bytes; a program is some 10,000."""


def serve(control: socket.socket, scratch: str) -> None:
    """Do the one job received on `control`: ``text``, ``cflags``, ``symbol`` (None: kfunc) and the names of ``maps``.

    The answer is ``error`` and ``missing`` (whether the module is missing), or ``functions``, how many of the passed
    descriptors are functions: they come after the maps. ``scratch`` is the parent's directory of headers.
    """
    attached = threading.Event()
    message = control.recv(MOST_MESSAGE)
    if not message:
        _end_for_starter(scratch)
    # A parent that was killed can neither kill this process nor remove the directory.
    threading.Thread(target=_end_with_starter, args=(control, attached, scratch), daemon=True).start()
    job = json.loads(message)
    try:
        made = import_bcc().BPF(text=job["text"].encode(), cflags=job["cflags"])
        if job["symbol"] is not None:
            made.attach_kretprobe(event=job["symbol"].encode(), fn_name=b"rtt_return")
            made.attach_kprobe(event=job["symbol"].encode(), fn_name=b"rtt_entry")
    except Exception as error:  # bcc raises nothing narrower
        _answer(control, {"error": str(error), "missing": isinstance(error, CapabilityError)}, [])
        return
    attached.set()
    try:
        functions = [int(function.fd) for function in made.funcs.values()]
        maps = [int(made[name].map_fd) for name in job["maps"]]
        _answer(control, {"functions": len(functions)}, [*maps, *functions])
        _closed(control)
    finally:
        made.cleanup()


def _answer(control: socket.socket, answer: dict[str, Any], descriptors: list[int]) -> None:
    socket.send_fds(control, [json.dumps(answer).encode()], descriptors)


def _end_with_starter(control: socket.socket, attached: threading.Event, scratch: str) -> None:
    _closed(control)
    if not attached.is_set():
        _end_for_starter(scratch)


def _end_for_starter(scratch: str) -> NoReturn:
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def _closed(control: socket.socket) -> None:
    """Wait until the other side is closed."""
    poll = select.poll()
    poll.register(control, select.POLLRDHUP)
    poll.poll()


def run_from_command_line() -> None:
    """Serve; the arguments are the parent's directory of headers and the number of the socket's descriptor."""
    scratch, descriptor = sys.argv[-2:]
    with socket.socket(fileno=int(descriptor)) as control:
        serve(control, scratch)

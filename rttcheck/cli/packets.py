"""`rttcheck packets RECORDING`: write the packets of a run as a pcapng file, for Wireshark, tshark and other tools.

The packets go to standard output unless that is a terminal, or to a file, which is written atomically.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

from rttcheck.cli.exit_status import STATUSES
from rttcheck.errors import RecordingError, RttcheckError

POINTS: Final = ("client", "link-near", "link-far", "server")
"""The interface names in the file, in the order that a packet of the client passes them."""

_EPILOG = f"""\
Each packet appears once for every point that it passes: client, both sides of the link, server. The points are the
interfaces of the file (frame.interface_name). To follow a connection, select one point: with several, Wireshark shows
the same segment at the next point as a retransmission. Frames are truncated after their headers. Times are kernel
timestamps in nanoseconds; the file's comment gives the offset to the clock of TCP's samples.

examples:
  rttcheck packets loss.rttrec --point client | wireshark -k -i -
  rttcheck packets loss.rttrec --point link-near --point link-far --output link.pcapng
  rttcheck packets loss.rttrec | tshark -r - -Y 'tcp.options.sack_le'
  rttcheck packets .rttcheck/recordings/6.12.117+deb13-amd64/loss.rttrec --output loss.pcapng

{STATUSES}"""


class PacketsNotWritten(RttcheckError):
    """The output file cannot be written; the message gives the reason."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``packets``."""
    parser = subparsers.add_parser(
        "packets",
        help="extract the packets of a recording, for Wireshark",
        description="Write the packets of a recording as a pcapng file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="a recording (.rttrec)")
    parser.add_argument(
        "--output", default="-", metavar="FILE", help="output file; - (default): standard output, unless a terminal"
    )
    parser.add_argument(
        "--point",
        action="append",
        choices=POINTS,
        metavar="POINT",
        help=f"only packets captured there: {', '.join(POINTS)}; repeatable (default: all)",
    )
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Write the packets and return the exit status."""
    from rttcheck.cli import output

    if args.output == "-" and sys.stdout.isatty():
        args.parser.error("standard output is a terminal: pipe the packets to a program, or name a file with --output")
    content = packets_of(args.recording, args.point)
    if args.output == "-":
        output.write_bytes(content)
    else:
        write(content, Path(args.output), recording=args.recording)
    return 0


def packets_of(path: Path, points: list[str] | None = None) -> bytes:
    """Return the pcapng file in the recording at ``path``, with only the packets of ``points`` if given.

    Raises RecordingError when the recording cannot be read, holds no packets, or was not captured at such a point.
    """
    from rttcheck.collect.wire.pcapng import interfaces_of, packets_at
    from rttcheck.record.recording import Recording

    recording = Recording.load(path)
    if not recording.packets:
        raise RecordingError(f"the recording {path} holds no packets; older recordings have none: record the run again")
    if points is None:
        return recording.packets
    try:
        known = interfaces_of(recording.packets)
        for point in points:
            if point not in known:
                raise RecordingError(f"the recording {path} has no point {point}: there are {', '.join(known)}")
        return packets_at(recording.packets, points)
    except ValueError as error:
        raise RecordingError(
            f"the packets in {path} are not a pcapng file of rttcheck ({error}): record the run again"
        ) from error


def write(content: bytes, path: Path, *, recording: Path) -> None:
    """Write ``content`` to the file ``path`` atomically; a pipe or device is written to directly.

    Raises PacketsNotWritten when it cannot be written, or when it is the recording itself.
    """
    try:
        if not _is_a_file(path):
            with path.open("wb", buffering=0) as file:
                _write_all(file.fileno(), content)
            return
        # A symbolic link is followed: its target is replaced, not the link.
        path = path.resolve()
        if path == recording.resolve():
            raise PacketsNotWritten(
                f"{path} is the recording itself, which would be lost: name another file with --output"
            )
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PacketsNotWritten(
            f"the packets cannot be written to {path} ({error.strerror}): free some space, or name another file"
        ) from error


def _is_a_file(path: Path) -> bool:
    """Return whether ``path`` is a regular file or does not exist yet."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]

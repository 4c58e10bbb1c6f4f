"""`rttcheck trace`: nettrace's ``--rtt`` and ``--rtt-detail``, with the correct unit and with losses counted."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from typing import TextIO

from rttcheck.cli.exit_status import ExitStatus

_EPILOG = """\
values:
  rtt      the sample of the first segment that an ACK newly acknowledges: raw, not smoothed
  rtt_min  the sample of the last such segment: not a minimum
  The names are nettrace's. Both values are arguments of the kernel's tcp_ack_update_rtt(), on both ends of a
  connection. Samples from SACK and from timestamps have neither; nettrace omits them, --every-sample shows them.
  The timer of a line is in seconds: loss_probe, 0.204s is 204 ms (without the kernel's HZ nettrace prints its
  51 jiffies as 51.000s). mem:(w r) counts packets, not bytes.

examples:
  rttcheck trace                          table of all samples on this machine, every second, until Ctrl-C
  rttcheck trace --unit us                the same in microseconds
  rttcheck trace --rtt-detail --port 443  one line per sample of connections with port 443 at either end
  rttcheck trace --detail --filter-srtt 100 --count 20
                                          the next 20 samples of 100 ms or more, with process and namespace
  rttcheck trace --netns 4711             only the network namespace of process 4711, such as a lab
  rttcheck trace --json --duration 10s    ten seconds as JSON, one object per line

exit status:
  0  the trace ended regularly: Ctrl-C, SIGTERM, --duration or --count
  2  a second Ctrl-C ended it before its totals, or the output pipe was closed
  3  not possible here: root, BTF or a working probe is missing, or the output cannot be written; the message names
     the remedy, and `rttcheck doctor` shows everything that is missing
  4  usage error
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``trace``."""
    parser = subparsers.add_parser(
        "trace",
        help="show TCP round-trip times as nettrace does, with the correct unit",
        description="Show the round-trip time samples that this kernel's TCP takes: as a cumulative log2 histogram\n"
        "every second or, with --rtt-detail or --detail, as one line per sample.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shown = parser.add_argument_group("output")
    shown.add_argument("--rtt-detail", action="store_true", help="one line per sample instead of the table")
    shown.add_argument(
        "--detail", action="store_true", help="the same, with processor, interface, process and namespace"
    )
    shown.add_argument("--unit", choices=("ms", "us"), help="unit of the table (default: ms)")
    shown.add_argument(
        "--every-sample", action="store_true", help="also samples from SACK and from timestamps, which nettrace omits"
    )
    shown.add_argument("--json", action="store_true", help="one JSON object per line; all times in microseconds")
    filters = parser.add_argument_group("filters")
    filters.add_argument(
        "--filter-srtt", type=_milliseconds, default=0, metavar="MS", help="omit samples with rtt below MS"
    )
    filters.add_argument(
        "--filter-minrtt",
        type=_milliseconds,
        default=0,
        metavar="MS",
        help="omit samples with rtt_min below MS",
    )
    filters.add_argument(
        "--port", type=_port, default=0, metavar="N", help="only connections with port N at either end"
    )
    filters.add_argument(
        "--netns",
        metavar="PATH|PID",
        help="only this network namespace: a process, or a path such as /run/netns/NAME (default: all of them)",
    )
    ends = parser.add_argument_group("end (besides Ctrl-C)")
    ends.add_argument("--count", type=_count, metavar="N", help="after N samples")
    ends.add_argument("--duration", type=_duration, metavar="T", help='after T, such as "10s" or "500ms"')
    probe = parser.add_argument_group("probe")
    probe.add_argument(
        "--probe",
        choices=("auto", "fexit", "kprobe"),
        default="auto",
        help="probe that reads samples (default: the first that works)",
    )
    probe.add_argument("--verbose", action="store_true", help="print which probe was chosen, and why")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Trace until the end. Raises errors that `exit_status.status_of` knows; exits for an invalid ``--netns``."""
    from rttcheck.collect.network_namespace import NoNetworkNamespace

    if args.unit is not None and (args.detail or args.rtt_detail):
        args.parser.error("--unit is for the table: lines are in milliseconds to three decimals, JSON in microseconds")
    try:
        _trace(args, sys.stdout, sys.stderr)
    except NoNetworkNamespace as error:
        args.parser.error(f"--netns: {error}")
    return ExitStatus.PASSED


def _trace(args: argparse.Namespace, to: TextIO, notes: TextIO) -> None:
    import signal

    from rttcheck.collect.network_namespace import held_namespace
    from rttcheck.collect.probe.probe import open_probe
    from rttcheck.nettrace.live import observe, stopped_by
    from rttcheck.nettrace.output import Json, Output, Text
    from rttcheck.nettrace.preparation import TraceRequest, prepare
    from rttcheck.nettrace.trace_point import TraceMode
    from rttcheck.record.histogram import Unit

    with ExitStack() as stack:
        stop = stack.enter_context(stopped_by(signal.SIGINT, signal.SIGTERM))
        inode = None if args.netns is None else stack.enter_context(held_namespace(args.netns))
        request = TraceRequest(
            mode=TraceMode.DETAIL if args.detail or args.rtt_detail else TraceMode.STATISTICS,
            first_below_us=args.filter_srtt,
            last_below_us=args.filter_minrtt,
            every_sample=args.every_sample,
            port=args.port,
            inodes=None if inode is None else (inode,),
            operations=args.probe,
        )
        plan = prepare(request)
        for notice in plan.notices:
            print(f"WARN: {notice}", file=notes)
        probe = stack.enter_context(open_probe(plan.backend, among=plan.operations))
        if args.verbose:
            for line in (*(f"{attempt.backend}: {attempt.reason}" for attempt in probe.tried), *plan.enabled()):
                print(line, file=notes)
        output = Output(
            request=request,
            plan=plan,
            backend=probe.backend,
            style=Json() if args.json else Text(long=args.detail, colour=_in_colour(to)),
            unit=Unit(args.unit or "ms"),
            to=to,
            notes=notes,
            limit=args.count,
        )
        observe(probe, request, output, stop=stop, duration_s=args.duration, count=args.count)


def _in_colour(to: TextIO) -> bool:
    return to.isatty() and not os.environ.get("NO_COLOR")


def _milliseconds(text: str) -> int:
    """Return microseconds from milliseconds, as nettrace's filters have them, with at most three decimals."""
    from decimal import Decimal, InvalidOperation

    try:
        microseconds = Decimal(text) * 1000
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of milliseconds: write 30, or 0.5") from None
    if not (microseconds.is_finite() and microseconds >= 0 and microseconds == int(microseconds)):
        raise argparse.ArgumentTypeError(f"{text} ms is not a valid time: write 0 or more, with at most three decimals")
    return int(microseconds)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port: write 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of samples: write 1 or more")
    return int(text)


def _duration(text: str) -> float:
    """Return a time with a unit in seconds."""
    from rttcheck.errors import ScenarioError
    from rttcheck.scenario.duration import parse_us

    try:
        return parse_us(text, what="duration") / 1_000_000
    except ScenarioError as error:
        raise argparse.ArgumentTypeError(str(error)) from None

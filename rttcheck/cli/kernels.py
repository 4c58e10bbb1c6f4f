"""`rttcheck kernels list|fetch|prune`: list, fetch and remove the kernels for guests."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from rttcheck.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from rttcheck.kernels.inventory import CacheEntry
    from rttcheck.kernels.kernel import BootableKernel
    from rttcheck.kernels.pruning import Pruned

_ENDINGS = """\
exit status:
  0  done
  2  interrupted by Ctrl-C, SIGTERM or a closed output pipe
  4  usage error, or not available: no such kernel, or no network and nothing cached; the message names the remedy
"""

_EPILOG = f"""\
Kernels come from Debian's archive, verified by apt's signatures, into a cache: $RTTCHECK_CACHE, else ~/.cache/rttcheck.
Cached kernels need no network. The machine's own apt configuration is not changed.

examples:
  rttcheck kernels list
  rttcheck kernels list --all --series 6.12
  rttcheck kernels fetch debian:6.1 debian:6.12-rt
  rttcheck kernels prune --older-than 90d --dry-run

`rttcheck kernels list --help`, `fetch --help` and `prune --help` describe each action.

{_ENDINGS}"""

_LIST_EPILOG = f"""\
The newest kernel of each series, by its short name, and all other cached kernels; with --all every kernel by its exact
name. Suites: bullseye-security, bookworm and trixie with their security and backports, sid. Cloud kernels are left out:
they lack 9p, which guests need for their root. Without network, the archive's last known state is listed.

examples:
  rttcheck kernels list
  rttcheck kernels list --series 6.1 --series 6.12 --flavour rt-amd64
  rttcheck kernels list --json | jq -r '.kernels[] | select(.cached).release'
  echo "matrix=$(rttcheck kernels list --format github --series 6.1 --series 6.12)" >> "$GITHUB_OUTPUT"
  rttcheck kernels list --format gitlab > kernels.yml

A CI matrix has the amd64 flavour unless --flavour selects others, and names exact releases.

{_ENDINGS}"""

_FETCH_EPILOG = f"""\
A series (debian:6.12, debian:6.12-rt) means its newest kernel, a release (debian:6.12.107+deb13) exactly that one.
--headers also fetches the headers that bcc compiles against; in a guest they are /lib/modules/RELEASE/build. Then the
least recently used kernels are removed until the cache is within $RTTCHECK_CACHE_LIMIT (10G; `none` for no limit).

examples:
  rttcheck kernels fetch debian:5.10 debian:6.1 debian:6.12
  rttcheck kernels fetch debian:6.1 --headers
  RTTCHECK_CACHE_LIMIT=2G rttcheck kernels fetch debian:7.3

{_ENDINGS}"""

_PRUNE_EPILOG = f"""\
The least recently used kernels are removed first, with their headers, initramfs and frozen guests; never one that a
running guest uses. Without an option the cache is reduced to $RTTCHECK_CACHE_LIMIT (10G). Sizes are powers of 1000.

examples:
  rttcheck kernels prune --size 2G
  rttcheck kernels prune --older-than 90d --dry-run
  rttcheck kernels prune --all

{_ENDINGS}"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``kernels``."""
    parser = subparsers.add_parser(
        "kernels",
        help="list, fetch and remove the kernels for guests",
        description="Manage the kernels for guests: in Debian's archive and in the cache.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _register_list(actions)
    _register_fetch(actions)
    _register_prune(actions)


def _register_list(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from rttcheck.kernels.spec import FLAVOURS

    parser = actions.add_parser(
        "list",
        help="list the kernels of Debian's archive, and which are cached",
        description="List the kernels of Debian's archive for amd64, and which of them are cached.",
        epilog=_LIST_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--all", action="store_true", help="every version, not only the newest of each series")
    parser.add_argument(
        "--series", action="append", default=[], metavar="X.Y", help="only this series, as in 6.12; repeatable"
    )
    parser.add_argument(
        "--flavour", action="append", default=[], choices=FLAVOURS, help="only this flavour; repeatable"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--format", choices=("github", "gitlab"), help="print a matrix of CI jobs")
    parser.set_defaults(run=_list)


def _register_fetch(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "fetch",
        help="fetch kernels into the cache",
        description="Fetch kernels from Debian's archive into the cache, and verify their signatures.",
        epilog=_FETCH_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="debian:6.12, debian:6.12-rt, debian:6.12.107+deb13")
    parser.add_argument("--headers", action="store_true", help="also their headers, for bcc")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_fetch)


def _register_prune(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "prune",
        help="remove kernels from the cache",
        description="Remove the least recently used kernels and everything that belongs to them.",
        epilog=_PRUNE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", metavar="SIZE", help="reduce the cache to this size, as in 2G")
    parser.add_argument("--older-than", metavar="AGE", help="remove kernels unused for this long, as in 90d or 12h")
    parser.add_argument("--all", action="store_true", help="remove everything that no running guest uses")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_prune)


def _list(args: argparse.Namespace) -> int:
    from rttcheck.cli import output
    from rttcheck.cli.progress import shown_progress
    from rttcheck.kernels import ci_matrix
    from rttcheck.kernels.cache import cache_root
    from rttcheck.kernels.offer import offers, select
    from rttcheck.kernels.spec import FLAVOURS
    from rttcheck.report import kernel_table

    root = cache_root()
    with shown_progress(colour=output.wants_colour(sys.stderr)) as progress:
        known = offers(root, progress=progress.phase)
    if known.trouble:
        print(f"rttcheck: {known.trouble}", file=sys.stderr)
    flavours = args.flavour or (FLAVOURS[:1] if args.format else FLAVOURS)
    chosen = select(known.kernels, series=args.series, flavours=flavours, every=args.all)
    if args.format:
        # Other cached kernels depend on this machine, and do not belong in a CI matrix.
        jobs = chosen if args.all else [offer for offer in chosen if offer.newest]
        output.write(ci_matrix.github(jobs) if args.format == "github" else ci_matrix.gitlab(jobs))
    elif args.json:
        rows = [{**asdict(offer), "newest_as": offer.newest_as, "cached": offer.cached} for offer in chosen]
        document = {"cache": str(root), "asked": known.asked, "trouble": known.trouble, "kernels": rows}
        output.write(json.dumps(document, indent=1))
    else:
        text = kernel_table.render(
            chosen,
            asked=known.asked,
            root=root,
            exact=args.all,
            now=time.time(),
            width=output.columns(),
            colour=output.wants_colour(sys.stdout),
        )
        output.write(text)
    return ExitStatus.PASSED


def _fetch(args: argparse.Namespace) -> int:
    from rttcheck.cli import output
    from rttcheck.cli.progress import shown_progress
    from rttcheck.kernels.archive import fetch
    from rttcheck.kernels.spec import KernelSpec

    # Report a misspelt one before the first is fetched.
    specs = [KernelSpec.parse(text) for text in args.specs]
    fetched = []
    with shown_progress(colour=output.wants_colour(sys.stderr)) as progress:
        for spec in specs:
            progress.phase(f"looking for {spec}")
            kernel = fetch(spec, headers=args.headers, progress=progress.phase)
            fetched.append((spec, kernel))
            if not args.json:
                output.write(f"{spec!s:<24}  {kernel.release}  {kernel.image.parent}{_beside(kernel)}")
    if args.json:
        rows = [
            {
                "spec": str(spec),
                "release": kernel.release,
                "version": kernel.version,
                "image": str(kernel.image),
                "modules": str(kernel.modules) if kernel.modules else None,
                "headers": str(kernel.headers) if kernel.headers else None,
            }
            for spec, kernel in fetched
        ]
        output.write(json.dumps({"kernels": rows}, indent=1))
    return ExitStatus.PASSED


def _beside(kernel: BootableKernel) -> str:
    return " with headers" if kernel.headers is not None else ""


def _prune(args: argparse.Namespace) -> int:
    from rttcheck.cli import output
    from rttcheck.cli.progress import shown_progress
    from rttcheck.kernels.amount import parse_age, parse_size
    from rttcheck.kernels.cache import cache_root, exclusive
    from rttcheck.kernels.pruning import PruneRequest, cache_limit, prune

    size = parse_size(args.size, what="--size") if args.size is not None else None
    age_s = parse_age(args.older_than, what="--older-than") if args.older_than is not None else None
    if size is None and age_s is None and not args.all:
        size = cache_limit()
    wish = PruneRequest(size=size, age_s=age_s, everything=args.all)
    root = cache_root()
    if args.dry_run or not root.exists():
        pruned = prune(root, wish, dry_run=True)
    else:
        with (
            shown_progress(colour=output.wants_colour(sys.stderr)) as progress,
            exclusive(root, progress=progress.phase),
        ):
            pruned = prune(root, wish)
    if args.json:
        rows = {"gone": [_row(one) for one in pruned.gone], "in_use": [_row(one) for one in pruned.spared]}
        document = {"dry_run": args.dry_run, **rows, "freed": pruned.freed, "left": pruned.left}
        output.write(json.dumps(document, indent=1))
    else:
        output.write(_pruned_text(pruned, dry_run=args.dry_run))
    return ExitStatus.PASSED


def _row(one: CacheEntry) -> dict[str, object]:
    return {"label": one.label, "contents": one.contents, "bytes": one.bytes, "used": one.used}


def _pruned_text(pruned: Pruned, *, dry_run: bool) -> str:
    from rttcheck.kernels.amount import age_text, size_text

    now = time.time()
    went = "would remove" if dry_run else "removed"
    lines = [
        f"{went} {one.label}: {one.contents}, {size_text(one.bytes)}, used {age_text(now - one.used)}"
        for one in pruned.gone
    ]
    lines += [f"in use and kept: {one.label}, {size_text(one.bytes)}" for one in pruned.spared]
    freed = f"{size_text(pruned.freed)} {'would be ' if dry_run else ''}freed" if pruned.gone else "nothing to remove"
    return "\n".join([*lines, f"{freed}, {size_text(pruned.left)} left"])

"""What is pruned from the cache, in which order, and what is always kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rttcheck.errors import KernelError
from rttcheck.kernels.amount import age_text, parse_age, parse_size, size_text
from rttcheck.kernels.inventory import CacheEntry, inventory
from rttcheck.kernels.pruning import PruneRequest, cache_limit, choose, keep_within_limit, prune
from rttcheck.kernels.use import in_use, touch

DAY = 86400.0
NOW = 1000 * DAY
MEGABYTE = 1_000_000


def kept(label: str, megabytes: int, days: float, *, in_use: bool = False) -> CacheEntry:
    return CacheEntry(label=label, parts=(), bytes=megabytes * MEGABYTE, used=NOW - days * DAY, in_use=in_use)


CACHE = (kept("old", 300, 100), kept("busy", 200, 50, in_use=True), kept("middle", 100, 10), kept("new", 50, 0))
"""The least recently used first; 650 MB."""


@pytest.mark.parametrize(
    ("wish", "gone"),
    [
        (PruneRequest(), []),
        (PruneRequest(size=650 * MEGABYTE), []),
        (PruneRequest(size=649 * MEGABYTE), ["old"]),
        # What is in use makes no room, so the next one has to.
        (PruneRequest(size=300 * MEGABYTE), ["old", "busy", "middle"]),
        (PruneRequest(size=0), ["old", "busy", "middle", "new"]),
        (PruneRequest(age_s=60 * DAY), ["old"]),
        (PruneRequest(age_s=10 * DAY), ["old", "busy"]),
        (PruneRequest(age_s=60 * DAY, size=300 * MEGABYTE), ["old", "busy", "middle"]),
        (PruneRequest(everything=True), ["old", "busy", "middle", "new"]),
    ],
)
def test_the_least_recently_used_goes_first_and_no_more_than_has_to(wish: PruneRequest, gone: list[str]) -> None:
    assert [one.label for one in choose(CACHE, wish, now=NOW)] == gone


def test_what_is_wanted_stays_whatever_its_age() -> None:
    assert [one.label for one in choose(CACHE, PruneRequest(size=0), now=NOW, keep=("old", "new"))] == [
        "busy",
        "middle",
    ]


def fill(root: Path, release: str, *, kilobytes: int, days: float) -> None:
    """A kernel with an initramfs, a frozen guest and headers."""
    digest = "0123456789abcdef"
    for place in (f"kernels/{release}", f"frozen/{release}.{digest}", f"initramfs/{release}.{digest}"):
        (root / place).mkdir(parents=True)
        (root / place / "file").write_bytes(bytes(kilobytes * 1024))
    (root / f"kernels/{release}/kernel.json").write_text("{}")
    (root / f"kernels/{release}/headers/include").mkdir(parents=True)
    touch(root, release)
    then = time.time() - days * DAY
    os.utime(root / "use" / release, (then, then))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two kernels, of which 6.1 was used longer ago, and package lists that are older than both."""
    fill(tmp_path, "6.1.0-56-amd64", kilobytes=400, days=20)
    fill(tmp_path, "6.12.117+deb13-amd64", kilobytes=400, days=1)
    (tmp_path / "apt/all").mkdir(parents=True)
    (tmp_path / "apt/all/stamp").write_text("")
    then = time.time() - 40 * DAY
    os.utime(tmp_path / "apt/all/stamp", (then, then))
    return tmp_path


def labels(root: Path) -> list[str]:
    return [one.label for one in inventory(root)]


def test_all_that_is_kept_of_a_release_is_one_entry(cache: Path) -> None:
    lists, old, new = inventory(cache)
    assert [lists.label, old.label, new.label] == ["package lists all", "6.1.0-56-amd64", "6.12.117+deb13-amd64"]
    assert old.contents == "kernel, headers, frozen guest, initramfs"
    assert 1_200 * 1024 <= old.bytes <= 1_300 * 1024
    assert age_text(time.time() - old.used) == "20 days ago"


def test_a_release_goes_as_a_whole(cache: Path) -> None:
    pruned = prune(cache, PruneRequest(age_s=10 * DAY))
    assert [one.label for one in pruned.gone] == ["package lists all", "6.1.0-56-amd64"]
    left = [str(path.relative_to(cache)) for path in cache.rglob("*") if "6.1.0" in path.name or "apt/" in str(path)]
    assert left == ["use/6.1.0-56-amd64"]
    assert labels(cache) == ["6.12.117+deb13-amd64"]
    assert pruned.left == inventory(cache)[0].bytes


def test_a_kernel_that_a_guest_uses_is_spared_and_reported(cache: Path) -> None:
    with in_use(cache, "6.1.0-56-amd64"):
        pruned = prune(cache, PruneRequest(everything=True))
    assert [one.label for one in pruned.spared] == ["6.1.0-56-amd64"]
    assert labels(cache) == ["6.1.0-56-amd64"]
    assert (cache / "frozen/6.1.0-56-amd64.0123456789abcdef/file").exists()


def test_a_kernel_that_is_taken_into_use_at_the_last_moment_is_left(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rttcheck.kernels.inventory.is_used", lambda *_: False)
    with in_use(cache, "6.12.117+deb13-amd64"):
        pruned = prune(cache, PruneRequest(everything=True))
    assert [one.label for one in pruned.spared] == ["6.12.117+deb13-amd64"]


def test_a_dry_run_reports_the_same_and_removes_nothing(cache: Path) -> None:
    before = sorted(cache.rglob("*"))
    with in_use(cache, "6.1.0-56-amd64"):
        pruned = prune(cache, PruneRequest(everything=True), dry_run=True)
    assert [one.label for one in pruned.gone] == ["package lists all", "6.12.117+deb13-amd64"]
    assert [one.label for one in pruned.spared] == ["6.1.0-56-amd64"]
    assert sorted(cache.rglob("*")) == before


def test_what_older_versions_and_killed_sessions_left_goes_too(cache: Path) -> None:
    nameless = cache / "initramfs/02a0ad0d720fb69f"
    nameless.mkdir()
    os.utime(nameless, (0, 0))
    half = cache / "kernels/.6.9.abc"
    half.mkdir()
    os.utime(half, (0, 0))
    young = cache / "kernels/.6.10.abc"
    young.mkdir()
    assert labels(cache)[0] == "initramfs/02a0ad0d720fb69f"
    prune(cache, PruneRequest(age_s=100 * DAY))
    assert not nameless.exists()
    assert not half.exists()
    assert young.exists()


def test_after_a_fetch_the_cache_is_within_its_limit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setenv("RTTCHECK_CACHE_LIMIT", "none")
    keep_within_limit(cache, keep=(), progress=messages.append)
    assert messages == []
    monkeypatch.setenv("RTTCHECK_CACHE_LIMIT", "1M")
    keep_within_limit(cache, keep=("6.1.0-56-amd64",), progress=messages.append)
    assert labels(cache) == ["6.1.0-56-amd64"]
    assert messages[-1] == "removed 6.12.117+deb13-amd64 (1 MB): the cache is limited to 1 MB"


def test_an_empty_cache_is_pruned_of_nothing(tmp_path: Path) -> None:
    assert prune(tmp_path / "none", PruneRequest(everything=True)).gone == ()


def test_the_limit_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTTCHECK_CACHE_LIMIT", raising=False)
    assert cache_limit() == 10 * 10**9
    monkeypatch.setenv("RTTCHECK_CACHE_LIMIT", "500M")
    assert cache_limit() == 500 * 10**6
    monkeypatch.setenv("RTTCHECK_CACHE_LIMIT", "much")
    with pytest.raises(KernelError, match="RTTCHECK_CACHE_LIMIT 'much' is no size; write a number and K, M, G or T"):
        cache_limit()


@pytest.mark.parametrize(("text", "size"), [("2G", 2 * 10**9), ("1.5gb", 1_500_000_000), ("0", 0), ("10 M", 10**7)])
def test_sizes_are_numbers_with_a_unit(text: str, size: int) -> None:
    assert parse_size(text, what="--size") == size


@pytest.mark.parametrize("text", ["2", "G", "-1G", "2GiB", "", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(KernelError, match="is no size"):
        parse_size(text, what="--size")


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("12h", 0.5), ("2w", 14)])
def test_ages_are_numbers_with_a_unit(text: str, days: float) -> None:
    assert parse_age(text, what="--older-than") == days * DAY


@pytest.mark.parametrize("text", ["90", "d", "3m", "-1d"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(KernelError, match="is no age; write a number and h, d or w"):
        parse_age(text, what="--older-than")


def test_sizes_and_ages_for_a_person() -> None:
    assert (size_text(1_440_000_000), size_text(99_600_000)) == ("1.4 GB", "100 MB")
    assert (age_text(59), age_text(3600), age_text(3 * DAY)) == ("just now", "1 hour ago", "3 days ago")

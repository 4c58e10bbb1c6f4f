"""`rttcheck kernels`: what a person, a program and a CI pipeline are told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rttcheck.cli import main
from rttcheck.cli.exit_status import ExitStatus
from rttcheck.errors import KernelError
from rttcheck.kernels import archive, offer
from rttcheck.kernels.apt import Archive, ImagePackage
from rttcheck.kernels.kernel import BootableKernel
from rttcheck.kernels.offer import Offer, ranked
from rttcheck.kernels.use import in_use, touch

Run = Callable[..., str]

IMAGES = (
    ImagePackage("linux-image-6.1.0-55-amd64", "6.1.192-1", "6.1.0-55", "amd64", 3),
    ImagePackage("linux-image-6.1.0-56-rt-amd64", "6.1.192-2", "6.1.0-56", "rt-amd64", 3),
    ImagePackage("linux-image-6.1.0-56-amd64", "6.1.192-2", "6.1.0-56", "amd64", 3),
    ImagePackage("linux-image-6.12.117+deb13-amd64", "6.12.117-1", "6.12.117+deb13", "amd64", 0),
    ImagePackage("linux-image-7.2.13+deb14-amd64", "7.2.13-1", "7.2.13+deb14", "amd64", 7),
)


def cache_kernel(cache: Path, release: str, version: str) -> None:
    directory = cache / "kernels" / release
    (directory / "lib/modules" / release).mkdir(parents=True)
    (directory / "vmlinuz").write_bytes(bytes(3_000_000))
    BootableKernel(image=directory / "vmlinuz", modules=None, release=release, version=version).save(directory)
    touch(cache, release)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a kernel that the archive has and one that it had; the archive was asked a moment ago."""
    monkeypatch.setenv("RTTCHECK_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    cache_kernel(tmp_path, "6.12.117+deb13-amd64", "6.12.117-1")
    cache_kernel(tmp_path, "6.12.90+deb13-amd64", "6.12.90-1")
    monkeypatch.setattr(Archive, "images", lambda _self: IMAGES)
    monkeypatch.setattr(Archive, "is_fresh", lambda _self, _within_s=0.0: True)
    monkeypatch.setattr(Archive, "asked", property(lambda _self: time.time() - 7200))
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``rttcheck kernels`` with words and gives what it wrote to standard output."""

    def command(*words: str, status: int = ExitStatus.PASSED) -> str:
        assert main(["kernels", *words]) == status
        return capsys.readouterr().out

    return command


def first_words(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.startswith("debian:")]


def test_the_newest_of_each_series_is_listed_by_the_name_that_means_it(cache: Path, run: Run) -> None:
    text = run("list")
    assert first_words(text) == ["debian:6.1", "debian:6.1-rt", "debian:6.12.90+deb13", "debian:6.12", "debian:7.2"]
    row = next(line for line in text.splitlines() if line.startswith("debian:6.12 "))
    assert row.split() == ["debian:6.12", "6.12.117+deb13-amd64", "trixie-security", "3", "MB,", "used", "just", "now"]
    assert "no longer offered" in next(line for line in text.splitlines() if "6.12.90" in line)
    assert f"2 of these are cached in {cache}, 6 MB" in text
    assert text.splitlines()[-1].endswith("2 hours ago")


@pytest.mark.usefixtures("cache")
def test_every_version_is_listed_by_its_exact_name(run: Run) -> None:
    listed = ["debian:6.1.0-55", "debian:6.1.0-56", "debian:6.1.0-56-rt"]
    assert first_words(run("list", "--all", "--series", "6.1")) == listed


@pytest.mark.usefixtures("cache")
def test_a_flavour_alone(run: Run) -> None:
    assert first_words(run("list", "--flavour", "rt-amd64")) == ["debian:6.1-rt"]


@pytest.mark.usefixtures("cache")
def test_a_series_that_nobody_has_is_told_which_there_are(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "list", "--series", "6.1", "--series", "6.66"]) == ExitStatus.USAGE
    assert "no kernel of series '6.66'; name one of 6.1, 6.12, 7.2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("list", "--json", "--format", "github")


def test_json_has_all_of_it(cache: Path, run: Run) -> None:
    told = json.loads(run("list", "--json", "--series", "6.12"))
    assert told["cache"] == str(cache)
    gone, newest = told["kernels"]
    assert (gone["spec"], gone["suite"], gone["newest"], gone["cached"]) == ("debian:6.12.90+deb13", "", False, True)
    assert (newest["newest_as"], newest["suite"], newest["headers"]) == ("debian:6.12", "trixie-security", False)
    assert newest["bytes"] >= 3_000_000


def test_frozen_guests_are_listed_with_their_size(cache: Path, run: Run) -> None:
    for digest in ("0123456789abcdef", "fedcba9876543210"):
        state = cache / "frozen" / f"6.12.117+deb13-amd64.{digest}" / "state"
        state.parent.mkdir(parents=True)
        state.write_bytes(b"x" * 2_000_000)
    text = run("list")
    row = " ".join(line for line in text.splitlines() if "6.12.117" in line or line.startswith(" "))
    assert "7 MB with 2 frozen guests (4 MB)" in " ".join(row.split())
    _, newest = json.loads(run("list", "--json", "--series", "6.12"))["kernels"]
    assert [size >= 2_000_000 for size in newest["frozen"]] == [True, True]


@pytest.mark.usefixtures("cache")
def test_githubs_matrix_is_one_line_of_exact_releases(run: Run) -> None:
    text = run("list", "--format", "github")
    assert text.count("\n") == 1
    rows = json.loads(text)["include"]
    assert rows[1] == {"kernel": "debian:6.12.117+deb13", "series": "6.12", "release": "6.12.117+deb13-amd64"}
    assert [row["series"] for row in rows] == ["6.1", "6.12", "7.2"]
    rt = json.loads(run("list", "--format", "github", "--flavour", "rt-amd64"))["include"]
    assert [row["kernel"] for row in rt] == ["debian:6.1.0-56-rt"]


def offline(monkeypatch: pytest.MonkeyPatch, *, asked: float | None) -> None:
    def refuse(_self: Archive, **_: object) -> None:
        raise KernelError("apt could not read the package lists of Debian's archive (no route)")

    monkeypatch.setattr(Archive, "is_fresh", lambda _self, _within_s=0.0: False)
    monkeypatch.setattr(Archive, "asked", property(lambda _self: asked))
    monkeypatch.setattr(Archive, "refresh", refuse)


@pytest.mark.usefixtures("cache")
def test_without_network_the_lists_at_hand_are_used_and_their_age_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offline(monkeypatch, asked=time.time() - 3 * 86400)
    assert main(["kernels", "list"]) == ExitStatus.PASSED
    out, err = capsys.readouterr()
    assert "no route" in err
    assert out.splitlines()[-1].endswith("3 days ago")
    assert "debian:6.1 " in out


@pytest.mark.usefixtures("cache")
def test_without_network_and_lists_the_cache_is_listed(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    offline(monkeypatch, asked=None)
    text = run("list")
    assert first_words(text) == ["debian:6.12.90+deb13", "debian:6.12"]
    assert text.splitlines()[-1] == "Debian's archive was never queried"


def test_a_cached_kernel_is_the_newest_only_where_none_is_offered() -> None:
    one = Offer(spec="a", release="6.12.9", series="6.12", flavour="amd64", version="6.12.9-1", suite="trixie")
    newer = replace(one, spec="b", release="6.12.10", version="6.12.10-1", suite="")
    oldest = replace(newer, spec="c", release="6.12.8", version="6.12.8-1")
    assert [(offer.spec, offer.newest) for offer in ranked([one], [newer])] == [("a", True), ("b", False)]
    assert [(offer.spec, offer.newest) for offer in ranked([], [newer, oldest])] == [("c", False), ("b", True)]


def test_fetch_says_where_each_kernel_is(cache: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def fetch(spec: object, *, headers: bool, progress: Callable[[str], None]) -> BootableKernel:
        asked.append((str(spec), headers))
        progress("downloading")
        return BootableKernel(image=cache / "kernels/x/vmlinuz", modules=None, release="6.1.0-56-amd64")

    monkeypatch.setattr(archive, "fetch", fetch)
    text = run("fetch", "debian:6.1", "debian:6.12-rt", "--headers")
    assert asked == [("debian:6.1", True), ("debian:6.12-rt", True)]
    assert text.splitlines()[0].split() == ["debian:6.1", "6.1.0-56-amd64", str(cache / "kernels/x")]
    assert json.loads(run("fetch", "debian:6.1", "--json"))["kernels"][0]["release"] == "6.1.0-56-amd64"
    asked.clear()
    run("fetch", "debian:6.1", "6.12", status=ExitStatus.USAGE)
    assert asked == [], "the second name makes no sense, and the first was fetched"


def test_prune_says_what_went_and_what_is_in_use(cache: Path, run: Run) -> None:
    with in_use(cache, "6.12.90+deb13-amd64"):
        dry = run("prune", "--all", "--dry-run")
        assert dry.splitlines()[-1] == "3 MB would be freed, 3 MB left"
        assert (cache / "kernels/6.12.117+deb13-amd64").exists()
        lines = run("prune", "--all").splitlines()
    assert lines == [
        "removed 6.12.117+deb13-amd64: kernel, 3 MB, used just now",
        "in use and kept: 6.12.90+deb13-amd64, 3 MB",
        "3 MB freed, 3 MB left",
    ]
    told = json.loads(run("prune", "--older-than", "1d", "--json"))
    assert (told["gone"], told["freed"], told["dry_run"]) == ([], 0, False)


def test_prune_without_a_word_is_to_the_limit(cache: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("prune") == "nothing to remove, 6 MB left\n"
    monkeypatch.setenv("RTTCHECK_CACHE_LIMIT", "4M")
    assert run("prune").splitlines()[-1] == "3 MB freed, 3 MB left"
    assert len(list((cache / "kernels").iterdir())) == 1


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("words", [("--size", "2"), ("--older-than", "soon")])
def test_an_amount_that_is_none_is_refused(words: tuple[str, str], run: Run) -> None:
    run("prune", *words, status=ExitStatus.USAGE)


def test_listing_asks_the_archive_when_its_lists_are_old(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(Archive, "is_fresh", lambda _self, _within_s=0.0: False)
    monkeypatch.setattr(Archive, "refresh", lambda self, **_: asked.append(self.directory))
    assert offer.offers(cache, progress=lambda _line: None).trouble == ""
    assert asked == [cache / "apt/all"]

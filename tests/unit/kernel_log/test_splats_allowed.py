"""The lists of splats that do not count: which kernels an entry is of, and what makes no entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from rttcheck.errors import AllowListError
from rttcheck.kernel_log.allowed import ALLOWED, Allowed, of_dicts, read_allowed

GOOD = """\
[[splat]]
pattern = 'WARNING.*tcp_ack'
since = "6.1"
before = "6.12.20"
reason = "known and harmless"
until = "6.12.20"

[[splat]]
pattern = "hung"
reason = "the disk is slow"
until = "the disk is replaced"
"""


@pytest.mark.parametrize(
    ("release", "covered"),
    [
        ("6.1.0-56-amd64", True),
        ("6.12.19+deb13-amd64", True),
        ("6.12.20+deb13-amd64", False),
        ("6.12.117+deb13-amd64", False),
        ("6.9", True),
        ("5.10.0-46-amd64", False),
        ("7.3.4", False),
        ("6.1-rc1", True),
    ],
)
def test_an_entry_is_of_the_kernels_between_two_versions(release: str, covered: bool) -> None:
    entry = Allowed(pattern="tcp_ack", since="6.1", before="6.12.20", reason="x", until="y")
    assert entry.covers("WARNING at tcp_ack", release) is covered
    assert not entry.covers("WARNING at tcp_push", release)


def test_a_file_of_entries_is_read_and_comes_back_from_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "known.toml"
    path.write_text(GOOD)
    entries = read_allowed(path)
    assert [(entry.since, entry.before, entry.until) for entry in entries] == [
        ("6.1", "6.12.20", "6.12.20"),
        ("", "", "the disk is replaced"),
    ]
    assert of_dicts(entry.as_dict() for entry in entries) == entries


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no entry: write [[splat]]"),
        ("splat = 3", "has no entry"),
        ("[[splat]", "is no TOML file"),
        ('[[splat]]\npattern = "x"\nuntil = "y"', "entry 1 of .* lacks reason"),
        ('[[splat]]\npattern = "x"\nreason = " "\nuntil = "y"', "entry 1 of .* lacks reason"),
        ('[[splat]]\npattern = 3\nreason = "x"\nuntil = "y"', "write them in quotes"),
        ('[[splat]]\npattern = "["\nreason = "x"\nuntil = "y"', "no regular expression"),
        ('[[splat]]\npattern = "x"\nreason = "x"\nuntil = "y"\nkernel = "6.1"', "has the unknown kernel"),
        ('[[splat]]\npattern = "x"\nreason = "x"\nuntil = "y"\nsince = "v6"', 'since = "v6", which is no version'),
    ],
)
def test_an_invalid_list_is_refused_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "known.toml"
    path.write_text(text)
    with pytest.raises(AllowListError, match=message.replace("[[", r"\[\[")) as refused:
        read_allowed(path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AllowListError, match=r"none cannot be read \(No such file or directory"):
        read_allowed(tmp_path / "none")


def test_the_projects_own_entries_have_a_reason_and_an_end() -> None:
    assert all(entry.reason and entry.until for entry in ALLOWED)

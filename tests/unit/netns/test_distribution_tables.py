"""The shipped delay distributions, against their definitions and against iproute2's own files."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from rttcheck_netns import Distribution, NetemInvalid
from rttcheck_netns.distribution import NAMED, normal_table, pareto_table, paretonormal_table

COMPUTED = {"normal": normal_table, "pareto": pareto_table, "paretonormal": paretonormal_table}
IPROUTE2 = [
    path
    for folder in ("/usr/lib/tc", "/usr/lib64/tc", "/usr/share/tc", *map(str, Path("/usr/lib").glob("*-linux-gnu/tc")))
    for path in Path(folder).glob("*.dist")
]


@pytest.mark.parametrize("name", NAMED)
def test_a_shipped_table_is_what_its_definition_gives(name: str) -> None:
    assert Distribution.named(name).table == COMPUTED[name]()


@pytest.mark.parametrize("name", NAMED)
def test_a_shipped_table_is_iproute2s_entry_by_entry(name: str) -> None:
    theirs = [path for path in IPROUTE2 if path.stem == name]
    if not theirs:
        pytest.skip("iproute2's distribution tables are not installed")
    assert Distribution.read(theirs[0]).table == Distribution.named(name).table


def test_the_normal_table_has_the_quantiles_of_the_normal_distribution() -> None:
    table = Distribution.named("normal").table
    reference = statistics.NormalDist()
    for i in range(1, 4096):
        assert abs(table[i] / 8192 - reference.inv_cdf((4 * i + 0.5) / 16384)) < 1.5 / 8192
    assert abs(statistics.pstdev(table) / 8192 - 1) < 0.001


def test_the_pareto_table_never_undercuts_the_smallest_value_of_the_distribution() -> None:
    table = Distribution.named("pareto").table
    assert min(table) == -5461  # (1 - 1.5) * 4/3 jitters
    assert list(table) == sorted(table)


def test_a_table_of_ones_own_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "steps.dist"
    path.write_text("# three steps\n-8192 0 # in the middle\n\n8192\n")
    assert Distribution.read(path) == Distribution("steps", (-8192, 0, 8192))


@pytest.mark.parametrize("text", ["", "# nothing\n", "1 2 x\n", "40000\n", "-32769\n"])
def test_a_bad_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.dist"
    path.write_text(text)
    with pytest.raises(NetemInvalid):
        Distribution.read(path)


def test_a_table_that_the_kernel_cannot_hold_is_refused() -> None:
    assert len(Distribution("long", (0,) * 16384).table) == 16384
    with pytest.raises(NetemInvalid, match="16385 entries"):
        Distribution("long", (0,) * 16385)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NetemInvalid, match="normal, pareto, paretonormal"):
        Distribution.named("gauss")


def test_a_table_is_represented_by_its_name() -> None:
    assert repr(Distribution.named("normal")) == "Distribution('normal', 4096 entries)"


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NetemInvalid, match=r"none\.dist cannot be read"):
        Distribution.read(tmp_path / "none.dist")

"""What a person reads at a soak's end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rttcheck.soak.figures import MEDIANS_MEAN
from rttcheck.soak.ledger import Ledger
from rttcheck.soak.report import text
from rttcheck.soak.suite import SuiteResult
from tests.support.soaked import BAD, BUSY, GONE, GOOD, REAL, UNSURE, suite, with_median


def told(suites: Sequence[SuiteResult]) -> str:
    return text(Ledger(Path("/there/soak.json"), ("rtt-40ms",), "thawed", suites=list(suites)), 100)


def test_counts_and_bounds_stand_in_their_condition_s_line() -> None:
    lines = told([suite(1), suite(2, [GOOD, BAD], condition=BUSY), suite(3)]).splitlines()
    heading = lines[0].split()
    assert heading[:3] == ["kernel", "clock", "load"]
    assert lines[1].split() == ["debian:6.12", "virtual", "none", "2", "2", "0", "40", "0", "0", "0.000", "72.158"]
    assert lines[2].split()[:9] == ["debian:6.12", "virtual", "busy", "1", "2", "0", "40", "1", "0"]
    assert lines[3].split()[:3] == ["all", "virtual", "all"]


def test_which_bound_it_is_is_said() -> None:
    assert "upper 95% bound (one-sided, exact: Clopper and Pearson)" in " ".join(told([suite(1)]).split())


def test_what_did_not_pass_has_its_reason_and_a_path_that_can_be_copied() -> None:
    report = told([suite(1, [GOOD, BAD, GONE]), suite(2, [BAD])])
    assert "FAILED loss (debian:6.12, virtual time, load none): in suite 1, the first of 2" in report
    assert "    sample: not above: 2 of 9 are above\n    /kept/loss.rttrec\n" in report
    assert "LOST bbr (debian:6.12, virtual time, load none): in suite 1\n    the guest was lost\n" in report


def test_medians_say_whether_they_agree() -> None:
    report = told(
        [
            suite(1),
            suite(2, [with_median(40_033)], condition=BUSY),
            suite(3, condition=REAL),
            suite(4, [with_median(41_000)], condition=REAL),
            suite(5, [with_median(40_030)], release="6.1.0"),
            suite(6, [with_median(40_031)], release="6.1.0"),
            suite(7, release="5.10.0"),
        ]
    )
    rows = [line.split() for line in report.splitlines() if line.startswith("rtt-40ms")]
    assert rows == [
        ["rtt-40ms", "6.12.117", "virtual", "2", "40030", "40033", "NO"],
        ["rtt-40ms", "6.12.117", "real", "2", "40030", "41000", "no"],
        ["rtt-40ms", "6.1.0", "virtual", "2", "40030", "40031", "yes"],
        ["rtt-40ms", "5.10.0", "virtual", "1", "40030", "40030", "-"],
    ]
    assert "in virtual time 1 of 2 medians are the same to 1 us" in report
    assert MEDIANS_MEAN in " ".join(report.split())


def test_medians_that_agree_are_not_called_correct() -> None:
    report = " ".join(told([suite(1), suite(2)]).split())
    assert "1 of 1 medians are the same to 1 us" in report
    assert "mean that runs repeat, not that they are correct: a fault in every run repeats as well" in report
    assert MEDIANS_MEAN not in " ".join(told([suite(1, [BAD])]).split())


def test_sentences_fit_the_terminal() -> None:
    report = told([suite(1, [UNSURE])])
    assert all(len(line) <= 100 for line in report.splitlines() if not line.startswith(("kernel", "debian")))
    assert report.endswith("all results are in /there/soak.json")


def test_no_suites_are_no_table() -> None:
    assert told([]) == "no suite was completed"

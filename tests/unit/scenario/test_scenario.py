from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rttcheck.errors import ScenarioError
from rttcheck.scenario.model import Scenario
from rttcheck_netns.netem import GilbertElliott, Netem, RandomLoss, StateLoss


def refusal(**keywords: Any) -> str:
    with pytest.raises(ScenarioError) as refused:
        Scenario.make(**keywords)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def test_the_round_trip_is_split_evenly_to_the_nanosecond() -> None:
    scenario = Scenario.make(rtt="40001us")
    assert (scenario.out.delay_ns, scenario.back.delay_ns) == (20_000_500, 20_000_500)
    assert scenario.rtt_us == 40_001
    odd = Scenario.make(rtt="7ns")
    assert odd.out.delay_ns + odd.back.delay_ns == 7


def test_out_and_back_are_one_way() -> None:
    scenario = Scenario.make(out="35ms", back={"delay": timedelta(milliseconds=5), "loss": "1%"})
    assert scenario.out == Netem(delay_ns=35_000_000)
    assert scenario.back == Netem(delay_ns=5_000_000, loss=RandomLoss(1))
    assert Scenario.make(out="35ms").back == Netem()


def test_a_keyword_beside_rtt_holds_for_each_direction_as_written() -> None:
    scenario = Scenario.make(rtt="40ms", jitter="2ms", loss="1%", rate="20mbit", limit=50)
    assert scenario.out == scenario.back
    assert scenario.out == Netem(
        delay_ns=20_000_000, jitter_ns=2_000_000, loss=RandomLoss(1), rate_bytes=2_500_000, limit=50
    )


def test_every_knob_of_netem_is_reached() -> None:
    scenario = Scenario.make(
        rtt="100ms",
        jitter="5ms",
        distribution="normal",
        delay_correlation="25%",
        loss={"model": "gilbert-elliott", "p": "1%", "r": "20%"},
        ecn=True,
        duplicate="1%",
        duplicate_correlation="2%",
        reorder="3%",
        reorder_correlation="4%",
        corrupt="5%",
        corrupt_correlation="6%",
        rate="8mbit",
        packet_overhead=4,
        cell_size=53,
        cell_overhead=5,
        slot={"min": "1ms", "max": "2ms", "packets": 3, "bytes": 4_000},
        limit=70,
        seed=9,
    )
    assert scenario.out.loss == GilbertElliott(p=1, r=20)
    assert scenario.out.gap == 1, "netem reorders nothing without a gap"
    unset = {name for name in Netem.__dataclass_fields__ if name not in scenario.out.changed()}
    assert unset == set()
    state = Scenario.make(rtt="1ms", loss={"model": "state", "p13": "2%", "p32": "5%"})
    assert state.out.loss == StateLoss(p13=2, p32=5)


def test_uniform_is_the_distribution_without_a_name() -> None:
    assert Scenario.make(rtt="40ms", jitter="1ms", distribution="uniform").out.distribution is None


def test_a_table_of_ones_own_is_a_distribution() -> None:
    scenario = Scenario.make(rtt="40ms", jitter="1ms", distribution={"name": "twin", "table": [-8192, 8192]})
    assert scenario.out.distribution is not None
    assert scenario.out.distribution.table == (-8192, 8192)


def test_a_bare_number_names_the_fix() -> None:
    assert refusal(rtt=40) == 'rtt=40 has no unit: write rtt="40ms" if milliseconds are meant'
    assert refusal(out={"delay": 20}) == 'out.delay=20 has no unit: write out.delay="20ms" if milliseconds are meant'
    assert 'jitter="3ms"' in refusal(rtt="40ms", jitter=3)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"rtt": "-1ms"}, "negative"),
        ({"rtt": "10min"}, "TCP_RTO_MAX"),
        ({"out": "121s"}, 'out="121s" exceeds the maximum of 120s'),
        ({"rtt": "40ms", "out": "20ms"}, "rtt and out were both given"),
        ({"rtt": "40ms", "back": {"loss": "1%"}}, "rtt and back were both given"),
        ({"delay": "20ms"}, 'write rtt="40ms" for the round trip, or out="20ms" and back="20ms"'),
        ({"rtt": "40ms", "jitter": "21ms"}, "more than the delay out of 20ms"),
        ({"rtt": "40ms", "jitter": "6ms", "distribution": "normal"}, "normal tail reaches 24ms"),
        ({"rtt": "40ms", "jitter": "1ms", "distribution": "gauss"}, "use one of normal, pareto, paretonormal, uniform"),
        ({"rtt": "10s", "jitter": "3s"}, "give 2.147s or less"),
        ({"rtt": "40ms", "distribution": "normal"}, "distribution does nothing without jitter"),
        ({"rtt": "40ms", "delay_correlation": "5%"}, "delay_correlation does nothing without jitter"),
        ({"rtt": "40ms", "gap": 5}, "gap does nothing without reorder"),
        ({"reorder": "5%"}, "reorder does nothing without delay"),
        ({"rtt": "40ms", "ecn": True}, "ecn does nothing without loss"),
        ({"rtt": "40ms", "packet_overhead": 5}, "packet_overhead does nothing without rate"),
        ({"out": {"delay": "1ms", "loss": "1%"}, "loss": "2%"}, "loss is given for both directions and in out"),
        ({"out": {"delai": "1ms"}}, 'out has no keyword "delai": did you mean "delay"?'),
        ({"rtt": "40ms", "loss": "120%"}, "from 0% to 100%"),
        ({"rtt": "40ms", "loss": 0.01}, 'such as loss="0.01%"'),
        ({"rtt": "40ms", "loss": {"model": "bernoulli"}}, "needs a known model"),
        ({"rtt": "40ms", "loss": {"model": "state"}}, "give p13 a share"),
        ({"rtt": "40ms", "limit": 0}, "limit=0 is out of range"),
        ({"rtt": "40ms", "slot": {"packets": 3}}, "slot"),
        ({"family": 5}, "write family=4 for IPv4 or family=6"),
        ({"family": True}, "write family=4"),
        ({"topology": "ring"}, "use one of routed, direct"),
        ({"mtu": 100}, "mtu=100 is out of range"),
        ({"family": 6, "mtu": 1000}, "from 1280"),
        ({"unit": "s"}, "use one of ms, us"),
        ({"name": "two\nlines"}, "give it a line of text"),
        ({"sysctls": {"kernel.panic": 1}}, 'names begin with "net."'),
        ({"sysctls": {"net.ipv4.tcp_sack": True}}, "write a number or a string"),
        ({"traffic": "pong"}, "use one of pingpong, oneway, bulk, paced, connections"),
        ({"traffic": "bulk", "count": 5}, 'count has no effect in traffic="bulk"'),
        ({"interval": "1ms"}, 'interval has no effect in traffic="pingpong"'),
        ({"traffic": "paced", "interval": "0ms"}, "is no pace"),
        ({"traffic": {"kind": "bulk", "size": 5}, "size": 6}, "size is given beside traffic and inside it"),
        ({"traffic": {"knd": "bulk"}}, 'did you mean "kind"?'),
        ({"count": 0}, "count=0 is out of range"),
        ({"congestion": 5}, 'write one such as congestion="bbr"'),
        ({"steps": {"after": 5}}, "is not a list"),
        ({"steps": [{"after": 5}]}, 'steps[1] needs "after" and a link'),
        ({"steps": [{"rtt": "5ms"}]}, 'steps[1] needs "after" and a link'),
        ({"steps": [{"after": 100, "rtt": "5ms"}]}, "steps[1].after=100 is out of range"),
        ({"steps": [{"after": 5, "rtt": "5ms"}, {"after": 5, "rtt": "6ms"}]}, "steps[2].after=5 is out of range"),
        ({"steps": [{"after": 5, "rtt": 5}]}, "steps[1]: rtt=5 has no unit"),
        ({"steps": [{"after": 5, "rtt": "5ms", "flows": 2}]}, 'steps[1] has no keyword "flows"'),
        ({"traffic": "bulk", "steps": [{"after": 5, "rtt": "5ms"}]}, "steps count writes"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_remedy(keywords: dict[str, Any], words: str) -> None:
    assert words in refusal(**keywords)


def test_an_unknown_keyword_names_the_nearest_known_one() -> None:
    assert refusal(jiter="2ms") == 'a scenario has no keyword "jiter": did you mean "jitter"?'
    assert "it takes" in refusal(zzzz=1)


def test_a_scenario_is_made_again_from_its_keywords_by_way_of_json() -> None:
    scenario = Scenario.make(
        name="all",
        rtt=timedelta(milliseconds=40),
        jitter="2ms",
        loss={"model": "state", "p13": "1%"},
        sysctls={"net.ipv4.tcp_sack": 0},
        traffic={"kind": "paced", "interval": timedelta(milliseconds=3), "count": 40},
        steps=({"after": 5, "out": "3ms"},),
    )
    keywords = json.loads(json.dumps(scenario.keywords()))
    assert Scenario.make(**keywords) == scenario
    assert keywords["rtt"] == "40ms"


def test_the_control_run_has_the_same_traffic_and_no_impairment() -> None:
    scenario = Scenario.make(
        name="far",
        rtt="300ms",
        jitter="5ms",
        family=6,
        mtu=1400,
        sysctls={"net.ipv4.tcp_sack": 0},
        traffic="paced",
        interval="3ms",
        flows=3,
        congestion="reno",
        nodelay=False,
        steps=[{"after": 5, "rtt": "1ms"}],
        unit="us",
    )
    control = scenario.control()
    assert (control.out, control.back, control.steps) == (Netem(), Netem(), ())
    assert control.traffic == scenario.traffic
    assert (control.family, control.mtu, control.sysctls) == (6, 1400, scenario.sysctls)


@pytest.mark.parametrize("kind", ["pingpong", "oneway", "bulk", "paced", "connections"])
def test_every_kind_of_traffic_has_a_control_run(kind: str) -> None:
    scenario = Scenario.make(traffic={"kind": kind, "deadline": "5s", "quickack": True})
    control = scenario.control().traffic
    assert replace(control, count=scenario.traffic.count) == scenario.traffic
    assert (control.count == scenario.traffic.count) is (kind != "pingpong")


def test_connections_that_wait_have_one_control_run_however_long_or_many_they_are() -> None:
    assert Scenario.make(count=7).control().traffic == Scenario.make(count=700).control().traffic
    assert Scenario.make(count=7, flows=2).control().traffic == Scenario.make(count=7).control().traffic
    assert Scenario.make(flows=2, traffic="oneway").control().traffic.flows == 2


def test_scenarios_that_differ_in_their_link_share_a_control_run() -> None:
    near, far = Scenario.make(rtt="1ms", count=9), Scenario.make(rtt="300ms", loss="1%", traffic="pingpong", unit="us")
    assert {**near.control().keywords(), "name": ""} == {**far.control().keywords(), "name": ""}


def test_correlated_knobs_are_taken_and_said_not_to_be_asserted() -> None:
    scenario = Scenario.make(
        rtt="40ms", jitter="1ms", delay_correlation="25%", loss="5%", loss_correlation="25%",
        steps=[{"after": 5, "rtt": "1ms", "reorder": "5%", "reorder_correlation": "50%"}],
    )  # fmt: skip
    assert scenario.not_asserted == ("delay_correlation", "loss_correlation", "reorder_correlation")
    assert Scenario.make(rtt="40ms", jitter="1ms", loss="5%").not_asserted == ()


def test_none_counts_as_not_given() -> None:
    assert Scenario.make(rtt="40ms", jitter=None, out=None) == Scenario.make(rtt="40ms")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("jitter", "0ms"), ("loss", "0%"), ("duplicate", "0%"), ("reorder", "0%"), ("corrupt", "0%"), ("rate", "0mbit"),
        ("gap", 0), ("cell_size", 0), ("packet_overhead", 0), ("delay_correlation", "0%"), ("loss_correlation", "0%"),
    ],
)  # fmt: skip
def test_zero_is_the_same_as_not_given(word: str, value: object) -> None:
    for keywords in ({"rtt": "20ms", word: value}, {"out": {"delay": "20ms", word: value}}):
        without = {name: each for name, each in keywords.items() if name != word}
        if "out" in without:
            without["out"] = {"delay": "20ms"}
        assert Scenario.make(**keywords) == Scenario.make(**without)


def test_what_needs_another_word_needs_more_than_zero_of_it() -> None:
    with pytest.raises(ScenarioError, match="gap does nothing without reorder"):
        Scenario.make(rtt="20ms", reorder="0%", gap=5)

"""Kinds, sources and sides of samples, derived from the events' own fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rttcheck.judge.address import Address, address_bytes, address_text
from rttcheck.judge.samples import Kind, SampleSource, Side, classify, connections_of, sources, visible_to_nettrace
from rttcheck.record.event import EVENT, FLAG_DATA_ACKED, FLAG_SYN_ACKED, TcpState
from tests.support.observed_events import CLIENT, FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN, SERVER, event, events


def kind_of(**fields: Any) -> Kind:
    return Kind(classify(event(**fields))[0])


def test_a_syn_that_was_acknowledged_is_a_handshake_on_both_sides() -> None:
    assert kind_of(flag=FLAG_SYN_ACKED, state=TcpState.SYN_SENT) is Kind.HANDSHAKE
    assert kind_of(flag=FLAG_SYN_ACKED, state=TcpState.SYN_RECV) is Kind.HANDSHAKE
    assert kind_of(flag=FLAG_SYN_ACKED | FLAG_DATA_ACKED) is Kind.HANDSHAKE


@pytest.mark.parametrize("state", [TcpState.FIN_WAIT1, TcpState.CLOSING, TcpState.LAST_ACK])
def test_the_ack_of_all_that_was_written_is_a_fin_sample_where_a_fin_is_in_flight(state: TcpState) -> None:
    assert kind_of(state=state, snd_una=1000, write_seq=1000) is Kind.FIN
    assert kind_of(state=state, snd_una=999, write_seq=1000) is Kind.DATA


@pytest.mark.parametrize("state", [TcpState.ESTABLISHED, TcpState.CLOSE_WAIT, TcpState.FIN_WAIT2])
def test_the_ack_of_all_that_was_written_is_data_where_no_fin_is_in_flight(state: TcpState) -> None:
    assert kind_of(state=state, snd_una=1000, write_seq=1000) is Kind.DATA


def test_what_was_not_taken_is_no_sample_whatever_else_it_looks_like() -> None:
    assert kind_of(**NOTHING_TAKEN) is Kind.NONE
    assert kind_of(flag=FLAG_SYN_ACKED, taken=0) is Kind.NONE
    assert kind_of(state=TcpState.FIN_WAIT1, snd_una=7, write_seq=7, taken=0) is Kind.NONE


def test_sources_are_tried_in_the_kernels_order() -> None:
    array = events({}, FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN, {"sack_rtt_us": 9})
    assert sources(array).tolist() == [
        SampleSource.FIRST,
        SampleSource.SACK,
        SampleSource.TSECR,
        SampleSource.NONE,
        SampleSource.FIRST,
    ]


def test_nettrace_sees_first_acked_samples_only() -> None:
    array = events({}, FROM_SACK, FROM_TIMESTAMP, NOTHING_TAKEN, {"first_rtt_us": 0})
    assert visible_to_nettrace(array).tolist() == [True, False, False, False, True]


def test_whole_and_empty_arrays_are_classified() -> None:
    array = events({}, {"flag": FLAG_SYN_ACKED}, NOTHING_TAKEN)
    assert classify(array).tolist() == [Kind.DATA, Kind.HANDSHAKE, Kind.NONE]
    nothing = np.zeros(0, EVENT)
    assert [len(classify(nothing)), len(sources(nothing)), len(connections_of(nothing, [(CLIENT, SERVER)])[1])] == [
        0,
        0,
        0,
    ]


@pytest.mark.parametrize("text", ["10.9.0.1", "fd00::1", "::1", "255.255.255.255"])
def test_an_address_is_kept_in_sixteen_bytes_and_read_back(text: str) -> None:
    assert len(address_bytes(text)) == 16
    assert address_text(address_bytes(text)) == text


def test_an_ipv4_address_is_mapped_into_ipv6() -> None:
    assert address_bytes("1.2.3.4") == b"\0" * 10 + b"\xff\xff\x01\x02\x03\x04"


def test_an_event_belongs_to_the_side_whose_address_its_socket_has() -> None:
    other: Address = ("10.9.0.1", 1)
    array = np.concatenate(
        [
            event(),
            event(source=SERVER, destination=CLIENT),
            event(source=other),
            event(source=("fd00::1", 5), destination=("fd00::2", 80)),
            event(source=CLIENT, destination=("10.9.0.2", 7001)),
        ]
    )
    known = [((("fd00::2", 80)), ("fd00::1", 5)), (CLIENT, SERVER)]
    index, side = connections_of(array, known)
    assert index.tolist() == [1, 1, -1, 0, -1]
    assert side.tolist() == [Side.CLIENT, Side.SERVER, Side.NEITHER, Side.SERVER, Side.NEITHER]
    assert connections_of(array, [])[1].tolist() == [Side.NEITHER] * 5


hosts = st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2", "0.0.0.0", "::"])
addresses = st.tuples(hosts, st.sampled_from([0, 1, 255, 256, 257, 65535]))


@given(
    known=st.lists(st.tuples(addresses, addresses), max_size=6, unique_by=lambda pair: frozenset(pair)),
    seen=st.lists(st.tuples(addresses, addresses), min_size=1, max_size=12),
)
def test_connections_are_found_as_a_plain_search_finds_them(
    known: list[tuple[Address, Address]], seen: list[tuple[Address, Address]]
) -> None:
    known = [(client, server) for client, server in known if client != server]
    array = np.concatenate([event(source=source, destination=destination) for source, destination in seen])
    index, side = connections_of(array, known)
    for row, (source, destination) in enumerate(seen):
        if (source, destination) in known:
            assert (index[row], side[row]) == (known.index((source, destination)), Side.CLIENT)
        elif (destination, source) in known:
            assert (index[row], side[row]) == (known.index((destination, source)), Side.SERVER)
        else:
            assert (index[row], side[row]) == (-1, Side.NEITHER)

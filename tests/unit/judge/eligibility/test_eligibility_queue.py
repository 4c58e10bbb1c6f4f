"""The retransmit queue, split and collapsed as in the kernel."""

from __future__ import annotations

from rttcheck.judge.eligibility.part import Part
from rttcheck.judge.eligibility.retransmit_queue import RetransmitQueue

FIRST, SACK = Part.FIRST | Part.LAST, Part.SACK | Part.LAST
MSS = 100


def queue(*segments: tuple[int, int]) -> RetransmitQueue:
    made = RetransmitQueue(MSS)
    for place, (start, end) in enumerate(segments):
        made.send(start, end, place)
    return made


def test_an_empty_queue_gives_nothing() -> None:
    made = queue((0, 50))
    made.process_ack(50, ())
    look = made.process_ack(50, ((10, 40),))
    assert (look.parts, look.karn, look.acknowledged) == (0, 0, False)


def test_a_segment_is_acknowledged_whole_or_not_at_all() -> None:
    made = queue((0, 50), (50, 100))
    look = made.process_ack(30, ())
    assert (look.parts, look.acknowledged) == (0, False)
    assert made.process_ack(60, ()).parts == FIRST
    assert made.process_ack(100, ()).parts == FIRST


def test_of_several_in_one_packet_each_whole_one_gives_a_sample() -> None:
    made = queue((0, 350))
    assert made.process_ack(100, ()).parts == FIRST
    assert made.process_ack(130, ()).parts == 0  # 220 bytes still are three segments
    assert made.process_ack(160, ()).parts == FIRST  # 190 bytes are two
    assert made.process_ack(350, ()).parts == FIRST


def test_one_segment_retransmitted_withholds_the_time_of_its_neighbours() -> None:
    made = queue((0, 50), (50, 100), (100, 150), (0, 50))
    look = made.process_ack(100, ())
    assert (look.parts, look.karn, look.acknowledged) == (0, Part.FIRST, True)
    assert made.process_ack(150, ()).parts == FIRST


def test_only_the_part_that_was_retransmitted_is_marked() -> None:
    made = queue((0, 300), (0, 100))
    assert made.process_ack(100, ()).karn == Part.FIRST
    assert made.process_ack(300, ()).parts == FIRST


def test_segments_that_were_collapsed_when_retransmitted_are_acknowledged_together() -> None:
    made = queue((0, 30), (30, 60), (60, 90), (0, 60))
    look = made.process_ack(30, ())
    assert (look.parts, look.karn, look.acknowledged) == (0, 0, False)
    look = made.process_ack(60, ())
    assert (look.parts, look.karn, look.acknowledged) == (0, Part.FIRST, True)
    assert made.process_ack(90, ()).parts == FIRST


def test_what_was_acknowledged_is_cut_off_before_it_is_retransmitted() -> None:
    made = queue((0, 50))
    made.process_ack(30, ())
    made.send(30, 50, 9)
    assert made.process_ack(50, ()).karn == Part.FIRST
    assert not made.process_ack(50, ()).acknowledged


def test_a_block_below_what_is_acknowledged_or_beyond_what_was_sent_is_ignored() -> None:
    made = queue((0, 50), (50, 100), (100, 150))
    made.process_ack(50, ())
    for block in ((0, 100), (50, 100), (100, 200), (140, 120)):
        assert not made.covers_new((block,))
        assert made.process_ack(50, (block,)).parts == 0
    assert made.covers_new(((100, 150),))
    assert made.process_ack(50, ((100, 150),)).parts == SACK


def test_a_block_covers_whole_segments() -> None:
    made = queue((0, 50), (50, 100), (100, 150))
    assert made.process_ack(0, ((60, 140),)).parts == 0
    assert made.process_ack(0, ((50, 140),)).parts == SACK
    assert made.process_ack(0, ((50, 140),)).parts == 0
    assert made.process_ack(0, ((50, 150),)).parts == SACK


def test_several_in_one_packet_are_sacked_by_whole_segments() -> None:
    made = queue((0, 50), (50, 450), (450, 500))
    assert made.process_ack(0, ((50, 120),)).parts == 0
    assert made.process_ack(0, ((50, 170),)).parts == SACK
    assert made.process_ack(0, ((50, 199),)).parts == 0
    assert made.process_ack(0, ((220, 450),)).parts == SACK
    # From 220 on that is 250 to 450: 150 to 250 is not SACKed.
    assert made.process_ack(250, ()).parts == FIRST
    assert made.process_ack(450, ()).parts == 0


def test_sacked_ones_that_were_retransmitted_are_distinguished() -> None:
    made = queue((0, 50), (50, 100), (100, 150), (50, 100))
    look = made.process_ack(0, ((50, 100),))
    assert (look.parts, look.karn) == (0, Part.SACK)
    look = made.process_ack(0, ((50, 150),))
    assert (look.parts, look.karn) == (SACK, 0)


def test_what_was_sacked_gives_no_time_when_it_is_acknowledged() -> None:
    made = queue((0, 50), (50, 100))
    made.process_ack(0, ((50, 100),))
    made.process_ack(50, ())
    look = made.process_ack(100, ())
    assert (look.parts, look.karn, look.acknowledged) == (0, 0, True)


def test_a_sacked_segment_that_is_retransmitted_drops_all_sack_marks() -> None:
    """The receiver reneged (RFC 2018, section 8)."""
    made = queue((0, 50), (50, 100), (100, 150))
    made.process_ack(0, ((50, 150),))
    made.send(50, 100, 9)
    assert made.process_ack(0, ((100, 150),)).parts == SACK


def test_how_many_and_since_when_leaves_the_queue_as_it_is() -> None:
    made = queue((0, 50), (50, 100), (100, 150))
    made.process_ack(0, ((50, 100),))
    assert made.would_acknowledge(150) == (3, 0)
    made.process_ack(50, ())
    assert made.would_acknowledge(150) == (2, 2)
    assert made.would_acknowledge(60) == (0, None)


def test_a_long_life_deletes_acknowledged_segments() -> None:
    made = RetransmitQueue(MSS)
    for place in range(20_000):
        made.send(place * 10, place * 10 + 10, place)
        assert made.process_ack(place * 10 + 10, ()).parts == FIRST
    assert len(made._starts) < 5_000

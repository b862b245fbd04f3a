"""MLLP framing: any cut of the bytes gives the same blocks and faults."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.hl7_listener.deviation import Deviation, deviations_of, without_crc
from services.hl7_listener.mllp import Block, Decoder, Fault, FaultCode, block_of

LIMIT = 40
TOKENS = st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"MSH|^~\\&|", b"x" * 25, b"\0", b"\x1c\r", b"\x0bA\x1c\r", b"MS", b"H|"])


def all_at_once(data: bytes, limit: int = LIMIT) -> list[Block | Fault]:
    decoder = Decoder(limit)
    return decoder.feed(data) + decoder.end()


@given(st.lists(TOKENS, max_size=25).map(b"".join), st.lists(st.integers(0, 200), max_size=12))
def test_any_cut_of_the_bytes_gives_the_same_blocks_and_faults(data, cuts):
    decoder, found, places = Decoder(LIMIT), [], sorted({min(c, len(data)) for c in cuts} | {0, len(data)})

    for begin, end in pairwise(places):
        found += decoder.feed(data[begin:end])
    found += decoder.end()

    assert found == all_at_once(data)


@given(st.binary(max_size=300))
def test_any_bytes_end_in_blocks_and_faults_and_memory_stays_bounded(data):
    decoder = Decoder(LIMIT)

    for byte in data:
        decoder.feed(bytes([byte]))

    assert len(decoder._buffer) <= LIMIT + 4


@given(st.lists(st.binary(max_size=LIMIT).map(lambda b: b.replace(b"\x0b", b"").replace(b"\x1c", b"")), max_size=5))
def test_what_was_framed_comes_out_again(contents):
    found = all_at_once(b"".join(block_of(content) for content in contents))

    assert found == [Block(content) for content in contents]


def test_a_new_start_before_the_end_abandons_the_first_message():
    found = all_at_once(b"\x0bMSH|first" + block_of(b"MSH|second"))

    assert found == [Fault(FaultCode.ABANDONED, b"MSH|first", 9), Block(b"MSH|second")]


def test_a_message_over_the_limit_keeps_its_head_for_the_answer():
    found = all_at_once(block_of(b"MSH|head" + b"x" * 100) + block_of(b"next"))

    assert found[0].code is FaultCode.TOO_LONG
    assert found[0].head.startswith(b"MSH|head")
    assert found[0].size == 108
    assert found[1] == Block(b"next")


def test_a_message_of_exactly_the_limit_is_taken():
    found = all_at_once(block_of(b"x" * LIMIT))

    assert found == [Block(b"x" * LIMIT)]


def test_junk_between_messages_is_counted_and_harms_nobody():
    found = all_at_once(block_of(b"one") + b"\0\0junk" + block_of(b"two") + b"tail")

    assert found == [Block(b"one"), Fault(FaultCode.JUNK, b"", 6), Block(b"two"), Fault(FaultCode.JUNK, b"", 4)]


def test_line_ends_blanks_and_nuls_between_messages_are_told_from_junk():
    found = all_at_once(block_of(b"one") + b"\r\n\0 " + block_of(b"two"))

    assert found == [Block(b"one"), Fault(FaultCode.PADDING, b"", 4), Block(b"two")]


def test_a_file_separator_inside_the_content_is_content():
    found = all_at_once(block_of(b"OBX|a\x1cb"))

    assert found == [Block(b"OBX|a\x1cb", frozenset({Deviation.FS_IN_CONTENT}))]


def test_senders_that_end_with_fs_lf_or_fs_alone_are_understood():
    found = all_at_once(b"\x0bone\x1c\n\x0btwo\x1c\x0bthree\x1c")

    assert [item.content for item in found] == [b"one", b"two", b"three"]
    assert [set(item.deviations) for item in found] == [
        {Deviation.END_BY_LF},
        {Deviation.END_WITHOUT_CR},
        {Deviation.END_WITHOUT_CR},
    ]


def test_a_start_sent_twice_loses_nothing():
    found = all_at_once(b"\x0b\x0b" + block_of(b"one") + block_of(b"two"))

    assert found == [Block(b"one", frozenset({Deviation.DOUBLE_START})), Block(b"two")]


def test_a_message_without_a_start_is_kept_whole_in_its_fault():
    found = all_at_once(b"junkMSH|a\rPID|\rMSH|b\x1c\r" + block_of(b"MSH|c"), limit=100)

    assert found == [
        Fault(FaultCode.JUNK, b"", 4),
        Fault(FaultCode.UNFRAMED, b"MSH|a\rPID|\r", 11),
        Fault(FaultCode.UNFRAMED, b"MSH|b", 5),
        Block(b"MSH|c"),
    ]


def test_a_message_without_frame_that_stops_within_a_line_is_cut_short():
    found = all_at_once(b"MSH|a\rPID|1") + all_at_once(b"MSH|a\rPID|1" + block_of(b"MSH|b"))

    assert found == [Fault(FaultCode.CUT_SHORT, b"MSH|a\rPID|1", 11), Fault(FaultCode.ABANDONED, b"MSH|a\rPID|1", 11), Block(b"MSH|b")]


@pytest.mark.parametrize(
    ("received", "ending"),
    [
        (b"\x0bMSH|a\x1c", Block(b"MSH|a", frozenset({Deviation.END_WITHOUT_CR}))),
        (b"MSH|a\r", Fault(FaultCode.UNFRAMED, b"MSH|a\r", 6)),
        (b"\x0bMSH|a\r", None),
        (b"MSH|a", None),
        (b"junk\r", None),
        (b"", None),
    ],
)
def test_only_what_could_be_whole_may_end_at_rest(received, ending):
    decoder = Decoder(LIMIT)

    decoder.feed(received)

    assert decoder.ending == ending
    assert ending is None or decoder.end() == [ending]


def test_a_check_sum_before_the_end_is_told_from_a_segment():
    assert [without_crc(b"MSH|a\rPID|1\r" + tail) for tail in (b"1F2e", b"1F2E\r", b"", b"NTE|", b"12345")] == [
        b"MSH|a\rPID|1\r",
        b"MSH|a\rPID|1\r",
        b"MSH|a\rPID|1\r",
        b"MSH|a\rPID|1\rNTE|",
        b"MSH|a\rPID|1\r12345",
    ]


def test_deviations_of_the_content_have_names():
    assert deviations_of(b"MSH|a\rPID|\r") == set()
    assert deviations_of(b"\xef\xbb\xbfMSH|a\nPID|\n") == {Deviation.BEFORE_HEADER, Deviation.LF_IN_CONTENT}


def test_a_message_without_an_end_is_cut_short():
    found = all_at_once(b"\x0bMSH|half")

    assert found == [Fault(FaultCode.CUT_SHORT, b"MSH|half", 8)]

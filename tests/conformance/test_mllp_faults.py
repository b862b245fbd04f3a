"""The fault matrix of MLLP: what comes back from the real listener, and what then stands in its journal.

After each case the same connection carries one good message more: whatever came before it, that one is answered, and it alone.
"""

import contextlib
import re
import socket
import sqlite3
import struct
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from services.hl7_listener.day_file import day_paths
from services.hl7_listener.mllp import block_of
from tests.listener import SITE, Listener, Peer, now
from tests.messages import HEART_RATE, nm, oru
from tests.servers import free_port, until

NOBODY = "redis://127.0.0.1:1"  # the journal needs no streams
LOOSE = """
[[source]]
name = "loose"
kind = "monitor"
sending_application = "LOOSE"
mapping = "mindray_egateway"
tolerates = ["fs_only", "no_mllp", "crc_before_fs"]
simulated = true
"""
COUNTED = re.compile(r'sopor_listener_(?:deviations|framing_faults)_total{code="(\w+)",source="([\w-]*)"} (\S+)')
LAST = "LAST"
LIMIT = 4 * 1024 * 1024


def m(number: int | str, *, filling: int = 0, **changes) -> bytes:
    rows = [nm(HEART_RATE, 60), *(["NTE|1||" + "x" * filling] if filling else [])]
    return oru(rows, control_id=f"{number}" if isinstance(number, str) else f"M{number}", at=now(), **changes)


def loose(number: int) -> bytes:
    return m(number, application="LOOSE")


def packets(*messages: bytes, cut: int) -> list[bytes]:
    """Return the messages' blocks, cut into packets of so many bytes."""
    stream = b"".join(block_of(message) for message in messages)
    return [stream[at : at + cut] for at in range(0, len(stream), cut)]


def one_and_a_half() -> list[bytes]:
    first, second = block_of(m(1)), block_of(m(2))
    return [first + second[:100], second[100:]]


def without_control_id() -> bytes:
    return m(1).replace(b"|M1|", b"||")


def latin_1() -> bytes:
    return m(1, person="1^^^H^MR||M\xdcLLER").decode().encode("latin-1")


@dataclass(frozen=True)
class Case:
    """What is sent, packet by packet; the answers; the journal's rows as control id, state and code; what is counted for whom."""

    sent: Callable[[], list[bytes]]
    answers: tuple[str, ...]
    rows: tuple[str, ...]
    counted: str = ""


def good(*numbers: int) -> dict[str, tuple[str, ...]]:
    return {"answers": tuple(f"AA M{n}" for n in numbers), "rows": tuple(f"M{n} accepted" for n in numbers)}


CASES = {
    # what senders may do
    "two in one packet": Case(lambda: [block_of(m(1)) + block_of(m(2))], **good(1, 2)),
    "five in one packet": Case(lambda: [b"".join(block_of(m(n)) for n in range(5))], **good(0, 1, 2, 3, 4)),
    "one and a half, then the other half": Case(one_and_a_half, **good(1, 2)),
    "byte by byte": Case(lambda: packets(m(1), cut=1), **good(1)),
    "fs and cr in two packets": Case(lambda: [block_of(m(1))[:-1], b"\r"], **good(1)),
    "vt alone, then the rest": Case(lambda: [b"\x0b", block_of(m(1))[1:]], **good(1)),
    "three one after the other": Case(lambda: [block_of(m(n)) for n in (1, 2, 3)], **good(1, 2, 3)),
    "100 kB": Case(lambda: [block_of(m(1, filling=100_000))], **good(1)),
    "2 MB": Case(lambda: [block_of(m(1, filling=2_000_000))], **good(1)),
    # what is understood
    "lf after fs": Case(lambda: [b"\x0b" + m(1) + b"\x1c\n"], **good(1), counted="sim-mindray end_by_lf"),
    "fs only, then the next": Case(
        lambda: [b"\x0b" + m(1) + b"\x1c\x0b" + m(2) + b"\x1c\r"], **good(1, 2), counted="sim-mindray end_without_cr"
    ),
    "fs only and a pause, tolerated": Case(lambda: [b"\x0b" + loose(1) + b"\x1c"], **good(1), counted="loose end_without_cr"),
    "lf segments": Case(lambda: [block_of(m(1).replace(b"\r", b"\n"))], **good(1), counted="sim-mindray lf_in_content"),
    "crlf segments": Case(lambda: [block_of(m(1).replace(b"\r", b"\r\n"))], **good(1), counted="sim-mindray lf_in_content"),
    "two vt": Case(lambda: [b"\x0b" + block_of(m(1))], **good(1), counted="sim-mindray double_start"),
    "byte order mark before msh": Case(lambda: [block_of(b"\xef\xbb\xbf" + m(1))], **good(1), counted="sim-mindray before_header"),
    "fs in the payload": Case(lambda: [block_of(m(1).replace(b"SOPOR", b"SO\x1cPOR"))], **good(1), counted="sim-mindray fs_in_content"),
    "nuls between": Case(lambda: [block_of(m(1)) + b"\0\0\0" + block_of(m(2))], **good(1, 2), counted="sim-mindray frame_padding"),
    "line ends between": Case(lambda: [block_of(m(1)) + b"\r\n" + block_of(m(2))], **good(1, 2), counted="sim-mindray frame_padding"),
    "junk before vt": Case(lambda: [b"CRC=1F2E" + block_of(m(1))], **good(1), counted="nobody frame_junk"),
    "an http request": Case(lambda: [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", block_of(m(1))], **good(1), counted="nobody frame_junk"),
    "latin-1 bytes where msh-18 says utf-8": Case(lambda: [block_of(latin_1())], **good(1)),
    "crc before fs, tolerated": Case(lambda: [block_of(loose(1) + b"1F2E")], **good(1), counted="loose crc_before_end"),
    "no mllp and a pause, tolerated": Case(lambda: [loose(1)], **good(1), counted="loose no_frame"),
    "no mllp, two in one packet, tolerated": Case(lambda: [loose(1) + loose(2)], **good(1, 2), counted="loose no_frame"),
    "no vt, tolerated": Case(lambda: [loose(1) + b"\x1c\r"], **good(1), counted="loose no_frame"),
    # what is refused
    "same message twice": Case(lambda: [block_of(m(1)) * 2], answers=("AA M1", "AA M1"), rows=("M1 accepted",)),
    "same control id, another message": Case(lambda: [block_of(m(1)), block_of(m(1, filling=1))], **good(1, 1)),
    "no control id": Case(lambda: [block_of(without_control_id())], answers=("AR ",), rows=(" refused no_control_id",)),
    "bad frame, then good": Case(
        lambda: [block_of(b"no header|"), block_of(m(1))], answers=("AR ", "AA M1"), rows=(" refused no_header", "M1 accepted")
    ),
    "empty frame": Case(lambda: [block_of(b"")], answers=("AR ",), rows=(" refused no_header",)),
    "utf-16": Case(lambda: [block_of(m(1).decode().encode("utf-16-be"))], answers=("AR ",), rows=(" refused no_header",)),
    "crc before fs": Case(lambda: [block_of(m(1) + b"1F2E")], answers=("AE M1",), rows=("M1 refused bad_segment",)),
    "batch": Case(
        lambda: [block_of(b"FHS|^~\\&|SIM_MINDRAY\rBHS|^~\\&|SIM_MINDRAY\r" + m(1) + m(2) + b"BTS|2\rFTS|1\r")],
        answers=("AR ",),
        rows=(" refused batch",),
    ),
    "two msh in one block": Case(lambda: [block_of(m(1) + m(2))], answers=("AR M1",), rows=("M1 refused several_headers",)),
    "two msh in one block, the line end between them lost": Case(
        lambda: [block_of(m(1)[:-1] + m(2))], answers=("AR M1",), rows=("M1 refused several_headers",)
    ),
    "too long": Case(
        lambda: [block_of(m(1, filling=LIMIT))],
        answers=("AE M1",),
        rows=("M1 refused frame_too_long",),
        counted="sim-mindray frame_too_long",
    ),
    "unknown sender": Case(lambda: [block_of(m(1, application="STRANGER"))], answers=("AR M1",), rows=("M1 refused unknown_sender",)),
    # what gets no answer
    "cut off, then good": Case(
        lambda: [b"\x0b" + m(1)[:150], block_of(m(2))],
        answers=("AA M2",),
        rows=("M1 refused frame_abandoned", "M2 accepted"),
        counted="sim-mindray frame_abandoned",
    ),
    "no mllp": Case(lambda: [m(1)], answers=(), rows=("M1 refused frame_missing",), counted="sim-mindray frame_missing"),
    "no mllp, then good": Case(
        lambda: [m(1), block_of(m(2))],
        answers=("AA M2",),
        rows=("M1 refused frame_missing", "M2 accepted"),
        counted="sim-mindray frame_missing",
    ),
    "no answer wanted": Case(lambda: [block_of(m(1).replace(b"NE|AL", b"NE|NE"))], answers=(), rows=("M1 accepted",)),
    "an answer to nothing": Case(
        lambda: [block_of(b"MSH|^~\\&|SIM_MINDRAY|HOSP|SOPOR|HOSP|20261121||ACK|M1|P|2.6\rMSA|AA|1\r")],
        answers=(),
        rows=("M1 not_acted_on acknowledgment",),
    ),
}


def rows_of(listener: Listener) -> list[str]:
    """Return the journal's messages in order: control id, state and code."""
    found = []
    for path in day_paths(listener.journal):
        with contextlib.closing(sqlite3.connect(path)) as db:
            found += db.execute("SELECT control_id, state, code FROM messages ORDER BY sequence").fetchall()
    return [f"{control_id} {state} {code}".rstrip() for control_id, state, code in found]


def counted(listener: Listener) -> dict[str, float]:
    """Return the counters of framing as the process shows them: source and code."""
    with urllib.request.urlopen(f"http://127.0.0.1:{listener.environment['SOPOR_LISTENER_METRICS_PORT']}/metrics", timeout=5) as page:
        return {f"{source or 'nobody'} {code}": float(count) for code, source, count in COUNTED.findall(page.read().decode())}


@pytest.fixture(scope="module")
def listener(tmp_path_factory) -> Iterator[Listener]:
    folder = tmp_path_factory.mktemp("listener")
    (folder / "sopor.toml").write_text(SITE.read_text(encoding="utf-8") + LOOSE, encoding="utf-8")
    one = Listener(folder, NOBODY, frame_s="2", rest_s="0.2", metrics_port=str(free_port()))
    one.environment["SOPOR_SITE"] = str(folder / "sopor.toml")
    one.start()
    yield one
    one.close()


@pytest.fixture
def peer(listener) -> Peer:
    one = listener.peer()
    one.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def answer(peer: Peer) -> str:
    code, control_id = peer.answer()[1:3]
    return f"{code} {control_id}"


@pytest.mark.parametrize("name", CASES)
def test_each_fault_gets_its_answer_and_its_row_and_harms_nothing_after_it(name, listener, peer):
    case, before, counts = CASES[name], len(rows_of(listener)), counted(listener)

    for packet in case.sent():
        peer.connection.sendall(packet)
    answers = [answer(peer) for _ in case.answers]
    peer.send(m(LAST))
    answers.append(answer(peer))

    assert answers == [*case.answers, f"AA {LAST}"]
    assert rows_of(listener)[before:] == [*case.rows, f"{LAST} accepted"]
    assert {what for what, count in counted(listener).items() if count != counts.get(what, 0)} == set(filter(None, [case.counted]))


def drip(peer: Peer, content: bytes, each_s: float) -> None:
    """Send byte by byte until the other side hangs up, which raises ConnectionError."""
    peer.connection.settimeout(each_s)
    for byte in content:
        peer.connection.sendall(bytes([byte]))
        with contextlib.suppress(TimeoutError):
            if not peer.connection.recv(1):
                raise ConnectionResetError


def test_who_takes_too_long_for_a_message_is_let_go_and_the_half_is_kept(listener, peer):
    before = len(rows_of(listener))

    with pytest.raises(ConnectionError):
        drip(peer, b"\x0b" + m(1), each_s=0.1)

    until("the half stands in the journal", lambda: rows_of(listener)[before:] == [" refused frame_cut_short"])


def test_a_reset_within_a_message_leaves_the_half_without_effect(listener, peer):
    before = len(rows_of(listener))

    peer.connection.sendall(block_of(m(1)) + b"\x0b" + m(2)[:150])
    peer.answer()
    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.connection.close()

    until("both stand in the journal", lambda: rows_of(listener)[before:] == ["M1 accepted", "M2 refused frame_cut_short"])


def test_a_half_message_at_the_end_of_a_connection_is_kept(listener, peer):
    before = len(rows_of(listener))

    peer.connection.sendall(b"\x0b" + m(1)[:150])
    peer.connection.shutdown(socket.SHUT_WR)

    assert peer.connection.recv(1) == b""
    until("the half stands in the journal", lambda: rows_of(listener)[before:] == ["M1 refused frame_cut_short"])

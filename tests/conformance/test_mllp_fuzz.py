"""A hundred thousand damaged messages: any cut gives the same blocks, memory stays bounded, and only BadMessage is ever said."""

import random
from itertools import pairwise
from pathlib import Path

from services.hl7_listener.message import BadMessage, charset_of, header_of, message_of
from services.hl7_listener.mllp import Block, Decoder, Fault, FaultCode, block_of

CORPUS = sorted((Path(__file__).parents[1] / "corpora" / "hl7").glob("*.hl7"))
MESSAGES, TOGETHER = 100_000, 50
LIMIT = 700  # some of the messages are longer
UNDECIDED = 4  # bytes that may yet become VT, FS CR or a header
MARKS = [b"\x0b", b"\x1c", b"\r", b"\n", b"\0", b"|", b"MSH|", b"\rMSH|^~\\&|", b"\x1c\r", b"\x1c\n", b"\x1c\x0b", b"\xff", b"\\X0B\\"]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return a block with up to three faults: a mark put in, bytes left out or changed, an end without start or a start without end."""
    data = bytearray(block_of(content))
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[place:place] = chance.choice(MARKS)
            case 1:
                del data[place : place + chance.randrange(1, 9)]
            case 2:
                data[place : place + 1] = bytes([chance.randrange(256)])
            case 3:
                del data[: chance.randrange(3)]
            case _:
                del data[len(data) - chance.randrange(3) :]
    return bytes(data)


def decoded(stream: bytes, cuts: list[int]) -> list[Block | Fault]:
    decoder, found = Decoder(LIMIT), []
    for begin, end in pairwise([0, *cuts, len(stream)]):
        found += decoder.feed(stream[begin:end])
        assert len(decoder._buffer) <= LIMIT + UNDECIDED
    return found + decoder.end()


def read(item: Block | Fault) -> None:
    """Read what came out as the intake does."""
    content = item.content if isinstance(item, Block) else item.head
    assert len(content) <= LIMIT
    try:
        header = header_of(content)
        message_of(content, header, charset_of(header, "utf-8"))
    except BadMessage:
        return


def test_a_hundred_thousand_damaged_messages_are_cut_and_read_without_harm():
    contents, seen = [path.read_bytes() for path in CORPUS], set()

    for seed in range(MESSAGES // TOGETHER):
        chance = random.Random(seed)
        stream = b"".join(damaged(chance.choice(contents), chance) for _ in range(TOGETHER))
        cuts = sorted(chance.randrange(len(stream)) for _ in range(chance.randrange(100)))
        whole = decoded(stream, [])
        assert decoded(stream, cuts) == whole, f"seed {seed}"
        assert decoded(stream[:1000], list(range(1, 1000))) == decoded(stream[:1000], []), f"seed {seed}, byte by byte"
        for item in whole:
            read(item)
            seen.add(item.code if isinstance(item, Fault) else item.deviations)

    assert seen >= set(FaultCode)

"""What the listener would make of stored messages: bytes to an explanation, without a site, a journal or any effect. Pure.

A file holds one message or several, in MLLP blocks or bare. Blocks are taken as they would be from a connection; bare messages as if each
came in a block of its own. Nothing that tells who the patient is leaves this module.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from anesthesia.errors import SoporError
from anesthesia.reading import Numeric, Reading, TimeSource
from anesthesia.signal import SIGNALS
from services.hl7_listener.ack import NO_HEADER, Outcome, acknowledgment_code, refusal, unreadable
from services.hl7_listener.adt import event_kind_of, event_of
from services.hl7_listener.code_set import CodeSet, Key, Row, RowKind, clear
from services.hl7_listener.message import (
    BadMessage,
    Header,
    Kind,
    Message,
    charset_of,
    field_of,
    header_of,
    kind_of,
    message_of,
    require_control_id,
)
from services.hl7_listener.mllp import FAULT_TEXTS, FS, HEAD_BYTES, LIMIT_BYTES, Block, Decoder, Fault, FaultCode
from services.hl7_listener.oru import Sender, key_of, readings_of

CHARSET: Final = "utf-8"  # of a message without MSH-18
_CONTROL_ID_CHARACTERS: Final = 64

# A file of MLLP blocks begins with VT, or has one before a header; any other VT is content.
_BLOCKS: Final = re.compile(rb"\A[\xef\xbb\xbf \t\r\n\0]*\x0b|\x0b[\r\n]*(?:MSH|FHS|BHS)[^A-Za-z0-9]")
# Where a message or a segment of a batch's envelope begins (HL7 v2.6 ch. 2.10.3), with what was seen before MSH.
_HEAD: Final = re.compile(rb"(?:\A|(?<=[\r\n]))[\xef\xbb\xbf\xe2\x80\xa8 \t\0]*(MSH|FHS|BHS|BTS|FTS)(?![A-Za-z0-9])")
_BATCH: Final = frozenset({b"FHS", b"BHS"})

# What is shown of MSH-9: nothing that could be a text or a name.
_MESSAGE_TYPE: Final = re.compile(r"[A-Z][A-Z0-9]{2}(?:\^[A-Z][A-Z0-9]{2})?")


class Verdict(StrEnum):
    """What became of a message."""

    ACCEPTED = "accepted"  # each row with a value became a reading, or the event was understood
    PARTIAL = "partial"  # taken, but some rows with a value became no reading
    REFUSED = "refused"  # its sender gets a negative answer, or none
    OFF_PATH = "off_path"  # journaled, not acted on


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that became no reading (its code, and the mismatch), or a message that is not taken (the code and text of its answer)."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the listener would make of one message; of several or of a batch, with each in `messages`."""

    verdict: Verdict
    ack: str = ""  # MSA-1; empty when no answer is sent
    message_type: str = ""
    control_id: str = ""
    readings: tuple[Reading, ...] = ()
    refused: tuple[Refused, ...] = ()
    messages: tuple["Explanation", ...] = ()


def explanation_of(content: bytes, sender: Sender) -> Explanation:
    """Return what the listener would make of a file's bytes, sent by `sender`; never raises for what stands in them."""
    if _BLOCKS.search(content):
        return _joined([_of_item(item, sender) for item in _blocks(content)])
    heads = list(_HEAD.finditer(content))
    parts = [_of_item(item, sender) for item in _bare(content, heads)]
    if heads and heads[0][1] in _BATCH and not content[: heads[0].start()].strip():
        return replace(_of_message(content, sender), messages=tuple(parts))
    return _joined(parts)


# ---- a file to messages ------------------------------------------------------------------------------------------------------


def _blocks(content: bytes) -> list[Block | Fault]:
    """Return what a connection would bring; what editors put between and behind blocks is passed over."""
    decoder = Decoder()
    items = decoder.feed(content) + decoder.end()
    return [item for item in items if isinstance(item, Block) or item.code is not FaultCode.PADDING]


def _bare(content: bytes, heads: list[re.Match[bytes]]) -> Iterator[Block | Fault]:
    """Yield the messages of a file without MLLP; what comes before the first is one without a header."""
    ends = [head.start() for head in heads] + [len(content)]
    before = content[: ends[0]]
    if before.strip() or not heads:
        yield _block(before)
    for head, end in zip(heads, ends[1:], strict=True):
        if head[1] == b"MSH":
            yield _block(content[head.start() : end])


def _block(content: bytes) -> Block | Fault:
    if len(content) > LIMIT_BYTES:
        return Fault(FaultCode.TOO_LONG, content[:HEAD_BYTES], len(content))
    return Block(content.rstrip(b"\r\n").removesuffix(FS))


def _joined(parts: list[Explanation]) -> Explanation:
    """Return the explanation of a file: that of its only message, or all of them under one verdict."""
    if len(parts) == 1:
        return parts[0]
    verdicts = {part.verdict for part in parts}
    if len(verdicts) == 1:
        return Explanation(verdicts.pop(), messages=tuple(parts))
    harmed = verdicts & {Verdict.REFUSED, Verdict.PARTIAL}
    return Explanation(Verdict.PARTIAL if harmed else Verdict.ACCEPTED, messages=tuple(parts))


# ---- one message -------------------------------------------------------------------------------------------------------------


def _of_item(item: Block | Fault, sender: Sender) -> Explanation:
    if isinstance(item, Block):
        return _of_message(item.content, sender)
    try:
        header = header_of(item.head)
    except BadMessage:
        header = NO_HEADER
    refused = _refused(header, BadMessage("frame", 0, item.code, FAULT_TEXTS[item.code]))
    return refused if item.answered else replace(refused, ack="")


def _of_message(content: bytes, sender: Sender) -> Explanation:
    header = NO_HEADER
    try:
        header = header_of(content)
        if header.acknowledges:
            return replace(_told(header, Outcome.ACCEPT), verdict=Verdict.OFF_PATH)
        require_control_id(header)
        return _taken(header, message_of(content, header, charset_of(header, CHARSET)), sender)
    except BadMessage as fault:
        return _refused(header, fault)
    except (SoporError, ValueError, LookupError, OverflowError) as fault:
        return _refused(header, unreadable(fault))


def _taken(header: Header, message: Message, sender: Sender) -> Explanation:
    told = _told(header, Outcome.ACCEPT)
    match kind_of(header):
        case Kind.OBSERVATION:
            report = readings_of(message, sender)
            unmapped = [Refused(_label((row.code, row.name, row.system, row.unit)), row.reason) for row in report.unmapped]
            refused = (*unmapped, *_passed_over(message, sender.codes))
            verdict = Verdict.PARTIAL if refused else Verdict.ACCEPTED
            return replace(told, verdict=verdict, readings=report.readings, refused=refused)
        case Kind.EVENT:
            kind = event_kind_of(header.message_type)
            if kind is None:
                return replace(told, verdict=Verdict.OFF_PATH)
            event_of(message, kind, zone=sender.zone, offset=sender.offset, received_at=sender.received_at)
            return told
        case Kind.OTHER_OBSERVATION:
            return replace(told, verdict=Verdict.OFF_PATH)


def _passed_over(message: Message, codes: CodeSet) -> Iterator[Refused]:
    """Yield the rows with a value that the mapping knows and does not want."""
    component = message.header.delimiters.component
    for fields in message.segments:
        if fields[0] != "OBX" or not field_of(fields, 5):
            continue
        key = key_of(field_of(fields, 3), field_of(fields, 6), component)
        row = codes.row_of(key, field_of(fields, 4))
        if isinstance(row, Row) and row.kind is RowKind.PASSED_OVER:
            yield Refused(_label(clear(key)), row.kind)


def _refused(header: Header, fault: BadMessage) -> Explanation:
    answer = refusal(fault)
    return replace(_told(header, answer.outcome), verdict=Verdict.REFUSED, refused=(Refused(answer.code, answer.text),))


def _told(header: Header, outcome: Outcome) -> Explanation:
    """Return what is told of every message: the answer and the header's two names."""
    kind = header.message_type
    return Explanation(
        Verdict.ACCEPTED,
        ack=acknowledgment_code(header, outcome) or "",
        message_type=kind if _MESSAGE_TYPE.fullmatch(kind) else "",
        control_id="".join(c for c in header.control_id if " " <= c <= "~")[:_CONTROL_ID_CHARACTERS],
    )


def _label(key: Key) -> str:
    """Return OBX-3 of a cleared key."""
    return "^".join(key[:3]).rstrip("^")


# ---- as JSON -----------------------------------------------------------------------------------------------------------------


def as_data(explanation: Explanation) -> Mapping[str, Any]:
    """Return an explanation as it is written; `messages` only where a file holds several or a batch."""
    data: dict[str, Any] = {
        "outcome": explanation.verdict,
        "ack": explanation.ack,
        "message_type": explanation.message_type,
        "control_id": explanation.control_id,
        "readings": [_reading_data(reading) for reading in explanation.readings],
        "refused": [{"code": row.code, "reason": row.reason} for row in explanation.refused],
    }
    if explanation.messages:
        data["messages"] = [as_data(message) for message in explanation.messages]
    return data


def _reading_data(reading: Reading) -> Mapping[str, Any]:
    """Return a reading; `observed_at` is null where the message holds no time, and the listener would take that of its receipt."""
    at = reading.observed_at if isinstance(reading, Numeric) else reading.start
    data: dict[str, Any] = {
        "signal": reading.signal,
        "value": reading.value if isinstance(reading, Numeric) else None,
        "unit": SIGNALS[reading.signal].unit,
        "observed_at": None if reading.time_source is TimeSource.RECEIPT else at.isoformat(timespec="milliseconds"),
        "status": reading.status,
    }
    if not isinstance(reading, Numeric):
        data |= {"rate_hz": reading.rate_hz, "count": len(reading.samples)}
    return data

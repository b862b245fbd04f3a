"""Answers to messages (HL7 v2.6 ch. 2.9): original and enhanced mode. Pure; never positive where the sender could not match it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from services.hl7_listener.message import BadMessage, Delimiters, Header

# HL7 table 0357 for ERR-3.
_ERROR_CODES: Final = {
    "no_control_id": "101^Required field missing^HL70357",
    "unsupported_type": "200^Unsupported message type^HL70357",
    "duplicate": "205^Duplicate key identifier^HL70357",
}
_ANY_ERROR: Final = "207^Application internal error^HL70357"
_REJECTED: Final = "100^Segment sequence error^HL70357"
# What sending again cannot repair is rejected (AR); all else is an error (AE).
_BEYOND_REPAIR: Final = frozenset(
    {"no_header", "batch", "delimiters", "several_headers", "no_control_id", "unknown_sender", "wrong_kind", "unsupported_type"}
)
_SEGMENT_CHARACTERS: Final = 3
NO_HEADER: Final = Header(Delimiters(), "^~\\&", ("MSH", "|", "^~\\&", *[""] * 19))


class Outcome(StrEnum):
    """What became of a message; the letter that follows A or C in MSA-1."""

    ACCEPT = "A"
    ERROR = "E"  # the content is wrong, or we cannot take it now: it may be sent again after repair
    REJECT = "R"  # header, sender or type is wrong: sending it again does not help


@dataclass(frozen=True, slots=True)
class Answer:
    """What shall be said: the outcome and, when it is not positive, code, place and text without patient data."""

    outcome: Outcome
    code: str = ""
    place: str = ""  # ERR-2, as PID^1^3
    text: str = ""


def refusal(fault: BadMessage) -> Answer:
    """Return what is answered to a message that cannot be taken."""
    outcome = Outcome.REJECT if fault.code in _BEYOND_REPAIR else Outcome.ERROR
    place = f"{fault.segment}^1^{fault.field}" if fault.field and len(fault.segment) == _SEGMENT_CHARACTERS else ""
    return Answer(outcome, fault.code, place, str(fault))


def unreadable(fault: Exception) -> BadMessage:
    """Return the fault of a message on which the reading itself broke."""
    return BadMessage("message", 0, "unreadable", f"{type(fault).__name__} while reading")


def _wanted(condition: str, outcome: Outcome) -> bool:
    """Tell whether MSH-15 or MSH-16 (table 0155) asks for an answer of this outcome."""
    match condition:
        case "NE":
            return False
        case "ER":
            return outcome is not Outcome.ACCEPT
        case "SU":
            return outcome is Outcome.ACCEPT
        case _:
            return True


def acknowledgment_code(header: Header, outcome: Outcome) -> str | None:
    """Return MSA-1 (AA, AE, AR, CA, CE, CR), or None when the sender wants no answer to this outcome, or sent one itself.

    One message, one answer: the application's own stays away where the accept acknowledgment was wanted and given.
    """
    if header.acknowledges:
        return None
    accept, application = header.fields[15].strip().upper(), header.fields[16].strip().upper()
    if accept in {"", "NE"}:
        return f"A{outcome}" if _wanted(application, outcome) else None
    if _wanted(accept, outcome):
        return f"C{outcome}"
    return f"A{outcome}" if application and _wanted(application, outcome) else None


def _plain(text: str, marks: Delimiters) -> str:
    """Return the text in printable ASCII without any delimiter."""
    special = {marks.field, marks.component, marks.repetition, marks.escape, marks.subcomponent}
    return "".join(" " if c in special or not " " <= c <= "~" else c for c in text)


def _err(answer: Answer, marks: Delimiters) -> str:
    fallback = _REJECTED if answer.outcome is Outcome.REJECT else _ANY_ERROR
    code = _ERROR_CODES.get(answer.code, fallback).replace("^", marks.component)
    place = answer.place.replace("^", marks.component)
    return marks.field.join(["ERR", "", place, code, "E", "", "", "", _plain(f"{answer.code}: {answer.text}", marks)])


def acknowledgment(header: Header, answer: Answer, *, now: datetime, control_id: str) -> bytes | None:
    """Return the answer in the sender's delimiters, version and character set; None when it wants none.

    `control_id` is the answer's own MSH-10. A positive outcome for a header without MSH-10 becomes AE: the sender could not match it.
    """
    if answer.outcome is Outcome.ACCEPT and not header.control_id:
        answer = Answer(Outcome.ERROR, "no_control_id", "MSH^1^10", "MSH-10 is empty")
    code = acknowledgment_code(header, answer.outcome)
    if code is None:
        return None
    marks, sent = header.delimiters, header.fields
    kind = sent[9].split(marks.component)
    parts = ["ACK", kind[1], "ACK"] if len(kind) > 1 and kind[1] else ["ACK"]
    stamp = now.strftime("%Y%m%d%H%M%S.") + f"{now.microsecond // 1000:03d}" + now.strftime("%z")
    msh = ["MSH", header.encoding_characters, sent[5], sent[6], sent[3], sent[4], stamp, "", marks.component.join(parts), control_id]
    msh += [sent[11] or "P", sent[12] or "2.6"]
    if sent[18]:
        msh += ["", "", "", "", "", sent[18]]
    msa = ["MSA", code, header.control_id]
    segments = [marks.field.join(msh)]
    if answer.outcome is Outcome.ACCEPT:
        segments.append(marks.field.join(msa))
    else:
        segments += [marks.field.join([*msa, _plain(answer.text, marks)]), _err(answer, marks)]
    return ("\r".join(segments) + "\r").encode("latin-1", "replace")

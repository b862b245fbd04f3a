"""HL7 v2 as the simulated devices write it, and the acknowledgement as they read it. Pure; bytes out, bytes in.

The contract is docs/reference/dialects.md. Nothing here is shared with the listener.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
FACILITY = "SIMHOSP"
ORU = "ORU^R01^ORU_R01"
POSITIVE = frozenset({"AA", "CA"})
REPEATABLE = frozenset({"AE", "CE"})  # the sender may repeat after repair (HL7 v2.6 ch. 2.9.2)
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\", "\r": " ", "\n": " "})


class BadAck(Exception):
    """What came back is not the acknowledgement of the message that was sent."""


@dataclass(frozen=True, slots=True)
class Head:
    """What MSH says: who sends, under which control id, when, and which acknowledgements it asks for (MSH-15, MSH-16)."""

    application: str
    control_id: str
    sent_at: datetime
    acks: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Subject:
    """The person of PID; family names of simulated people begin with ZZSIM."""

    id: str
    family: str
    given: str
    birth_date: date
    sex: str


@dataclass(frozen=True, slots=True)
class Row:
    """One OBX. `value` None is a value the device cannot give; `at` is a time of its own (OBX-14)."""

    value_type: str
    identifier: str
    channel: str
    value: str | None
    unit: str = ""
    at: datetime | None = None


def text(value: str) -> str:
    """Return a text with the delimiters escaped."""
    return value.translate(_ESCAPES)


def instant(moment: datetime, *, milliseconds: bool = False) -> str:
    """Return an HL7 time stamp with its zone."""
    fraction = f".{moment.microsecond // 1000:03d}" if milliseconds else ""
    return f"{moment:%Y%m%d%H%M%S}{fraction}{moment:%z}"


def _msh(head: Head, kind: str) -> str:
    accept, application = head.acks
    when = instant(head.sent_at, milliseconds=True)
    parties = f"{head.application}|{FACILITY}|SOPOR|{FACILITY}"
    # T: training data, never a person's (HL7 table 0103).
    return f"MSH|^~\\&|{parties}|{when}||{kind}|{head.control_id}|T|2.6|||{accept}|{application}||UNICODE UTF-8"


def _pid(subject: Subject) -> str:
    name = f"{text(subject.family)}^{text(subject.given)}"
    return f"PID|||{text(subject.id)}^^^{FACILITY}^MR||{name}||{subject.birth_date:%Y%m%d}|{subject.sex}"


def _obx(set_id: int, row: Row) -> str:
    lead = f"OBX|{set_id}|{row.value_type}|{row.identifier}|{row.channel}|"
    if row.value is None:
        return f"{lead}|{row.unit}||NAV|||X"
    line = f"{lead}{row.value}|{row.unit}|||||R"
    return line if row.at is None else f"{line}|||{instant(row.at)}"


def _joined(segments: Sequence[str]) -> bytes:
    return "".join(f"{segment}\r" for segment in segments).encode()


def observation(head: Head, subject: Subject, bed: str, interval: tuple[datetime, datetime], rows: Sequence[Row]) -> bytes:
    """Return an ORU^R01 whose rows speak of `[start, end)`."""
    start, end = interval
    return _joined(
        [
            _msh(head, ORU),
            _pid(subject),
            f"PV1||I|{bed}",
            f"OBR|1|||182777000^monitoring of patient^SCT|||{instant(start)}|{instant(end)}",
            *(_obx(number, row) for number, row in enumerate(rows, start=1)),
        ]
    )


def admission(head: Head, subject: Subject, bed: str, at: datetime, body: tuple[float, float]) -> bytes:
    """Return an ADT^A01 with weight (kg) and height (cm)."""
    weight_kg, height_cm = body
    rows = (
        Row("NM", "29463-7^Body weight^LN", "", f"{weight_kg:g}", "kg"),
        Row("NM", "8302-2^Body height^LN", "", f"{height_cm:g}", "cm"),
    )
    return _joined([*_event(head, "A01", at), _pid(subject), f"PV1||I|{bed}", *(_obx(n, row) for n, row in enumerate(rows, start=1))])


def transfer(head: Head, subject: Subject, beds: tuple[str, str], at: datetime) -> bytes:
    """Return an ADT^A02 from the first bed to the second."""
    left, entered = beds
    return _joined([*_event(head, "A02", at), _pid(subject), f"PV1||I|{entered}|||{left}"])


def discharge(head: Head, subject: Subject, bed: str, at: datetime) -> bytes:
    """Return an ADT^A03."""
    return _joined([*_event(head, "A03", at), _pid(subject), f"PV1||I|{bed}"])


def _event(head: Head, trigger: str, at: datetime) -> tuple[str, str]:
    structure = "ADT_A03" if trigger == "A03" else "ADT_A01" if trigger == "A01" else "ADT_A02"
    return _msh(head, f"ADT^{trigger}^{structure}"), f"EVN||{instant(at, milliseconds=True)}"


def framed(message: bytes) -> bytes:
    """Return the message in its MLLP frame."""
    return VT + message + FS + CR


def ack_of(answer: bytes, control_id: str) -> str:
    """Return MSA-1 of the acknowledgement of that message; raise BadAck when it is none, or of another message."""
    for segment in answer.strip(VT + FS + CR).split(CR):
        if segment.startswith(b"MSA|"):
            fields = segment.decode("utf-8", "replace").split("|")
            if len(fields) > 2 and fields[2] == control_id:  # noqa: PLR2004  MSA-2
                return fields[1]
            raise BadAck("MSA-2 names another message")
    raise BadAck("no MSA segment came back")

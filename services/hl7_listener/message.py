"""One HL7 v2 message as segments, fields and components (HL7 v2.6 ch. 2). Pure; built for speed on device messages."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from anesthesia.errors import SoporError

# MSH-18 (table 0211) to Python codecs. UNICODE without more means UTF-8 in all samples that were read: MLLP carries no 16-bit text.
_CHARSETS: Final = {
    "ASCII": "utf-8",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/15": "iso8859-15",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "GB 18030-2000": "gb18030",
    "BIG-5": "big5",
    "KS X 1001": "euc_kr",
    "ISO IR14": "iso2022_jp",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp",
}
_SEGMENT_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
_LEAST_MSH_BYTES: Final = 8  # MSH|^~\&
_BEFORE_MSH: Final = b"\xef\xbb\xbf\xe2\x80\xa8 \t\r\n\0"  # byte order mark, U+2028, blanks: seen before MSH
_MSH_FIELDS: Final = 22
UNREADABLE: Final = "�"
# ORU^R01, and ORU^W01 as some monitors call their waveforms.
_OBSERVATIONS: Final = frozenset({"ORU^R01", "ORU^W01"})

Fields = list[str]


class BadMessage(SoporError):
    """A message that its sender must correct. The text says what and where, never what stood there."""

    def __init__(self, segment: str, field: int, code: str, text: str) -> None:
        super().__init__(f"{segment}-{field}: {text}" if field else f"{segment}: {text}")
        self.segment, self.field, self.code = segment, field, code


class Kind(StrEnum):
    """What is done with a message of a type that is taken."""

    EVENT = "event"  # ADT: read if its event moves anybody
    OBSERVATION = "observation"  # read into Readings
    OTHER_OBSERVATION = "other_observation"  # kept and not acted on: alarms and the like


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The five characters that MSH-1 and MSH-2 choose."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


@dataclass(frozen=True, slots=True)
class Header:
    """MSH, read as Latin-1 so that every byte comes back unchanged in an answer."""

    delimiters: Delimiters
    encoding_characters: str
    fields: tuple[str, ...]  # fields[n] is MSH-n

    def first(self, number: int) -> str:
        """Return the first component of MSH-n."""
        return self.fields[number].split(self.delimiters.component, 1)[0]

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.fields[10]

    @property
    def message_type(self) -> str:
        """The first two components of MSH-9, as `ORU^R01`."""
        return "^".join(self.fields[9].split(self.delimiters.component)[:2])

    @property
    def acknowledges(self) -> bool:
        """Tell whether MSH-9 says that this is an answer itself: ACK, or its older delayed form."""
        return self.first(9) in {"ACK", "MCF"}

    @property
    def trial(self) -> bool:
        """Tell whether MSH-11 says training or debugging."""
        return self.first(11) in {"T", "D"}


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message: segments in order, each a list whose index is the HL7 field number."""

    header: Header
    segments: tuple[Fields, ...]

    def segment(self, name: str) -> Fields | None:
        """Return the first segment of a name."""
        return next((fields for fields in self.segments if fields[0] == name), None)

    def components(self, field: str) -> list[str]:
        """Return the components of a field's first repetition, escapes decoded."""
        marks = self.header.delimiters
        first = field.split(marks.repetition, 1)[0]
        return [unescaped(part, marks) for part in first.split(marks.component)]


def field_of(fields: Fields, number: int) -> str:
    """Return a field as it was sent; empty when the segment is shorter."""
    return fields[number] if number < len(fields) else ""


@lru_cache(maxsize=64)
def _escape_pattern(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    return re.compile(f"{mark}([^{mark}]{{1,64}}){mark}")


def unescaped(text: str, marks: Delimiters) -> str:
    """Return the text with its escape sequences decoded (HL7 v2.6 ch. 2.7); unknown ones stay as they are."""
    if marks.escape not in text:
        return text
    plain = {"F": marks.field, "S": marks.component, "T": marks.subcomponent, "R": marks.repetition, "E": marks.escape, ".br": "\n"}

    def decoded(found: re.Match[str]) -> str:
        name = found[1]
        if name in plain:
            return plain[name]
        if name[0] == "X" and re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", name[1:]):
            return bytes.fromhex(name[1:]).decode("utf-8", "replace")
        return found[0]

    return _escape_pattern(marks.escape).sub(decoded, text)


def header_of(content: bytes) -> Header:
    """Return MSH; BadMessage when the content does not begin with one that can be answered."""
    text = content.lstrip(_BEFORE_MSH).replace(b"\n", b"\r").split(b"\r", 1)[0].decode("latin-1")
    if text[:3] in {"FHS", "BHS"}:
        raise BadMessage("MSH", 0, "batch", "a batch; send each message in a block of its own")
    if not text.startswith("MSH") or len(text) < _LEAST_MSH_BYTES:
        raise BadMessage("MSH", 0, "no_header", "the block does not begin with MSH")
    mark = text[3]
    parts = text.split(mark)
    characters = parts[1]
    marks = [mark, *characters[:4]]
    if mark.isalnum() or len(characters) not in {4, 5} or len(set(marks)) != len(marks):
        raise BadMessage("MSH", 2, "delimiters", "the delimiters are not five different characters")
    fields = ["MSH", mark, *parts[1:]]
    fields += [""] * (_MSH_FIELDS - len(fields))
    return Header(Delimiters(*marks), characters, tuple(fields))


def require_control_id(header: Header) -> None:
    """Refuse a header without MSH-10."""
    if not header.control_id:
        raise BadMessage("MSH", 10, "no_control_id", "no control id; the answer could not be matched")


def kind_of(header: Header) -> Kind:
    """Return what MSH-9 asks for; BadMessage for a type that is not taken."""
    message_type = header.message_type
    if message_type.startswith("ADT^"):
        return Kind.EVENT
    if message_type in _OBSERVATIONS:
        return Kind.OBSERVATION
    if message_type.startswith("ORU^"):
        return Kind.OTHER_OBSERVATION
    raise BadMessage("MSH", 9, "unsupported_type", "not a type that is taken: ORU and ADT are")


def charset_of(header: Header, default: str) -> str:
    """Return the codec of MSH-18's first repetition, else the source's."""
    declared = header.fields[18].split(header.delimiters.repetition, 1)[0].strip().upper()
    return _CHARSETS.get(declared, default)


def _decoded(content: bytes, charset: str) -> str:
    """Return the text. What does not decode becomes U+FFFD: names may suffer, numbers never do."""
    return content.decode(charset, "replace")


def message_of(content: bytes, header: Header, charset: str) -> Message:
    """Return the message's segments; BadMessage for what is not one whole message."""
    text = _decoded(content.lstrip(_BEFORE_MSH), charset)
    mark = header.delimiters.field
    # In a text the delimiters are escaped: twice means that another message follows, also where the line end before it was lost.
    if text.count(f"MSH{mark}{header.encoding_characters}{mark}") > 1:
        raise BadMessage("MSH", 0, "several_headers", "a second MSH in one block")
    if "\n" in text:
        text = text.replace("\r\n", "\r")
        if "\r" not in text.rstrip("\r\n"):
            text = text.replace("\n", "\r")
        # LF after some segments and CR after others: before the name of a segment it ends one, else it is text.
        text = re.sub(rf"\n(?=[A-Z][A-Z0-9]{{2}}{re.escape(mark)})", "\r", text)
    segments = [line.split(mark) for line in text.split("\r") if line.strip("\0\n ")]
    segments[0].insert(1, mark)
    for number, fields in enumerate(segments):
        if not _SEGMENT_NAME.fullmatch(fields[0]):
            raise BadMessage("segment", number + 1, "bad_segment", "the line does not begin with the name of a segment")
        if number and fields[0] == "MSH":
            raise BadMessage("MSH", 0, "several_headers", "a second MSH in one block")
    return Message(header, tuple(segments))

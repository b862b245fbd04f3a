"""ORU^R01 of monitors and pumps: a message to Readings, and the rows that became none. Pure.

Times are the device's, moved by the source's offset (IHE DEV TF-2 appendix B.8): OBX-14, else OBR-7, else MSH-7 if it is told to the
second, else receipt. Value n of N of a waveform stands at the start of the n-th equal part of `[OBR-7, OBR-8)`; the rate sub-row only
has to agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anesthesia.reading import Numeric, Reading, Status, TimeSource, Waveform
from anesthesia.signal import SIGNALS
from services.hl7_listener.code_set import CodeSet, Key, Mismatch, Row, RowKind, clear
from services.hl7_listener.device_time import TO_THE_SECOND, BadTime, instant_of, instant_told
from services.hl7_listener.message import BadMessage, Fields, Message, field_of, unescaped

RATE_TOLERANCE: Final = 0.02
LONGEST_WAVEFORM_S: Final = 60.0
INT16_MAX: Final = 32767
SMALLEST: Final = float(np.finfo(np.float64).tiny)  # below it a quotient may be infinite

# OBX-8 (IHE DEV TF-2 table B.8-3) and OBX-11 (table 0085), in the order in which they are asked. H, L and the like say nothing of validity.
_UNAVAILABLE: Final = frozenset({"NAV"})
_INVALID: Final = frozenset({"INV", "CAL", "TEST", "DEMO"})
_QUESTIONABLE: Final = frozenset({"QUES", "EARLY", "MSMT_ONGOING"})
_RETRACTED: Final = frozenset({"D", "W"})


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A row that became no reading; what of its code is text and no code is left out."""

    code: str
    system: str
    name: str
    unit: str
    reason: Mismatch


@dataclass(frozen=True, slots=True)
class Report:
    """What one ORU says: of which bed (PV1-3 as sent), of whom (PID-3), its readings and the rest."""

    bed: str
    person: tuple[str, str] | None  # identifier, authority
    readings: tuple[Reading, ...]
    unmapped: tuple[Unmapped, ...]


@dataclass(frozen=True, slots=True)
class Sender:
    """What must be known of the sender to read its message."""

    codes: CodeSet
    zone: ZoneInfo
    offset: timedelta
    received_at: datetime


@dataclass(slots=True)
class _Group:
    """One OBR with its rows: first gathered, then read, as a name or a rate may come after what it is about."""

    start: datetime | None = None
    end: datetime | None = None
    rows: list[tuple[Row, Key, Fields]] = field(default_factory=list)
    order_drug: str = ""  # of OBR-4, where the mapping asks for it
    drugs: dict[str, str] = field(default_factory=dict)  # channel -> drug; empty: named, and not known
    rates: dict[str, float] = field(default_factory=dict)  # OBX-4 of the waveform -> Hz
    resolutions: dict[str, float] = field(default_factory=dict)


def readings_of(message: Message, sender: Sender) -> Report:
    """Return the report of an ORU; BadMessage for a time or a structure that cannot be read."""
    reader = _Reader(message, sender)
    group = _Group()
    for fields in message.segments:
        match fields[0]:
            case "OBX":
                reader.gather(group, fields)
            case "OBR":
                reader.close(group)
                group = reader.group_of(fields)
    reader.close(group)
    return Report(bed_of(message), person_of(message), tuple(reader.readings), tuple(reader.unmapped))


def bed_of(message: Message) -> str:
    """Return PV1-3 with `^` between its components, without empty ones at the end; empty when there is none."""
    visit = message.segment("PV1")
    return raw_bed(message, field_of(visit, 3)) if visit else ""


def raw_bed(message: Message, location: str) -> str:
    """Return a location (PL) as the site file writes it."""
    return "^".join(message.components(location)).rstrip("^ ")


def person_of(message: Message) -> tuple[str, str] | None:
    """Return identifier and authority of PID-3: the repetition of type MR, else the first."""
    pid = message.segment("PID")
    if pid is None:
        return None
    marks = message.header.delimiters
    repetitions = [message.components(part) for part in field_of(pid, 3).split(marks.repetition)]
    records = [part for part in repetitions if part[4:5] == ["MR"]] or repetitions
    identifier = records[0][0].strip()
    authority = records[0][3].split(marks.subcomponent)[0] if len(records[0]) > 3 else ""  # noqa: PLR2004  CX.4
    return (identifier, authority) if identifier else None


class _Reader:
    """The state of reading one message."""

    def __init__(self, message: Message, sender: Sender) -> None:
        self.message, self.sender = message, sender
        self.readings: list[Reading] = []
        self.unmapped: list[Unmapped] = []
        self._component = message.header.delimiters.component
        created = self._created()
        self._fallback = (sender.received_at, TimeSource.RECEIPT) if created is None else (created, TimeSource.MSH_7)

    # ---- first pass -----------------------------------------------------------------------------------------------------

    def group_of(self, fields: Fields) -> _Group:
        """Return the group that an OBR opens."""
        start, end = field_of(fields, 7), field_of(fields, 8)
        return _Group(
            self._instant(start, "OBR", 7) if start else None,
            self._instant(end, "OBR", 8) if end else None,
            order_drug=self._drug((*self.message.components(field_of(fields, 4)), "")[1]) if self.sender.codes.drug_in_order else "",
        )

    def gather(self, group: _Group, fields: Fields) -> None:
        """Put one OBX where it belongs."""
        key, channel = key_of(field_of(fields, 3), field_of(fields, 6), self._component), field_of(fields, 4)
        row = self.sender.codes.row_of(key, channel, second_unit_of(field_of(fields, 6), self._component))
        if isinstance(row, Mismatch):
            # Rows without a value (of the devices and channels that contain the others, IHE DEV TF-2 appendix B.8) say nothing.
            if field_of(fields, 5):
                self._pass(key, row)
            return
        parent = channel.rpartition(".")[0]
        match row.kind:
            case RowKind.RATE | RowKind.RESOLUTION:
                value = _number(field_of(fields, 5))
                if value is not None:
                    (group.rates if row.kind is RowKind.RATE else group.resolutions)[parent] = value * row.scale
            case RowKind.DRUG_NAME:
                group.drugs[parent] = self._drug(unescaped(field_of(fields, 5), self.message.header.delimiters))
            case RowKind.PASSED_OVER:
                pass
            case _:
                group.rows.append((row, key, fields))

    # ---- second pass ----------------------------------------------------------------------------------------------------

    def close(self, group: _Group) -> None:
        """Read the rows of a group whose end is known."""
        for row, key, fields in group.rows:
            outcome = self._waveform(group, row, fields) if row.kind is RowKind.WAVEFORM else self._numeric(group, row, key, fields)
            if isinstance(outcome, Mismatch):
                self._pass(key, outcome)
            else:
                self.readings.append(outcome)

    def _numeric(self, group: _Group, row: Row, key: Key, fields: Fields) -> Numeric | Mismatch:
        name = row.signal
        if row.kind is RowKind.PUMP:
            drug = self._drug_of(group, field_of(fields, 4))
            fitting = self.sender.codes.pump_row(key, drug) if drug else None
            if fitting is None:
                return Mismatch.UNKNOWN_DRUG
            row, name = fitting, f"{drug}_{fitting.signal}"
        # Without a value there need not be a type of it (HL7 v2.6 ch. 7.4.2.2).
        if field_of(fields, 2) != "NM" and (field_of(fields, 2) or field_of(fields, 5)):
            return Mismatch.DISAGREEMENT
        observed_at, time_source = self._time(group, fields)
        value, status = self._value(row, name, fields)
        return Numeric(name, value, observed_at, status, time_source)

    def _drug(self, label: str) -> str:
        """Return the drug that a label means; empty for one that the mapping does not know."""
        return self.sender.codes.drugs.get(label.strip().lower(), "")

    def _drug_of(self, group: _Group, channel: str) -> str:
        """Return the drug of a pump's row: that of its channel, else of the order; none where the two name different ones."""
        named = group.drugs.get(channel.rpartition(".")[0])
        if named is None or group.order_drug in {"", named}:
            return group.order_drug if named is None else named
        return ""

    def _value(self, row: Row, name: str, fields: Fields) -> tuple[float | None, Status]:
        """Return the value in the Signal's unit and how far it may be trusted."""
        status = self._status(fields)
        text = field_of(fields, 5).strip()
        sent = _number(text)
        if status is Status.UNAVAILABLE or not text.strip("-") or sent in self.sender.codes.sentinels:
            return None, Status.UNAVAILABLE
        if sent is None:
            return None, Status.INVALID
        value = sent * row.scale + row.offset
        if not isfinite(value) or not SIGNALS[name].believes(value):
            return (value if isfinite(value) else None), Status.INVALID
        return value, status

    def _status(self, fields: Fields) -> Status:
        result, flags = field_of(fields, 11), field_of(fields, 8)
        said = set(flags.split(self.message.header.delimiters.repetition)) if flags else frozenset()
        if said & _UNAVAILABLE:
            return Status.UNAVAILABLE
        if said & _INVALID or result in _RETRACTED:
            return Status.INVALID
        # X: "cannot be obtained"; some gateways send it beside a value. Kept, but not trusted.
        return Status.QUESTIONABLE if said & _QUESTIONABLE or result == "X" else Status.VALID

    def _waveform(self, group: _Group, row: Row, fields: Fields) -> Waveform | Mismatch:
        if field_of(fields, 2) != "NA":
            return Mismatch.DISAGREEMENT
        duration_s = (group.end - group.start).total_seconds() if group.start and group.end else 0.0
        if group.start is None or not 0 < duration_s <= LONGEST_WAVEFORM_S:
            return Mismatch.NO_INTERVAL
        channel = field_of(fields, 4)
        resolution = group.resolutions.get(channel, 0.0)
        if resolution <= 0:
            return Mismatch.NO_RESOLUTION
        counts = _counts(field_of(fields, 5), self._component)
        if counts is None:
            return Mismatch.BAD_SAMPLES
        rate_hz = len(counts) / duration_s
        told_hz = group.rates.get(channel)
        if told_hz is not None and abs(rate_hz - told_hz) > RATE_TOLERANCE * told_hz:
            return Mismatch.RATE_DISAGREEMENT
        samples, scale = fitted(counts, resolution)
        status = self._status(fields)
        low, high = SIGNALS[row.signal].believable
        if status is Status.VALID and (counts.min() * resolution < low or counts.max() * resolution > high):
            status = Status.INVALID
        return Waveform(row.signal, group.start, rate_hz, samples, scale, status, TimeSource.OBR_7)

    # ---- time and what is passed over -----------------------------------------------------------------------------------

    def _time(self, group: _Group, fields: Fields) -> tuple[datetime, TimeSource]:
        own = field_of(fields, 14)
        if own:
            return self._instant(own, "OBX", 14), TimeSource.OBX_14
        return (group.start, TimeSource.OBR_7) if group.start else self._fallback

    def _created(self) -> datetime | None:
        """Return MSH-7; None where it does not tell the second, and so is no time of an observation."""
        sender = self.sender
        try:
            at = instant_told(self.message.header.first(7), sender.zone, sender.received_at - sender.offset, digits=TO_THE_SECOND)
            return None if at is None else at + sender.offset
        except (BadTime, OverflowError) as fault:
            raise BadMessage("MSH", 7, "bad_time", "no timestamp") from fault

    def _instant(self, text: str, segment: str, number: int) -> datetime:
        sender = self.sender
        try:
            return instant_of(text, sender.zone, sender.received_at - sender.offset) + sender.offset
        except (BadTime, OverflowError) as fault:
            raise BadMessage(segment, number, "bad_time", "no timestamp") from fault

    def _pass(self, key: Key, reason: Mismatch) -> None:
        code, name, system, unit = clear(key)
        self.unmapped.append(Unmapped(code, system, name, unit, reason))


@lru_cache(maxsize=4096)
def key_of(observation: str, unit: str, component: str) -> Key:
    """Return the key of OBX-3 and OBX-6; the unit as one text with `^`, so that it is matched whole."""
    code, name, system = (*observation.split(component), "", "", "")[:3]
    units: Iterator[str] = iter(unit.split(component)[:3])
    return code, name, system, "^".join(units).rstrip("^")


@lru_cache(maxsize=4096)
def second_unit_of(unit: str, component: str) -> str:
    """Return the alternate triple of OBX-6 (CWE.4 to 6) as a key has units; empty when there is none."""
    return "^".join(unit.split(component)[3:6]).rstrip("^") if unit.count(component) > 2 else ""  # noqa: PLR2004


def _number(text: str) -> float | None:
    """Return a NM value; None for what is no finite number (comma, `>19`, NaN, `1e999`, underscores)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and "_" not in text and text.isascii() else None


def _counts(text: str, component: str) -> NDArray[np.float64] | None:
    """Return the samples of a NA value; None when one is missing or no number."""
    try:
        counts = np.array(text.split(component), dtype=np.float64)
    except ValueError:
        return None
    return counts if np.isfinite(counts).all() else None


def fitted(counts: NDArray[np.float64], resolution: float) -> tuple[NDArray[np.int16], float]:
    """Return int16 samples and their scale; counts that are fractions, or beyond int16, are rescaled to fill it."""
    peak = float(np.abs(counts).max())
    if peak <= INT16_MAX and bool((counts == np.rint(counts)).all()):
        return counts.astype(np.int16), resolution
    step = peak / INT16_MAX
    if step < SMALLEST:
        return np.zeros(counts.shape, np.int16), resolution
    return np.rint(counts / step).astype(np.int16), resolution * step

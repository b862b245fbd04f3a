"""Which row of a message is which Signal: one YAML file a device family, read into a frozen CodeSet. Pure.

A row matches by code, coding system, name and unit together: public gateways send EtCO2 under the number of SpO2. What differs in one
of the four is a disagreement and never becomes a value; what is not known at all is an unknown code. Both are counted and listed.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from anesthesia.errors import SoporError
from anesthesia.signal import DRUGS, SIGNALS, Kind


class BadMapping(SoporError):
    """A mapping file that cannot be used; the text names the file, the row and what is wrong."""


class RowKind(StrEnum):
    """What a row is for."""

    NUMERIC = "numeric"
    WAVEFORM = "waveform"
    RATE = "rate"
    RESOLUTION = "resolution"
    DRUG_NAME = "drug_name"
    PUMP = "pump"
    PASSED_OVER = "passed_over"  # known, and not wanted


class Mismatch(StrEnum):
    """Why a row of a message became no reading."""

    UNKNOWN_CODE = "unknown_code"
    DISAGREEMENT = "disagreement"  # known by number or name, but not with this system, name, unit or value type
    UNKNOWN_DRUG = "unknown_drug"  # a pump row without a known drug name in its channel
    RATE_DISAGREEMENT = "rate_disagreement"
    NO_INTERVAL = "no_interval"  # a waveform without OBR-7 and OBR-8
    NO_RESOLUTION = "no_resolution"
    BAD_SAMPLES = "bad_samples"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a code set. `signal` is a Signal's name, for pump rows the quantity (`rate`, `volume` ...)."""

    kind: RowKind
    signal: str = ""
    scale: float = 1.0
    offset: float = 0.0
    channel: re.Pattern[str] | None = None
    drugs: frozenset[str] = frozenset()


Key = tuple[str, str, str, str]  # code, name, system, unit


@dataclass(frozen=True, slots=True)
class CodeSet:
    """A mapping file, ready for look-ups; `digest` is the SHA-256 of its bytes."""

    name: str
    digest: str
    rows: Mapping[Key, tuple[Row, ...]]
    numbers: frozenset[str]
    names: frozenset[str]
    drugs: Mapping[str, str]  # name in lower case -> drug
    sentinels: frozenset[float]

    def row_of(self, key: Key, channel: str) -> Row | Mismatch:
        """Return the row of (code, name, system, unit) in an OBX-4 channel, or why there is none."""
        for row in self.rows.get(key, ()):
            if row.channel is None or row.channel.match(channel):
                return row
        known = key in self.rows or key[0] in self.numbers or key[1] in self.names
        return Mismatch.DISAGREEMENT if known else Mismatch.UNKNOWN_CODE

    def pump_row(self, rows_key: Key, drug: str) -> Row | None:
        """Return the pump row of a key that applies to a drug."""
        return next((row for row in self.rows[rows_key] if not row.drugs or drug in row.drugs), None)


# ---- the file ----------------------------------------------------------------------------------------------------------------


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as fault:
        raise ValueError(f"no valid pattern: {fault}") from fault
    return text


def _triple(text: str) -> str:
    if text.count("^") != 2:  # noqa: PLR2004  code^name^system
        raise ValueError("must be code^NAME^system, as in 147842^MDC_ECG_HEART_RATE^MDC")
    return text


def _plain(ucum: str) -> str:
    """Return the unit without annotation: {score} is 1."""
    return re.sub(r"\{[^}]*\}", "", ucum) or "1"


Triple = Annotated[str, AfterValidator(_triple)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Coded(_Part):
    code: Triple = Field(description="OBX-3")
    unit: str = Field(default="", description="OBX-6")
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)

    @property
    def converts(self) -> bool:
        return self.scale != 1.0 or self.offset != 0.0


class _SignalRow(_Coded):
    signal: str
    channel: Annotated[str, AfterValidator(_pattern)] | None = Field(default=None, description="pattern of OBX-4")


class _PumpRow(_Coded):
    quantity: str
    drugs: tuple[str, ...] = ()

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(f"{drug}_{self.quantity}" for drug in self.drugs or DRUGS)


class _MappingFile(_Part):
    about: str = Field(min_length=1)
    units: dict[Triple, str] = Field(description="OBX-6 -> UCUM")
    sentinels: tuple[float, ...] = ()
    numerics: tuple[_SignalRow, ...] = ()
    waveforms: tuple[_SignalRow, ...] = ()
    rate: tuple[_Coded, ...] = ()
    resolution: tuple[_Coded, ...] = ()
    drug_name: tuple[_Coded, ...] = ()
    drugs: dict[str, str] = {}
    pump: tuple[_PumpRow, ...] = ()
    passed_over: tuple[_Coded, ...] = ()

    @model_validator(mode="after")
    def _signals_and_units_fit(self) -> "_MappingFile":
        for section, kind in (("numerics", Kind.NUMERIC), ("waveforms", Kind.WAVEFORM)):
            for number, row in enumerate(getattr(self, section), 1):
                self._check(f"{section} row {number}", row, (row.signal,), kind)
        for number, pump in enumerate(self.pump, 1):
            self._check(f"pump row {number}", pump, pump.signals, Kind.NUMERIC)
        if wrong := sorted(set(self.drugs.values()) - set(DRUGS)):
            raise ValueError(f"drugs: {wrong[0]!r} is none of {', '.join(DRUGS)}")
        return self

    def _check(self, place: str, row: _Coded, names: Iterable[str], kind: Kind) -> None:
        for name in names:
            signal = SIGNALS.get(name)
            if signal is None or signal.kind is not kind:
                raise ValueError(f"{place}: {name!r} is no {kind} signal")
            if row.unit not in self.units:
                raise ValueError(f"{place} ({name}): unit {row.unit!r} does not stand under units")
            if _plain(self.units[row.unit]) != _plain(signal.unit) and not row.converts:
                raise ValueError(f"{place} ({name}): {self.units[row.unit]} is not {signal.unit}; give scale or offset")


# ---- file -> code set --------------------------------------------------------------------------------------------------------


def _key(row: _Coded) -> Key:
    code, name, system = row.code.split("^")
    # A unit is matched whole: code, name and system of OBX-6 as they are sent.
    return code, name, system, row.unit


def _entries(file: _MappingFile) -> Iterable[tuple[str, Key, Row]]:
    for number, row in enumerate(file.numerics, 1):
        yield f"numerics row {number}", _key(row), _signal_row(RowKind.NUMERIC, row)
    for number, row in enumerate(file.waveforms, 1):
        yield f"waveforms row {number}", _key(row), _signal_row(RowKind.WAVEFORM, row)
    for number, pump in enumerate(file.pump, 1):
        row_of = Row(RowKind.PUMP, pump.quantity, pump.scale, pump.offset, drugs=frozenset(pump.drugs))
        yield f"pump row {number}", _key(pump), row_of
    for kind in (RowKind.RATE, RowKind.RESOLUTION, RowKind.DRUG_NAME, RowKind.PASSED_OVER):
        for number, coded in enumerate(getattr(file, kind), 1):
            yield f"{kind} row {number}", _key(coded), Row(kind, scale=coded.scale, offset=coded.offset)


def _signal_row(kind: RowKind, row: _SignalRow) -> Row:
    return Row(kind, row.signal, row.scale, row.offset, re.compile(row.channel) if row.channel else None)


def _clash(one: Row, other: Row) -> bool:
    """Tell whether two rows of one key could both take the same row of a message."""
    if one.kind is RowKind.PUMP and other.kind is RowKind.PUMP:
        return not one.drugs or not other.drugs or bool(one.drugs & other.drugs)
    return one.channel is None or other.channel is None or one.channel.pattern == other.channel.pattern


def _code_set(file: _MappingFile, name: str, digest: str) -> CodeSet:
    rows: dict[Key, tuple[Row, ...]] = {}
    for place, key, row in _entries(file):
        if any(_clash(row, other) for other in rows.get(key, ())):
            raise BadMapping(f"{place}: {'^'.join(key[:3])} with this unit stands twice")
        rows[key] = (*rows.get(key, ()), row)
    return CodeSet(
        name=name,
        digest=digest,
        rows=rows,
        # 0 is the number of every private attribute: it says nothing.
        numbers=frozenset(key[0] for key in rows) - {"0"},
        names=frozenset(key[1] for key in rows),
        drugs={label.lower(): drug for label, drug in file.drugs.items()},
        sentinels=frozenset(file.sentinels),
    )


_SIGNAL_OF: Final = ("signal", "quantity", "code")


def _fault_line(raw: Any, location: tuple[int | str, ...], text: str) -> str:  # noqa: ANN401  whatever the YAML held
    """Return `section row n (signal): key: what`."""
    section = str(location[0]) if location else "file"
    if len(location) < 2 or not isinstance(location[1], int):  # noqa: PLR2004  section and row
        return f"{'.'.join(str(part) for part in location) or 'file'}: {text}"
    row = raw[section][location[1]]
    called = next((str(row[key]) for key in _SIGNAL_OF if isinstance(row, dict) and key in row), "?")
    key = ".".join(str(part) for part in location[2:])
    return f"{section} row {location[1] + 1} ({called}): {key}: {text}"


def parse_mapping(data: bytes, name: str) -> CodeSet:
    """Return the code set of a mapping file's bytes; BadMapping lists each fault with its row."""
    try:
        raw = yaml.safe_load(data)
    except yaml.YAMLError as fault:
        raise BadMapping(f"{name}: no valid YAML: {fault}") from fault
    try:
        return _code_set(_MappingFile.model_validate(raw), name, hashlib.sha256(data).hexdigest())
    except ValidationError as fault:
        lines = [f"{name}: {_fault_line(raw, error['loc'], error['msg'])}" for error in fault.errors()]
        raise BadMapping("\n".join(lines)) from fault
    except BadMapping as fault:
        raise BadMapping(f"{name}: {fault}") from fault


def read_mapping(folder: Path, name: str) -> CodeSet:
    """Read `<folder>/<name>.yaml`."""
    path = folder / f"{name}.yaml"
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise BadMapping(f"{path}: {fault.strerror}; the site file's sources name their mapping, without .yaml") from fault
    return parse_mapping(data, path.name)
